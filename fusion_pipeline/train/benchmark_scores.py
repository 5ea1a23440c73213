"""What every row predicted becomes scores, comparisons and the gain taken apart, for people and for machines."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.train.benchmark import Benchmark, RowResult
from fusion_pipeline.train.expert_sets import SINGLES
from fusion_pipeline.train.labels.space import GLOVE, LEARNED
from fusion_pipeline.train.mixture import sample_nll
from fusion_pipeline.train.published import published_accuracy
from fusion_pipeline.train.rows import ADAPTIVE, BACKBONE, RowName
from fusion_pipeline.train.statistics.comparisons import PLAIN
from fusion_pipeline.train.statistics.gain import GainStep, choose_singles, put_together, take_apart
from fusion_pipeline.train.statistics.over_parts import compare_over_parts
from fusion_pipeline.train.statistics.repeats import (
    Outcomes,
    RepeatedComparison,
    as_family,
    compare_repeats,
    pooled_accuracy,
)
from fusion_pipeline.train.statistics.scores import Row, calibration_error, macro_f1

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class ScoredRow(Row):
    """One row of the table of a benchmark, over all its repeats; its fields are those of ``--json``.

    The interval is that of `pooled_accuracy`, for repeats are no new images; NLL, ECE and macro F1 are means over the
    repeats; `fallbacks` has all parts.

    Attributes
    ----------
    mode, experts : str
        See `RowName`.
    penalties : tuple of float
        By part.
    paper : float or None
        What the paper printed, as a share.
    """

    mode: str
    experts: str
    penalties: tuple[float, ...]
    paper: float | None

    @property
    def text(self) -> str:
        """What the table calls it."""
        return RowName("", self.method, self.label_embedding, self.mode, self.experts).text


@dataclass(frozen=True)
class Scores:
    """The table, and what can be said of it.

    Attributes
    ----------
    rows : tuple of ScoredRow
    comparisons : tuple of RepeatedComparison
        Of each fused row that does not leak with each of `PLAIN` and with the best backbone, with Holm's adjustment.
    gain : tuple of GainStep
    predictions : str
        Digest of all that was predicted: equal for equal runs.
    """

    rows: tuple[ScoredRow, ...]
    comparisons: tuple[RepeatedComparison, ...]
    gain: tuple[GainStep, ...]
    predictions: str


def score_benchmark(found: Benchmark, dataset: str) -> Scores:
    """Score every row.

    Parameters
    ----------
    found : Benchmark
    dataset : str
        Name of the data set, for the paper's numbers.
    """
    outcomes = {result.row.text: _outcomes(found, result) for result in found.rows}
    rows = tuple(_scored(found, result, outcomes[result.row.text], dataset) for result in found.rows)
    digest = hashlib.sha256()
    for result in found.rows:
        digest.update(np.ascontiguousarray(result.probabilities).tobytes())
    return Scores(rows, _comparisons(found, outcomes), _gain(found, outcomes), f"sha256:{digest.hexdigest()}")


def _outcomes(found: Benchmark, result: RowResult) -> Outcomes:
    tested = ~np.isnan(result.probabilities[:, :, 0])
    return Outcomes.of((result.probabilities.argmax(axis=2) == found.labels) & tested, tested)


def _scored(found: Benchmark, result: RowResult, outcomes: Outcomes, dataset: str) -> ScoredRow:
    pooled, repeats = pooled_accuracy(outcomes, found.groups), list(_repeats(found, result))
    correct, n = int((outcomes.correct & outcomes.tested).sum()), int(outcomes.tested.sum())
    row = result.row
    paper = published_accuracy(dataset, row.method, label_embedding=row.label_embedding != "none")
    return ScoredRow(
        row.method,
        row.label_embedding,
        correct / n,
        correct,
        n,
        pooled.ci95,
        float(np.mean([sample_nll(predicted, labels).mean() for predicted, labels in repeats])),
        float(np.mean([calibration_error(predicted, labels) for predicted, labels in repeats])),
        float(np.mean([macro_f1(predicted.argmax(axis=1), labels) for predicted, labels in repeats])),
        result.fit_seconds,
        result.predict_seconds,
        any(result.fallbacks),
        result.fallbacks,
        row.leaks,
        row.mode,
        row.experts,
        result.penalties,
        None if paper is None or row.experts != SINGLES else paper / 100,
    )


def _repeats(found: Benchmark, result: RowResult) -> Iterator[tuple[FloatArray, NDArray[np.int64]]]:
    for predicted in result.probabilities:
        tested = ~np.isnan(predicted[:, 0])
        yield predicted[tested], found.labels[tested]


def _comparisons(found: Benchmark, outcomes: dict[str, Outcomes]) -> tuple[RepeatedComparison, ...]:
    singles = [result.row.text for result in found.rows if result.row.kind == BACKBONE]
    best = max(singles, key=lambda name: outcomes[name].accuracy, default=None)
    others = [name for name in (*PLAIN, best) if name in outcomes]
    fused = [result.row.text for result in found.rows if result.row.kind != BACKBONE and not result.row.leaks]
    pairs = [(name, other) for name in fused for other in others if name != other]
    return as_family([_compare(found, name, outcomes[name], other, outcomes[other]) for name, other in pairs])


def _compare(found: Benchmark, first: str, ours: Outcomes, second: str, theirs: Outcomes) -> RepeatedComparison:
    compared = compare_repeats(first, ours, second, theirs, found.groups)
    return replace(compared, over_parts=compare_over_parts(ours, theirs, found.tests))


def _gain(found: Benchmark, outcomes: dict[str, Outcomes]) -> tuple[GainStep, ...]:
    singles = [result for result in found.rows if result.row.kind == BACKBONE]
    names = [result.row.text for result in singles]
    adaptive = next((name for name in ADAPTIVE if name in outcomes), None)
    with_labels = [f"{adaptive} + {kind}" for kind in (LEARNED, GLOVE)]
    labelled = next((name for name in with_labels if name in outcomes), None)
    if not singles or not {"average", "constant", "stacking", adaptive} & outcomes.keys():
        return ()
    chosen = choose_singles({result.row.text: result.evidence for result in singles})
    alone = {name: outcomes[name] for name in names}
    together = _chosen_single(found, chosen, alone)
    return take_apart(
        outcomes,
        names,
        chosen_single=together,
        adaptive=adaptive,
        label_embedding=labelled,
        groups=found.groups,
    )


def _chosen_single(found: Benchmark, chosen: Sequence[str], alone: dict[str, Outcomes]) -> Outcomes:
    """Return what the backbones predicted that each training part would have chosen by itself."""
    tested = next(iter(alone.values())).tested
    correct = np.zeros_like(tested)
    folds = len(found.tests) // len(tested)
    for repeat in range(len(tested)):
        part = slice(repeat * folds, (repeat + 1) * folds)
        rows = {name: outcomes.correct[repeat] for name, outcomes in alone.items()}
        correct[repeat] = put_together(chosen[part], found.tests[part], rows)
    return Outcomes.of(correct, tested)


def to_csv(rows: Sequence[ScoredRow]) -> str:
    """Return the rows as CSV, without what differs from run to run: seconds."""
    out = io.StringIO()
    fields = [name for name in asdict(rows[0]) if not name.endswith("_seconds")] if rows else []
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(fields)
    for row in rows:
        record = asdict(row)
        writer.writerow([_cell(record[name]) for name in fields])
    return out.getvalue()


def _cell(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(_cell, value))
    return "" if value is None else str(value)
