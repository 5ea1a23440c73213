"""`fusion cache gc`: what nobody needs any more, listed or removed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from fusion_pipeline.commands import inputs
from fusion_pipeline.commands.console import Console
from fusion_pipeline.commands.options import uses
from fusion_pipeline.config import Settings
from fusion_pipeline.errors import printable

if TYPE_CHECKING:
    from fusion_pipeline.store.care.gc import Collection

_DAY_SECONDS = 86_400


@click.command("gc")
@click.argument("names", nargs=-1, metavar="[DATASET]...")
@click.option(
    "--grace",
    type=click.FloatRange(0),
    default=7.0,
    metavar="DAYS",
    help="Leave what changed within so many days, by the clock of the storage; 0 still leaves the last 45 s. "
    "[default: 7]",
)
@click.option("--delete", is_flag=True, help="Remove what is listed; without it nothing is touched.")
@uses("cache", interrupted="What is removed is removed; the same command goes on.")
def collect_garbage(names: tuple[str, ...], grace: float, delete: bool, settings: Settings, console: Console) -> None:
    """List what nobody needs any more, and remove it with --delete.

    That is what stopped runs left: attempts that nobody is at work on, groups that were never published or that a
    repair replaced, half-written files. Published stores, what a living process is at work on, and what is younger than
    --grace are never touched. If anything cannot be listed, or a manifest not be read, nothing is removed.

    \b
    Example:
      fusion cache gc
      fusion cache gc --delete
    """
    from fusion_pipeline.store.care.gc import collect

    home = inputs.opened_cache(settings)
    found = collect(home, inputs.named_datasets(home, names), grace * _DAY_SECONDS, delete=delete)
    console.tell(_lines(found, home.location))
    if found.own_clock:
        console.warn("The cache cannot be written to: --grace was reckoned by the clock of this machine.")
    for item, why in found.kept:
        console.warn(f"'{printable(item.path)}' ({item.reason}) stays. {why}")
    console.document(_to_json(found))


def _lines(found: Collection, location: str) -> Iterator[str]:
    for item in found.items:
        yield f"{item.n_bytes / 1e6:>10,.1f} MB  {printable(item.path)}  ({item.reason})"
    if not found.items:
        yield f"There is nothing to remove in '{printable(location)}'."
    elif found.removed:
        yield f"{found.n_bytes / 1e6:>10,.1f} MB removed."
    else:
        yield f"{found.n_bytes / 1e6:>10,.1f} MB can be removed: add --delete."


def _to_json(found: Collection) -> dict[str, Any]:
    return {
        "removed": found.removed,
        "items": [{"path": item.path, "bytes": item.n_bytes, "reason": item.reason} for item in found.items],
        "bytes": found.n_bytes,
        "kept": [
            {"path": item.path, "bytes": item.n_bytes, "reason": item.reason, "why": why} for item, why in found.kept
        ],
    }
