"""All backbones' features side by side become one linear classifier: the rows called concat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Final

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from fusion_pipeline.train.experts import DEFAULT_ALPHAS
from fusion_pipeline.train.folds import Fold, inner_folds
from fusion_pipeline.train.ledger import Entry
from fusion_pipeline.train.mixture import best_sharpness, sample_nll
from fusion_pipeline.train.parts import Part
from fusion_pipeline.train.row_sets import RowSet
from fusion_pipeline.train.sightings import features_source
from fusion_pipeline.train.solvers.parts import Part as TrainingPart
from fusion_pipeline.train.solvers.pca import pca_scores
from fusion_pipeline.train.solvers.rows import Rows, hold
from fusion_pipeline.train.solvers.softmax import softmax, solve_path
from fusion_pipeline.train.solvers.svm import solve_svm_path, svm_probabilities

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SVM: Final = "concat-svm"
PCA_SVM: Final = "concat-pca-svm"
SOFTMAX: Final = "concat-softmax"
CONCATS: Final = (SVM, PCA_SVM, SOFTMAX)

PAPER: Final = "paper"
TUNED: Final = "tuned"
MODES: Final = (TUNED, PAPER)

COSTS: Final = (1e-2, 1e-1, 1.0, 1e1, 1e2)
"""What a tuned SVM chooses from; the paper's has LinearSVC's 1."""

# Choosing a penalty needs no exact optima.
_SEARCH_PRECISION = 1e-7

# Of normalised rows for softmax regressions: as if each backbone had a thousand standardised columns, so that the
# penalties mean what they mean for a single backbone.
_COLUMNS = 1000.0


@dataclass(frozen=True)
class ConcatTask:
    """Fit one linear classifier on all backbones' features of one training part.

    Attributes
    ----------
    part : Part
    method : str
        One of `CONCATS`.
    mode : {"tuned", "paper"}
        ``"paper"`` takes features as they are, and C = 1. ``"tuned"`` centres each backbone's, gives them all the same
        mean squared norm, and chooses the penalty by inner folds.
    seed : int
        Of the inner folds.
    """

    part: Part
    method: str
    mode: str
    seed: int

    @property
    def name(self) -> str:
        """What messages call this task."""
        return f"{self.method} ({self.mode}), {self.part.name}"


@dataclass(frozen=True)
class ConcatResult:
    """What such a task found.

    Attributes
    ----------
    out_of_fold : ndarray (n_train, n_classes), float64
        Of the training rows, each by a classifier that was fitted without its inner fold.
    probabilities : ndarray (n_test, n_classes), float64
    penalty : float
        The chosen cost, or alpha.
    fit_seconds, predict_seconds : float
    entries : tuple of Entry
    """

    out_of_fold: FloatArray
    probabilities: FloatArray
    penalty: float
    fit_seconds: float
    predict_seconds: float
    entries: tuple[Entry, ...] = ()


def run_concat(task: ConcatTask, groups: IntArray | None = None) -> ConcatResult:
    """Run one such task: a pure function of the task; `groups` (n,) are those that its grouping finds."""
    with threadpool_limits(1):
        stores = task.part.aligned.open()
        train, test = task.part.rows(stores.labels, groups)
        rows = hold([stores.features(name) for name in stores.backbones], around=train)
        inner = inner_folds(stores.labels[train], task.seed, groups=None if groups is None else groups[train])
        problem = _Problem(task, rows, stores.labels, len(stores.class_names))
        started = perf_counter()
        penalty, held_out = problem.choose(train, inner)
        sharpness = 1.0 if task.method == SOFTMAX else _sharpness(held_out, stores.labels[train])
        *_, (_, unseen_values) = problem.path(train, test, problem.down_to(penalty))
        fitted = perf_counter()
        values = unseen_values()
        predicted = perf_counter()
        entries = _entries(task, stores.backbones, train, test, inner, len(stores.labels))
        apart, unseen = (svm_probabilities(each, 1.0 / sharpness) for each in (held_out, values))
        return ConcatResult(apart, unseen, penalty, fitted - started, predicted - fitted, entries)


@dataclass(frozen=True)
class _Problem:
    """The classifiers of one task, for any training rows."""

    task: ConcatTask
    rows: Rows
    labels: IntArray
    n_classes: int

    @property
    def penalties(self) -> tuple[float, ...]:
        """Return what is chosen from, the strongest penalty first."""
        if self.task.method == SOFTMAX:
            return tuple(sorted(DEFAULT_ALPHAS, reverse=True)) if self.task.mode == TUNED else (1.0,)
        return COSTS if self.task.mode == TUNED else (1.0,)

    def down_to(self, penalty: float) -> tuple[float, ...]:
        """Return the penalties from the strongest to a chosen one."""
        return self.penalties[: self.penalties.index(penalty) + 1]

    def choose(self, train: IntArray, inner: Sequence[Fold]) -> tuple[float, FloatArray]:
        """Return the penalty of least out-of-fold loss, and the values (n_train, n_classes) that it gave there."""
        paths = [self.path(train[kept], train[held_out], self.penalties) for kept, held_out in inner]
        best, least, chosen = self.penalties[0], float("inf"), np.empty((0, self.n_classes))
        for _ in self.penalties:
            values = np.empty((len(train), self.n_classes))
            for (_, held_out), path in zip(inner, paths, strict=True):
                penalty, found = next(path)
                values[held_out] = found()
            loss = self._loss(values, self.labels[train])
            if loss > least:
                break
            best, least, chosen = penalty, loss, values
        return best, chosen

    def _loss(self, values: FloatArray, labels: IntArray) -> float:
        sharpness = 1.0 if self.task.method == SOFTMAX else _sharpness(values, labels)
        return float(sample_nll(softmax(sharpness * values), labels).mean())

    def path(
        self, train: IntArray, held_out: IntArray, penalties: Sequence[float]
    ) -> Iterator[tuple[float, Callable[[], FloatArray]]]:
        """Yield each penalty, from the strongest, and what computes the values (m, n_classes) of the held-out rows."""
        labels = self.labels[train]
        if self.task.method == SOFTMAX:
            part = self._part(train, held_out, constant=0.0)
            for found in solve_path(part, labels, self.n_classes, penalties, _SEARCH_PRECISION):
                yield found.alpha, partial(found.held_out_logits, part)
            return
        part = self._reduced(train, held_out) if self.task.method == PCA_SVM else self._part(train, held_out, 1.0)
        for solution in solve_svm_path(part, labels, self.n_classes, penalties):
            yield solution.cost, partial(solution.held_out_values, part)

    def _part(self, train: IntArray, held_out: IntArray, constant: float) -> TrainingPart:
        if self.task.mode == PAPER:
            return self.rows.part(train, held_out, centred=self.task.method == PCA_SVM, constant=constant)
        size = _COLUMNS**0.5 if self.task.method == SOFTMAX else 1.0
        scales = [size * scale for scale in self.rows.block_scales(train)]
        return self.rows.part(train, held_out, scales=scales, constant=constant)

    def _reduced(self, train: IntArray, held_out: IntArray) -> TrainingPart:
        scores = pca_scores(self._part(train, held_out, constant=0.0), self.task.seed)
        numbers = np.arange(len(train) + len(held_out))
        return hold([np.vstack(scores)]).part(numbers[: len(train)], numbers[len(train) :], centred=False, constant=1.0)


def _sharpness(values: FloatArray, labels: IntArray) -> float:
    """Return the inverse temperature at which softmax makes the labels likeliest."""
    return best_sharpness(softmax(values)[:, None, :], labels)


def _entries(
    task: ConcatTask, backbones: Sequence[str], train: IntArray, test: IntArray, inner: Sequence[Fold], n: int
) -> tuple[Entry, ...]:
    inputs = tuple(features_source(name) for name in backbones)
    apart = [
        Entry(
            f"{task.name}, without inner fold {number + 1}",
            "expert",
            RowSet.of(train[kept], n),
            RowSet.of(train[held_out], n),
            inputs=inputs,
        )
        for number, (kept, held_out) in enumerate(inner)
    ]
    seen, learned = RowSet.of(train, n), tuple(entry.name for entry in apart)
    penalty = Entry(f"penalty of {task.name}", "penalty", seen, RowSet.of([], n), learned_from=learned)
    return (*apart, penalty, Entry(task.name, "expert", seen, RowSet.of(test, n), True, inputs, (penalty.name,)))
