"""What `fusion cache pull` and `fusion cache push` share: their options, the copying, and what they say of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fusion_pipeline.commands import inputs
from fusion_pipeline.commands.console import Console
from fusion_pipeline.commands.lines import in_a_column
from fusion_pipeline.commands.options import complete_backbones
from fusion_pipeline.config import Settings
from fusion_pipeline.errors import printable

if TYPE_CHECKING:
    from fusion_pipeline.store import Cache
    from fusion_pipeline.store.care.transfer import Transferred

F = TypeVar("F", bound=Callable[..., Any])

_BACKBONE = click.option(
    "--backbone",
    "names",
    multiple=True,
    metavar="NAME[,NAME...]",
    shell_complete=complete_backbones,
    help="Backbones to copy, each with its index; repeats. 'all' is every one that is there. [default: all]",
)
_ALL_VERSIONS = click.option(
    "--all-versions",
    is_flag=True,
    help="Also copy the stores of earlier versions of the images, and all that were made otherwise.",
)


def chooses_stores(body: F) -> F:
    """Stack the options that say which stores to copy on a command."""
    return _BACKBONE(_ALL_VERSIONS(body))


def copy_stores(
    settings: Settings,
    console: Console,
    places: tuple[Cache, Cache],
    names: Sequence[str],
    *,
    all_versions: bool,
) -> None:
    """Copy stores from the first place to the second, and say what became of each."""
    from fusion_pipeline.extract.networks.backbones import expand_names, split_names
    from fusion_pipeline.store.care.selection import select_stores
    from fusion_pipeline.store.care.transfer import transfer

    source, target = places
    backbones = () if "all" in split_names(names) else expand_names(names, settings.backbones)
    stores = select_stores(source, inputs.named_dataset(settings, source), backbones, all_versions=all_versions)
    done = transfer(stores, source, target, functools.partial(console.progress, unit="B"), settings.expect_manifest)
    console.tell(map(_line, in_a_column(f"{item.store.dataset}/{item.store.folder}" for item in done), done))
    copied, found = sum(item.copied for item in done), sum(item.found for item in done)
    kept = f"; {_megabytes(found)} had arrived before" if found else ""
    console.say(f"{_megabytes(copied)} copied from {printable(source.location)} to {printable(target.location)}{kept}")
    console.document({"stores": [_to_json(item) for item in done], "bytes": copied, "found_bytes": found})


def _line(name: str, item: Transferred) -> str:
    store = item.store
    other = "" if item.is_same else f"  made by others: manifest {store.manifest_digest}"
    return f"{item.state:<13} {name} {store.rows:>9,} rows {_megabytes(store.n_bytes):>13}{other}"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _to_json(item: Transferred) -> dict[str, Any]:
    return {
        "dataset": item.store.dataset,
        "folder": item.store.folder,
        "backbone": item.store.name,
        "key": item.store.manifest.key,
        "manifest": item.store.manifest_digest,
        "source_manifest": item.source.manifest_digest,
        "rows": item.store.rows,
        "state": item.state,
        "bytes": item.copied,
        "found_bytes": item.found,
        "seconds": item.seconds,
        "path": item.store.location,
    }
