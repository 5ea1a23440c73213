"""All backbones' features side by side become one linear SVM: the rows called concat-svm and concat-pca-svm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Final

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from fusion_pipeline.train.folds import Fold, inner_folds
from fusion_pipeline.train.ledger import Entry
from fusion_pipeline.train.mixture import best_sharpness, sample_nll
from fusion_pipeline.train.parts import Part
from fusion_pipeline.train.penalties import Choice, choose_penalty
from fusion_pipeline.train.sightings import expert_entries, features_source, with_leak
from fusion_pipeline.train.solvers.parts import Part as TrainingPart
from fusion_pipeline.train.solvers.pca import COMPONENTS, pca_scores
from fusion_pipeline.train.solvers.rows import Rows, hold
from fusion_pipeline.train.solvers.softmax import softmax
from fusion_pipeline.train.solvers.svm import solve_svm_path, svm_probabilities

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SVM: Final = "concat-svm"
PCA_SVM: Final = "concat-pca-svm"
SVMS: Final = (SVM, PCA_SVM)

PAPER: Final = "paper"
TUNED: Final = "tuned"
MODES: Final = (TUNED, PAPER)
TRANSDUCTIVE: Final = "transductive"
TRANSDUCTIVE_LEAK: Final = "components were fitted on test rows too"

COSTS: Final = (1e-2, 1e-1, 1.0, 1e1, 1e2)
"""What a tuned SVM chooses from; the paper's has LinearSVC's 1."""


@dataclass(frozen=True)
class ConcatTask:
    """Fit one linear SVM on all backbones' features of one training part.

    Attributes
    ----------
    part : Part
    method : str
        One of `SVMS`.
    mode : {"tuned", "paper", "transductive"}
        ``"paper"`` takes features as they are, and C = 1. ``"tuned"`` centres each backbone's, gives them all the same
        mean squared norm, and chooses the penalty by inner folds. ``"transductive"``, for `PCA_SVM` alone, is the
        paper's with the principal components of all rows, tested ones included, and leaks: the paper had 1000
        components, which its training rows were too few for.
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
        The chosen cost.
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
        rows = hold([stores.features(name) for name in stores.backbones], around=train, single=True)
        inner = inner_folds(stores.labels[train], task.seed, groups=None if groups is None else groups[train])
        if task.mode == TRANSDUCTIVE:
            rows = _components_of_all(rows, len(stores.labels), task.seed)
        problem = _Problem(task, rows, stores.labels, len(stores.class_names))
        started = perf_counter()
        best = problem.choose(train, inner)
        sharpness = _sharpness(best.held_out, stores.labels[train])
        *_, values_of_test = problem.path(train, test, best.path)
        fitted = perf_counter()
        values = values_of_test()
        predicted = perf_counter()
        sources = [features_source(name) for name in stores.backbones]
        entries = expert_entries(task.name, sources, train, test, inner, len(stores.labels))
        if task.mode == TRANSDUCTIVE:
            everything = np.arange(len(stores.labels))
            name = f"components of {task.name}"
            entries = with_leak(entries, name, TRANSDUCTIVE_LEAK, everything, len(everything))
        apart, unseen = (svm_probabilities(each, 1.0 / sharpness) for each in (best.held_out, values))
        return ConcatResult(apart, unseen, best.penalty, fitted - started, predicted - fitted, entries)


@dataclass(frozen=True)
class _Problem:
    """The classifiers of one task, for any training rows."""

    task: ConcatTask
    rows: Rows
    labels: IntArray
    n_classes: int

    def choose(self, train: IntArray, inner: Sequence[Fold]) -> Choice:
        """Return the cost of least out-of-fold loss, with the values (n_train, n_classes) that it gave there."""
        costs = COSTS if self.task.mode == TUNED else (1.0,)
        folds = [(held_out, self._held_out(train[kept], train[held_out], costs)) for kept, held_out in inner]
        return choose_penalty(folds, costs, partial(_loss, labels=self.labels[train]))

    def _held_out(self, train: IntArray, held_out: IntArray, costs: Sequence[float]) -> Iterator[FloatArray]:
        for values in self.path(train, held_out, costs):
            yield values()

    def path(self, train: IntArray, held_out: IntArray, costs: Sequence[float]) -> Iterator[Callable[[], FloatArray]]:
        """Yield for each cost, from the strongest penalty, what computes the values (m, n_classes) of held-out rows."""
        reduced = self.task.method == PCA_SVM and self.task.mode != TRANSDUCTIVE
        part = self._reduced(train, held_out) if reduced else self._part(train, held_out, 1.0)
        for solution in solve_svm_path(part, self.labels[train], self.n_classes, costs):
            yield partial(solution.held_out_values, part)

    def _part(self, train: IntArray, held_out: IntArray, constant: float) -> TrainingPart:
        if self.task.mode == TUNED:
            return self.rows.part(train, held_out, scales=self.rows.block_scales(train), constant=constant)
        centred = self.task.method == PCA_SVM and self.task.mode == PAPER
        return self.rows.part(train, held_out, centred=centred, constant=constant)

    def _reduced(self, train: IntArray, held_out: IntArray) -> TrainingPart:
        if len(train) <= COMPONENTS:
            # All components there are: no more than another basis, which no linear model notices.
            return self._part(train, held_out, constant=1.0)
        scores = pca_scores(self._part(train, held_out, constant=0.0), self.task.seed)
        numbers = np.arange(len(train) + len(held_out))
        return hold([np.vstack(scores)]).part(numbers[: len(train)], numbers[len(train) :], centred=False, constant=1.0)


def _components_of_all(rows: Rows, n: int, seed: int) -> Rows:
    """Return the principal component scores of all n rows, tested ones included."""
    scores, _ = pca_scores(rows.part(np.arange(n)), seed)
    return hold([scores])


def _loss(values: FloatArray, labels: IntArray) -> float:
    return float(sample_nll(softmax(_sharpness(values, labels) * values), labels).mean())


def _sharpness(values: FloatArray, labels: IntArray) -> float:
    """Return the inverse temperature at which softmax makes the labels likeliest."""
    return best_sharpness(softmax(values)[:, None, :], labels)
