"""A kept run becomes what its rows are worth beside each other: the best backbone, and the fused row.

The run's own table has accuracies, intervals and p-values. What is computed here is the interval of a difference, which
that has not, from the same kept predictions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import comb
from typing import Any

from fusion_pipeline.analysis.kept_run import KeptRun
from fusion_pipeline.train.predictions import RowPredictions
from fusion_pipeline.train.rows import AVERAGE, BACKBONE
from fusion_pipeline.train.statistics.difference import Difference, difference_of
from fusion_pipeline.train.statistics.repeats import Outcomes, compare_repeats


@dataclass(frozen=True)
class Step:
    """What one row is worth beside another.

    Attributes
    ----------
    first, second : str
    difference : Difference
        Of the first minus the second.
    p : float
        Two-sided, by the exact sign-flip test.
    p_holm : float or None
        As the run's table adjusted it for all of its comparisons, and for two backbones for all of their pairs; None
        where the table made no such comparison.
    over_parts : mapping of str to float
        The p-values of the table's tests that speak of new training images too, by what they are called; none where
        parts are too few.
    """

    first: str
    second: str
    difference: Difference
    p: float
    p_holm: float | None
    over_parts: Mapping[str, float]

    @property
    def sure(self) -> bool:
        """Whether the difference is sure at 5 %, after the adjustment where there is one."""
        return (self.p if self.p_holm is None else self.p_holm) <= 0.05


@dataclass(frozen=True)
class Standings:
    """Where the rows of a run stand.

    Attributes
    ----------
    backbones : tuple of mapping
        The table's rows of single backbones, the most accurate first, of equals the first.
    fused : mapping or None
        The row that stands for the fused model; None if the run has none.
    names : tuple of str
        What the table calls the backbones, in the same order.
    fused_name : str
    fuses : tuple of str
        The backbones that fused rows need; the table need not have a row of each.
    repeats : int
        How often each image was tested, or might have been.
    to_runner_up : Step or None
        The best backbone beside the second best.
    to_best : Step or None
        The fused row beside the best backbone. This was chosen by the very images that it is scored on, which flatters
        it, and so makes the gain look smaller rather than larger.
    to_average : Step or None
        The fused row beside the plain average; None if it is that, or there is none.
    chosen_accuracy : float or None
        Of the backbones that each training part would have chosen by itself.
    """

    backbones: tuple[Mapping[str, Any], ...]
    fused: Mapping[str, Any] | None
    names: tuple[str, ...]
    fused_name: str
    fuses: tuple[str, ...]
    repeats: int
    to_runner_up: Step | None
    to_best: Step | None
    to_average: Step | None
    chosen_accuracy: float | None

    @property
    def averaged(self) -> tuple[int, int]:
        """In how many parts the fused row fell back to averaging, and of how many."""
        parts = () if self.fused is None else self.fused["fallbacks"]
        return sum(parts), len(parts)

    @property
    def only_averages(self) -> bool:
        """Whether the fused row is the plain average, by its name or because its gate fell back to it everywhere."""
        averaged, parts = self.averaged
        return self.fused_name == AVERAGE or 0 < averaged == parts


def stand(run: KeptRun, fused: RowPredictions | None) -> Standings:
    """Return where the rows of a run stand; near-duplicates that it kept together count as one image.

    Parameters
    ----------
    run : KeptRun
    fused : RowPredictions or None
        The row that stands for the fused model.
    """
    singles = [each for each in run.predictions.rows if each.row.kind == BACKBONE]
    ordered = sorted(singles, key=lambda each: -run.scored(each.row.text)["accuracy"])
    beside = _Beside(run)
    best = ordered[0] if ordered else None
    average = run.predictions.row(AVERAGE)
    return Standings(
        tuple(run.scored(each.row.text) for each in ordered),
        None if fused is None else run.scored(fused.row.text),
        tuple(each.row.text for each in ordered),
        "" if fused is None else fused.row.text,
        run.predictions.backbones,
        run.summary["protocol"]["repeats"],
        _chosen_among(beside.step(best, ordered[1] if len(ordered) > 1 else None), len(ordered)),
        beside.step(fused, best),
        None if fused is average else beside.step(fused, average),
        next((step["first_accuracy"] for step in run.summary["gain"] if step["first"] == "chosen single"), None),
    )


class _Beside:
    """Puts rows of one run beside each other."""

    def __init__(self, run: KeptRun) -> None:
        self._run = run
        self._groups = run.predictions.groups

    def step(self, first: RowPredictions | None, second: RowPredictions | None) -> Step | None:
        """Return what the first row is worth beside the second; None if there is not both."""
        if first is None or second is None:
            return None
        names = (first.row.text, second.row.text)
        ours, theirs = (_outcomes(self._run, each) for each in (first, second))
        compared = compare_repeats(names[0], ours, names[1], theirs, self._groups)
        told = [each for each in self._run.summary["comparisons"] if (each["first"], each["second"]) == names]
        p_holm = told[0]["p_holm"] if told else None
        over_parts = {each["test"]: each["p"] for each in told[0].get("over_parts", ())} if told else {}
        return Step(*names, difference_of(ours, theirs, self._groups), compared.p, p_holm, over_parts)


def _chosen_among(step: Step | None, backbones: int) -> Step | None:
    """Adjust the p-value of the two best backbones for all pairs that they might have been (Bonferroni)."""
    return None if step is None else replace(step, p_holm=min(1.0, step.p * comb(backbones, 2)))


def _outcomes(run: KeptRun, row: RowPredictions) -> Outcomes:
    tested = run.predictions.tested_in >= 0
    return Outcomes.of((row.predicted == run.predictions.labels) & tested, tested)
