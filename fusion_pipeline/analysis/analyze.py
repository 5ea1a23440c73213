"""Measures of one or more runs become a folder: figures, their numbers as tables, and one JSON document."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusion_pipeline.analysis.document import describe
from fusion_pipeline.analysis.figures.drawing import FORMATS, Drawing
from fusion_pipeline.analysis.figures.every_figure import every_figure
from fusion_pipeline.analysis.kept_run import KeptRun
from fusion_pipeline.analysis.measures import Measures
from fusion_pipeline.errors import UsageError, printable
from fusion_pipeline.store.storage.local import LocalBackend
from fusion_pipeline.train.model_folder import json_bytes

DOCUMENT_FILE = "analysis.json"
FORMAT = "fusion-analysis 1"

_OURS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.(csv|svg|png)")


@dataclass(frozen=True)
class Analysis:
    """What was written.

    Attributes
    ----------
    folder : Path
    document : dict
        What `DOCUMENT_FILE` holds.
    drawings : tuple of Drawing
    """

    folder: Path
    document: dict[str, Any]
    drawings: tuple[Drawing, ...]


def analyze(runs: Mapping[str, Measures], folder: str | Path, ending: str = "svg") -> Analysis:
    """Draw every figure of some runs and write them with their tables; the same runs are the same bytes.

    Parameters
    ----------
    runs : mapping of str to Measures
        By what their data sets are called in figures, as `name_runs` has it.
    folder : str or Path
        Made where it is not there. Of an earlier analysis in it, what is not written anew is removed.
    ending : {"svg", "png"}
        Of the figures.

    Raises
    ------
    UsageError
        If there is no such format.
    StorageError
        If the folder cannot be written.
    """
    if ending not in FORMATS:
        raise UsageError(f"Figures cannot be written as '{printable(ending)}'. Give one of {', '.join(FORMATS)}.")
    place = LocalBackend(Path(folder).expanduser().absolute())
    place.check_writable()
    drawings = tuple(every_figure(runs))
    pictures = {f"{each.name}.{ending}": each.to_bytes(ending) for each in drawings}
    tables = {f"{table.name}.csv": table.to_bytes() for each in drawings for table in each.tables}
    document = {
        "format": FORMAT,
        "runs": [{"name": name, **describe(found)} for name, found in runs.items()],
        "figures": [_entry(each, ending) for each in drawings],
        "files": sorted([*pictures, *tables]),
    }
    earlier = _earlier_files(place)
    place.write_all({**pictures, **tables, DOCUMENT_FILE: json_bytes(document)})
    for name in earlier - {*pictures, *tables}:
        place.remove_file(name)
    return Analysis(place.root, document, drawings)


def name_runs(runs: Sequence[KeptRun]) -> tuple[str, ...]:
    """Return what the data set of each run is called in figures: its name, and the run's where that is not enough.

    Raises
    ------
    UsageError
        If a run is named twice.
    """
    if len({run.folder.resolve() for run in runs}) < len(runs):
        raise UsageError("A run is named twice. Name each once.")
    names = [run.dataset for run in runs]
    return tuple(
        name if names.count(name) == 1 else f"{name} ({_apart(run, runs)})"
        for name, run in zip(names, runs, strict=True)
    )


def _apart(run: KeptRun, runs: Sequence[KeptRun]) -> str:
    """Return what tells a run from the others: the end of its folder's name, or its place in the order."""
    ends = [each.folder.name.rpartition("-")[2] for each in runs]
    end = run.folder.name.rpartition("-")[2]
    return end if ends.count(end) == 1 else f"{end}, {[each is run for each in runs].index(True) + 1}"


def _entry(drawing: Drawing, ending: str) -> dict[str, Any]:
    return {
        "name": drawing.name,
        "title": drawing.title,
        "picture": f"{drawing.name}.{ending}",
        "tables": [f"{table.name}.csv" for table in drawing.tables],
        "readings": dict(drawing.readings),
    }


def _earlier_files(place: LocalBackend) -> set[str]:
    """Return the files that an earlier analysis wrote here."""
    try:
        document = json.loads(place.read(DOCUMENT_FILE) or b"{}")
        files = document["files"] if document["format"] == FORMAT else []
        return {name for name in files if _OURS.fullmatch(name)}
    except (ValueError, KeyError, TypeError, RecursionError):
        return set()
