"""`fusion cache`: what the cache holds, and whether it is whole."""

from __future__ import annotations

import sys

import click

from fusion_pipeline.commands.console import Console
from fusion_pipeline.commands.options import uses
from fusion_pipeline.config import Settings
from fusion_pipeline.errors import printable


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
    for store in stores:
        console.say(
            f"{store.dataset}/{store.folder:<36} {store.rows:>9,} rows {store.n_bytes / 1e6:>10,.1f} MB  "
            f"{store.manifest.created[:16]}"
        )
    if not stores:
        console.say(f"No stores in '{printable(home.location)}'. Run 'fusion extract' to make some.")
    console.document(
        {
            "stores": [
                {
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
                for store in stores
            ]
        }
    )


@cache.command()
@uses("cache")
def verify(settings: Settings, console: Console) -> None:
    """Read every file of every published store and compare its sha256 with the manifest.

    Exits 12 and names the files if one is missing, cut short or changed.

    \b
    Example:
      fusion cache verify --json
    """
    from fusion_pipeline.store import Cache
    from fusion_pipeline.store.verify import verify as find_damage

    home = Cache(settings.cache)
    reports = {store: list(find_damage(store)) for name in home for store in home[name].stores()}
    for store, damage in reports.items():
        console.say(f"{store.dataset}/{store.folder}: {'ok' if not damage else f'{len(damage)} files damaged'}")
        for item in damage:
            console.say(f"  {item.kind:<8} {printable(str(store.path / item.file))}")
    console.document(
        {
            "stores": [
                {
                    "dataset": store.dataset,
                    "backbone": store.name,
                    "key": store.manifest.key,
                    "ok": not damage,
                    "damage": [{"file": item.file, "kind": item.kind} for item in damage],
                }
                for store, damage in reports.items()
            ]
        }
    )
    if any(reports.values()):
        sys.exit(12)
