"""`fusion cache ls`: which stores the cache holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fusion_pipeline.commands import inputs
from fusion_pipeline.commands.console import Console
from fusion_pipeline.commands.options import uses
from fusion_pipeline.config import Settings
from fusion_pipeline.errors import FusionError, printable

if TYPE_CHECKING:
    from fusion_pipeline.store import Store


@click.command("ls")
@uses("cache")
def list_stores(settings: Settings, console: Console) -> None:
    """List the published stores: rows, bytes, when, and their folder.

    \b
    Example:
      fusion cache ls --cache /mnt/team/features
    """
    home = inputs.opened_cache(settings)
    found = [entry for name in home for entry in home[name].survey()]
    stores = [store for _, store in found if not isinstance(store, FusionError)]
    console.tell(map(_line, stores))
    for _, error in found:
        if isinstance(error, FusionError):
            console.warn(str(error))
    if not found:
        console.say(f"No stores in '{printable(home.location)}'. Run 'fusion extract' to make some.")
    console.document({"stores": [_to_json(store) for store in stores]})


def _line(store: Store) -> str:
    size, created = f"{store.n_bytes / 1e6:,.1f}", store.manifest.created[:16]
    name = f"{printable(store.dataset)}/{printable(store.folder):<36}"
    return f"{name} {store.rows:>9,} rows {size:>10} MB  {printable(created)}"


def _to_json(store: Store) -> dict[str, Any]:
    return {
        "dataset": store.dataset,
        "backbone": store.name,
        "key": store.manifest.key,
        "manifest": store.manifest_digest,
        "content": store.manifest.content,
        "rows": store.rows,
        "bytes": store.n_bytes,
        "created": store.manifest.created,
        "path": store.location,
    }
