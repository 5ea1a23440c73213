"""`fusion cache verify`: whether the stores are whole, and true."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from fusion_pipeline.commands import exits, inputs
from fusion_pipeline.commands.console import Console
from fusion_pipeline.commands.options import uses
from fusion_pipeline.config import Settings
from fusion_pipeline.errors import FormatError, FusionError, StaleError, UsageError, printable

if TYPE_CHECKING:
    from fusion_pipeline.extract.source import SourceDifference
    from fusion_pipeline.images.listing import ImageListing
    from fusion_pipeline.store import Cache
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
@uses("data", "data_home", "dataset", "cache", "follow_symlinks")
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
    folder = inputs.image_folder(settings, keep_absent=True) if source else None
    part = ALL if subset is None else Subset.parse(subset)
    chosen = inputs.named_dataset(settings, home)
    names = [name for name in home if chosen in (None, name)]
    reports = [report for name in names for report in verify_all(home[name], read=read, subset=part, semantic=semantic)]
    if not reports:
        raise inputs.no_store("to verify", home, chosen)
    for report in reports:
        console.tell(_lines(report, home.location))
    compared = None if folder is None else _Comparison.of(home, folder)
    if compared is not None:
        console.tell(compared.lines())
    kinds = {item.kind for report in reports for item in report.damage}
    if kinds - {NEWER}:
        console.say(_next_step(reports, settings))
    console.document(
        {
            "stores": [_to_json(report) for report in reports],
            **({} if compared is None else {"source": compared.to_json()}),
        }
    )
    if kinds - {NEWER}:
        sys.exit(exits.DAMAGED)
    if kinds:
        sys.exit(FormatError.exit_code)
    if compared is not None:
        sys.exit(compared.exit_code)


@dataclass(frozen=True)
class _Comparison:
    """How images differ from their index, or why that cannot be told."""

    dataset: str
    differences: tuple[SourceDifference, ...] = ()
    error: FusionError | None = None

    @classmethod
    def of(cls, home: Cache, folder: ImageListing) -> _Comparison:
        """Compare; what is wrong with the index must not cost the reports on all stores."""
        try:
            return cls(folder.name, inputs.source_differences(home, folder))
        except FusionError as error:
            return cls(folder.name, error=error)

    @property
    def exit_code(self) -> int:
        """What the command exits with if no store is damaged."""
        if self.error is not None:
            return self.error.exit_code
        return StaleError.exit_code if self.differences else 0

    def lines(self) -> Iterator[str]:
        """Yield what people read."""
        if self.error is not None:
            yield f"The images of '{printable(self.dataset)}' were not compared with their index. {self.error}"
        count = len(self.differences)
        if count:
            yield f"{count:,} images differ from the index. 'fusion extract' takes them as they are now."
        yield from (f"  {item.kind:<8} {printable(item.text)}" for item in self.differences[: exits.SHOWN])
        if count > exits.SHOWN:
            yield f"  and {count - exits.SHOWN:,} more"

    def to_json(self) -> list[dict[str, Any]] | None:
        """Return what machines read; None if nothing was compared."""
        return None if self.error is not None else [item.to_json() for item in self.differences]


def _next_step(reports: Sequence[Report], settings: Settings) -> str:
    """Return the very command that mends what is damaged."""
    from fusion_pipeline.store.care.semantic import ROWS
    from fusion_pipeline.store.care.verify import NEWER

    found = {(report.dataset, item.kind) for report in reports for item in report.damage if item.kind != NEWER}
    damaged = sorted({name for name, _ in found})
    words = ["fusion cache repair", *(["--semantic"] if ROWS in {kind for _, kind in found} else [])]
    alone = damaged == [inputs.chosen_dataset(settings)] and settings.data is not None
    keys = ("data", "data_home", "dataset", "cache") if alone else ("cache",)
    given = {key: shlex.quote(getattr(settings, key)) for key in keys if key in settings.given}
    words += [f"--{key.replace('_', '-')} {value}" for key, value in given.items()]
    command = printable(" ".join(words))
    if alone:
        return f"'{command}' mends them."
    listed = ", then of ".join(f"'{printable(name)}'" for name in damaged)
    return f"'{command} --data DIR' mends them; DIR holds the images of {listed}."


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


def _to_json(report: Report) -> dict[str, Any]:
    return {
        "dataset": report.dataset,
        "folder": report.folder,
        "backbone": None if report.store is None else report.store.name,
        "key": None if report.store is None else report.store.manifest.key,
        "ok": not report.damage,
        "reason": report.reason,
        "damage": [{"file": item.file, "kind": item.kind} for item in report.damage],
    }
