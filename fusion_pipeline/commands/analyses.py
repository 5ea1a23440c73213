"""What was asked of `fusion analyze` into the library's calls, and what these found into lines for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fusion_pipeline.config import Settings
from fusion_pipeline.errors import FusionError, printable

if TYPE_CHECKING:
    from fusion_pipeline.analysis.analyze import Analysis
    from fusion_pipeline.analysis.kept_run import KeptRun, KeptStores


@dataclass(frozen=True)
class Asked:
    """The command's own options, by their names."""

    folders: tuple[str, ...]
    out: str | None
    row: str | None
    ending: str


def run(settings: Settings, asked: Asked, warn: Callable[[str], None]) -> Analysis:
    """Measure the runs that were named, or the newest of each data set, and write what was found."""
    from fusion_pipeline.analysis.analyze import analyze, name_runs
    from fusion_pipeline.analysis.kept_run import KeptRun, newest_runs
    from fusion_pipeline.analysis.measures import measure

    runs = [KeptRun.open(folder) for folder in asked.folders] or newest_runs(settings.runs)
    names = name_runs(runs)
    measured = {
        name: measure(each, asked.row, opened_stores(settings, each, warn), known_costs(each, warn))
        for name, each in zip(names, runs, strict=True)
    }
    for name, found in measured.items():
        for note in found.notes:
            warn(f"{printable(name)}: {note}")
    home = runs[0].folder if len(runs) == 1 else Path(settings.runs)
    return analyze(measured, asked.out or home / "analysis", asked.ending)


def opened_stores(settings: Settings, kept: KeptRun, warn: Callable[[str], None]) -> KeptStores | None:
    """Return the stores of a run; None, with a note, where they are no longer where the run found them.

    Raises
    ------
    FusionError
        If the command line says where they are, and they are not there.
    """
    named = settings.cache if "cache" in settings.given else None
    try:
        return kept.stores(named, settings.local_copy)
    except FusionError as error:
        if named is not None:
            raise
        warn(f"what needs features or thumbnails is left out: {error}")
        return None


def known_costs(kept: KeptRun, warn: Callable[[str], None]) -> dict[str, float]:
    """Return the multiply-adds of each backbone of a run, as far as its network can be built here."""
    from fusion_pipeline.extract.networks.cost import count_multiply_adds

    costs: dict[str, float] = {}
    for name, entry in kept.summary["backbones"].items():
        try:
            costs[name] = count_multiply_adds(name, entry["identity"])
        except FusionError as error:
            warn(str(error))
    return costs


def lines(result: Analysis) -> Iterator[str]:
    """Yield a sentence about each figure, data set by data set, each with the figure's file; then the folder."""
    for found in result.document["runs"]:
        name, fused = found["name"], found["fused"]
        row = "no fused row" if fused is None else f"the fused row is {printable(fused)}"
        tested = "" if found["tested"] == found["images"] else f", of which {found['tested']:,} were tested"
        backbones = "1 backbone" if len(found["backbones"]) == 1 else f"{len(found['backbones'])} backbones"
        yield f"{printable(name)}: {found['images']:,} images{tested}, {backbones}, {row}"
        for figure in result.document["figures"]:
            if name in figure["readings"]:
                yield f"  {figure['readings'][name]} ({figure['picture']})"
        yield ""
    tables = sum(len(figure["tables"]) for figure in result.document["figures"])
    yield f"{len(result.drawings)} figures, {tables} tables and analysis.json in {printable(str(result.folder))}"
