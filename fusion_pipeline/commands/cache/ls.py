"""`fusion cache ls`: which stores the cache holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fusion_pipeline.commands import inputs
from fusion_pipeline.commands.console import Console
from fusion_pipeline.commands.lines import in_a_column
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
    found = [(name, *entry) for name in home for entry in home[name].survey()]
    stores = [store for _, _, store in found if not isinstance(store, FusionError)]
    names = in_a_column(f"{store.dataset}/{store.folder}" for store in stores)
    console.tell(map(_line, names, stores))
    for _, _, error in found:
        if isinstance(error, FusionError):
            console.warn(str(error))
    if not found:
        console.say(f"No stores in '{printable(home.location)}'. Run 'fusion extract' to make some.")
    console.document({"stores": [_to_json(*entry) for entry in found]})


def _line(name: str, store: Store) -> str:
    size, created = f"{store.n_bytes / 1e6:,.1f}", store.manifest.created[:16]
    return f"{name} {store.rows:>9,} rows {size:>10} MB  {printable(created)}"


def _to_json(dataset: str, folder: str, store: Store | FusionError) -> dict[str, Any]:
    told = {"dataset": dataset, "folder": folder}
    if isinstance(store, FusionError):
        return {**told, "error": str(store)}
    return {
        **told,
        "backbone": store.name,
        "key": store.manifest.key,
        "manifest": store.manifest_digest,
        "content": store.manifest.content,
        "rows": store.rows,
        "bytes": store.n_bytes,
        "created": store.manifest.created,
        "path": store.location,
    }
