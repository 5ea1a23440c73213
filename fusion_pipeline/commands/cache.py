"""`fusion cache`: what the cache holds, and whether it is whole."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from fusion_pipeline.commands import exits
from fusion_pipeline.commands.console import Console
from fusion_pipeline.commands.options import uses
from fusion_pipeline.config import Settings
from fusion_pipeline.errors import FusionError, IncompleteError, printable

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
    found = [entry for name in home for entry in home[name].survey()]
    stores = [store for _, store in found if not isinstance(store, FusionError)]
    console.tell(map(_line, stores))
    for _, error in found:
        if isinstance(error, FusionError):
            console.warn(str(error))
    if not found:
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

    home = Cache(settings.cache)
    reports = [_Report.of(name, *entry) for name in home for entry in home[name].survey()]
    if not reports:
        raise IncompleteError(f"There is no store to verify in '{printable(home.location)}'. Check --cache.")
    damaged = any(report.damage for report in reports)
    for report in reports:
        console.tell(report.lines())
    if damaged:
        console.say("Remove the folders of the damaged stores, then run the same 'fusion extract' again.")
    console.document({"stores": [report.to_json() for report in reports]})
    if damaged:
        sys.exit(exits.DAMAGED)


@dataclass(frozen=True)
class _Report:
    """What verifying one store showed; `store` is None if its manifest cannot be read, and `reason` says why."""

    dataset: str
    folder: str
    store: Store | None
    damage: Sequence[Damage]
    reason: str = ""

    @classmethod
    def of(cls, dataset: str, folder: str, store: Store | FusionError) -> _Report:
        from fusion_pipeline.store.verify import Damage, verify
        from fusion_pipeline.store.writer import MANIFEST

        if isinstance(store, FusionError):
            return cls(dataset, folder, None, [Damage(MANIFEST, "content")], str(store))
        return cls(dataset, folder, store, list(verify(store)))

    def lines(self) -> Iterator[str]:
        count = len(self.damage)
        state = f"{count:,} {'file' if count == 1 else 'files'} damaged" if count else "ok"
        yield f"{printable(self.dataset)}/{printable(self.folder)}: {state}"
        if self.store is None:
            yield f"  {self.reason}"
            return
        for item in self.damage:
            yield f"  {item.kind:<8} {printable(str(self.store.path / item.file))}"

    def to_json(self) -> dict[str, Any]:
        return {
            "dataset": self.dataset,
            "folder": self.folder,
            "backbone": None if self.store is None else self.store.name,
            "key": None if self.store is None else self.store.manifest.key,
            "ok": not self.damage,
            "damage": [{"file": item.file, "kind": item.kind} for item in self.damage],
        }


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
        "path": str(store.path),
    }
