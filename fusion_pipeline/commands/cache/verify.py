"""`fusion cache verify`: whether the stores are whole, and true."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from fusion_pipeline.commands import exits, inputs
from fusion_pipeline.commands.console import Console
from fusion_pipeline.commands.options import uses
from fusion_pipeline.config import Settings
from fusion_pipeline.errors import FormatError, StaleError, UsageError, printable

if TYPE_CHECKING:
    from fusion_pipeline.extract.source import SourceDifference
    from fusion_pipeline.store.care.verify import Report


@click.command()
@click.option(
    "--read-data/--quick",
    "read",
    default=True,
    help="Read and hash every file, or look only whether it is there and how long it is. [default: --read-data]",
)
@click.option(
    "--semantic",
    is_flag=True,
    help="Also see that the probabilities are what the stored head makes of the features: finds wrong rows, weights "
    "and layers, which no checksum can.",
)
@click.option(
    "--source",
    is_flag=True,
    help="Also compare the index with the images of --data as they are now; exits 14 if they differ.",
)
@click.option(
    "--subset", metavar="K/N", help="Read only the Kth of N parts of all files, and rows: a large cache by and by."
)
@uses("data", "dataset", "cache", "follow_symlinks")
def verify(read: bool, semantic: bool, source: bool, subset: str | None, settings: Settings, console: Console) -> None:
    """Compare every file of every published store with its manifest.

    Exits 12 and names the files if one is missing, cut short or changed; 13 if a newer version wrote a store; 14 if the
    images are others by now; 10 if there is no store. With --data or --dataset on the command line, only that data
    set is looked at.

    \b
    Example:
      fusion cache verify --semantic --json
    """
    from fusion_pipeline.store.care.semantic import verify_all
    from fusion_pipeline.store.care.verify import ALL, NEWER, Subset

    if semantic and not read:
        raise UsageError("--semantic holds all rows against each other, and --quick reads none. Leave out one of them.")
    home = inputs.opened_cache(settings)
    part = ALL if subset is None else Subset.parse(subset)
    chosen = inputs.named_dataset(settings, home)
    names = [name for name in home if chosen in (None, name)]
    reports = [report for name in names for report in verify_all(home[name], read=read, subset=part, semantic=semantic)]
    if not reports:
        raise inputs.no_store("to verify", home, chosen)
    differences = inputs.source_differences(settings, home) if source else ()
    for report in reports:
        console.tell(_lines(report, home.location))
    console.tell(_difference_lines(differences))
    kinds = {item.kind for report in reports for item in report.damage}
    damaged = bool(kinds - {NEWER})
    if damaged:
        console.say("'fusion cache repair' with the --data of the stores mends them.")
    console.document(
        {
            "stores": [_to_json(report) for report in reports],
            **({"source": [item.to_json() for item in differences]} if source else {}),
        }
    )
    if damaged:
        sys.exit(exits.DAMAGED)
    if kinds:
        sys.exit(FormatError.exit_code)
    if differences:
        sys.exit(StaleError.exit_code)


def _lines(report: Report, location: str) -> Iterator[str]:
    yield f"{printable('/'.join(part for part in (report.dataset, report.folder) if part))}: {_state(report)}"
    if report.reason:
        yield f"  {printable(report.reason)}"
    for item in report.damage:
        yield f"  {item.kind:<8} {printable(f'{location}/{report.where(item)}')}"


def _state(report: Report) -> str:
    from fusion_pipeline.store.care.verify import NEWER

    count = sum(item.kind != NEWER for item in report.damage)
    if count:
        return f"{count:,} {'file' if count == 1 else 'files'} damaged"
    return "not looked into" if report.damage else "ok"


def _difference_lines(differences: tuple[SourceDifference, ...]) -> Iterator[str]:
    if differences:
        yield f"{len(differences):,} images differ from the index. 'fusion extract' takes them as they are now."
    for item in differences[: exits.SHOWN]:
        yield f"  {item.kind:<8} {printable(item.text)}"
    if len(differences) > exits.SHOWN:
        yield f"  and {len(differences) - exits.SHOWN:,} more"


def _to_json(report: Report) -> dict[str, Any]:
    return {
        "dataset": report.dataset,
        "folder": report.folder,
        "backbone": None if report.store is None else report.store.name,
        "key": None if report.store is None else report.store.manifest.key,
        "ok": not report.damage,
        "damage": [{"file": item.file, "kind": item.kind} for item in report.damage],
    }
