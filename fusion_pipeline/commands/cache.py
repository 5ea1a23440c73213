"""`fusion cache`: what the cache holds, and whether it is whole."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from fusion_pipeline.commands import exits
from fusion_pipeline.commands.console import Console
from fusion_pipeline.commands.options import uses
from fusion_pipeline.config import Settings
from fusion_pipeline.errors import IncompleteError, printable

if TYPE_CHECKING:
    from fusion_pipeline.store import Store
    from fusion_pipeline.store.verify import Damage


@click.group()
def cache() -> None:
    """Look after the stores that a team shares.

    \b
    Example:
      fusion cache ls
    """


@cache.command("ls")
@uses("cache")
def list_stores(settings: Settings, console: Console) -> None:
    """List the published stores: rows, bytes, when, and their folder.

    \b
    Example:
      fusion cache ls --cache /mnt/team/features
    """
    from fusion_pipeline.store import Cache

    home = Cache(settings.cache)
    stores = [store for name in home for store in home[name].stores()]
    console.tell(map(_line, stores))
    if not stores:
        console.say(f"No stores in '{printable(home.location)}'. Run 'fusion extract' to make some.")
    console.document({"stores": [_to_json(store) for store in stores]})


@cache.command()
@uses("cache")
def verify(settings: Settings, console: Console) -> None:
    """Read every file of every published store and compare its sha256 with the manifest.

    Exits 12 and names the files if one is missing, cut short or changed; 10 if there is no store.

    \b
    Example:
      fusion cache verify --json
    """
    from fusion_pipeline.store import Cache
    from fusion_pipeline.store.verify import verify as find_damage

    home = Cache(settings.cache)
    reports = {store: list(find_damage(store)) for name in home for store in home[name].stores()}
    if not reports:
        raise IncompleteError(f"There is no store to verify in '{printable(home.location)}'. Check --cache.")
    for store, damage in reports.items():
        console.tell(_report_lines(store, damage))
    if any(reports.values()):
        console.say("Remove the folders of the damaged stores, then run the same 'fusion extract' again.")
    console.document({"stores": [_report_to_json(store, damage) for store, damage in reports.items()]})
    if any(reports.values()):
        sys.exit(exits.DAMAGED)


def _line(store: Store) -> str:
    size, created = f"{store.n_bytes / 1e6:,.1f}", store.manifest.created[:16]
    return f"{_name(store, 36)} {store.rows:>9,} rows {size:>10} MB  {printable(created)}"


def _name(store: Store, width: int = 0) -> str:
    return f"{printable(store.dataset)}/{printable(store.folder):<{width}}"


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
        "path": str(store.path),
    }


def _report_lines(store: Store, damage: Sequence[Damage]) -> Iterator[str]:
    yield f"{_name(store)}: {f'{len(damage):,} files damaged' if damage else 'ok'}"
    for item in damage:
        yield f"  {item.kind:<8} {printable(str(store.path / item.file))}"


def _report_to_json(store: Store, damage: Sequence[Damage]) -> dict[str, Any]:
    return {
        "dataset": store.dataset,
        "backbone": store.name,
        "key": store.manifest.key,
        "ok": not damage,
        "damage": [{"file": item.file, "kind": item.kind} for item in damage],
    }
