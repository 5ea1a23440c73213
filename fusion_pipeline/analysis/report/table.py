"""The table of a kept run becomes lines of cells, and places of points and intervals along a scale."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fusion_pipeline.analysis.kept_run import KeptRun
from fusion_pipeline.analysis.report.costs import Costs
from fusion_pipeline.train.rows import BACKBONE, CONCAT, GATE

_HEADINGS = {BACKBONE: "Single backbones", CONCAT: "One classifier on all features", GATE: "Fused"}


@dataclass(frozen=True)
class Line:
    """One row of the table, ready to print.

    Attributes
    ----------
    name : str
        What the table calls it.
    accuracy, interval, correct, macro_f1, nll, ece, seconds, paper : str
        Empty where there is nothing to print.
    note : str
    places : tuple of three floats
        Where accuracy and interval lie along the scale: point, lower end, upper end, 0 to 100.
    paper_place : float or None
        Where the paper's number lies there.
    marked : bool
        Whether the row stands for the fused model in the report.
    """

    name: str
    accuracy: str
    interval: str
    correct: str
    macro_f1: str
    nll: str
    ece: str
    seconds: str
    paper: str
    note: str
    places: tuple[float, float, float]
    paper_place: float | None
    marked: bool


@dataclass(frozen=True)
class Table:
    """The rows of a run by kind, and the scale of their intervals.

    Attributes
    ----------
    groups : tuple of (str, tuple of Line)
        A heading for each.
    low, high : int
        The ends of the scale, in percent.
    has_paper : bool
        Whether the paper has a number for any row.
    """

    groups: tuple[tuple[str, tuple[Line, ...]], ...]
    low: int
    high: int
    has_paper: bool


def table_of(run: KeptRun, costs: Costs, fused_name: str) -> Table:
    """Return the table of a run.

    Parameters
    ----------
    run : KeptRun
    costs : Costs
    fused_name : str
        What the table calls the row that stands for the fused model.
    """
    rows = run.summary["rows"]
    papers = [row["paper"] for row in rows if row["paper"] is not None]
    ends = [bound for row in rows for bound in row["ci95"]] + papers
    scale = _Scale(int(100 * min(ends)), min(100, int(100 * max(ends)) + 1))
    kinds = [each.row.kind for each in run.predictions.rows]
    names = [each.row.text for each in run.predictions.rows]
    lines = [_line(name, row, scale, costs, fused_name) for name, row in zip(names, rows, strict=True)]
    return Table(tuple(_grouped(kinds, lines)), scale.low, scale.high, bool(papers))


@dataclass(frozen=True)
class _Scale:
    low: int
    high: int

    def place(self, share: float) -> float:
        return round(100 * (100 * share - self.low) / (self.high - self.low), 2)


def _grouped(kinds: Sequence[str], lines: Sequence[Line]) -> Iterator[tuple[str, tuple[Line, ...]]]:
    for kind, heading in _HEADINGS.items():
        some = tuple(line for line, its_kind in zip(lines, kinds, strict=True) if its_kind == kind)
        if some:
            yield heading, some


def _line(name: str, row: Mapping[str, Any], scale: _Scale, costs: Costs, fused_name: str) -> Line:
    low, high = row["ci95"]
    seconds, paper = costs.fit_seconds.get(name), row["paper"]
    return Line(
        name,
        f"{100 * row['accuracy']:.2f}",
        f"{100 * low:.1f} to {100 * high:.1f}",
        f"{row['correct']}/{row['n']}",
        f"{row['macro_f1']:.3f}",
        f"{row['nll']:.3f}",
        f"{row['ece']:.3f}",
        "" if seconds is None else f"{seconds:,.1f}",
        "" if paper is None else f"{100 * paper:.2f}",
        _note(row),
        (scale.place(row["accuracy"]), scale.place(low), scale.place(high)),
        None if paper is None else scale.place(paper),
        name == fused_name,
    )


def _note(row: Mapping[str, Any]) -> str:
    if row["leaks"]:
        return f"leaks: {row['leaks']}"
    fallbacks = row["fallbacks"]
    return f"averaged in {sum(fallbacks)} of {len(fallbacks)} parts" if any(fallbacks) else ""
