"""A small record of what to fit and on which rows becomes a fitted expert or gate and its predictions of unseen rows.

A task names stores, a split and a fold, and carries no array. It derives everything else itself, on one BLAS thread, so
that its result is the same bytes wherever it runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from fusion_pipeline.errors import printable
from fusion_pipeline.train.aligned import Aligned, AlignedStores
from fusion_pipeline.train.experts import DEFAULT_ALPHAS, ExpertFit, fit_expert
from fusion_pipeline.train.folds import Fold, Split, stratified_folds
from fusion_pipeline.train.gates.gate import Gate, GateInputs
from fusion_pipeline.train.gates.registry import make_gate

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class ExpertTask:
    """Fit the expert of one backbone on one training part.

    Attributes
    ----------
    aligned : Aligned
    backbone : str
    split : Split
    fold : int or None
        Which part is the test part; None fits on all usable rows.
    seed : int
        Of the inner folds.
    alphas : tuple of float
        Penalties to choose from.
    """

    aligned: Aligned
    backbone: str
    split: Split
    fold: int | None
    seed: int
    alphas: tuple[float, ...] = DEFAULT_ALPHAS

    @property
    def name(self) -> str:
        """What messages call this task."""
        return f"expert {printable(self.backbone)}, {_part_name(self.split, self.fold)}"


@dataclass(frozen=True)
class GateTask:
    """Fit a gate on one training part, from the results of that part's expert tasks in the order of the backbones.

    Attributes
    ----------
    aligned : Aligned
    gate : str
    split : Split
    fold : int or None
        Which part is the test part; None fits on all usable rows.
    seed : int
    """

    aligned: Aligned
    gate: str
    split: Split
    fold: int | None
    seed: int

    @property
    def name(self) -> str:
        """What messages call this task."""
        return f"gate {self.gate}, {_part_name(self.split, self.fold)}"


@dataclass(frozen=True)
class ExpertResult:
    """What an expert task found.

    Attributes
    ----------
    fit : ExpertFit
        With the out-of-fold predictions of the training rows.
    probabilities : ndarray (n_test, n_classes), float64
        Of the test rows; none when there is no test part.
    fit_seconds, predict_seconds : float
    """

    fit: ExpertFit
    probabilities: FloatArray
    fit_seconds: float
    predict_seconds: float


@dataclass(frozen=True)
class GateResult:
    """What a gate task found.

    Attributes
    ----------
    gate : Gate
        Fitted.
    probabilities : ndarray (n_test, n_classes), float64
        Fused, of the test rows.
    gate_weights : ndarray (n_test, n_backbones), float64
    fit_seconds, predict_seconds : float
        Of the gate alone, without its experts.
    """

    gate: Gate
    probabilities: FloatArray
    gate_weights: FloatArray
    fit_seconds: float
    predict_seconds: float


def run_expert(task: ExpertTask) -> ExpertResult:
    """Run one expert task: a pure function of the task."""
    with threadpool_limits(1):
        stores = task.aligned.open()
        train, test = _part(stores.labels, task.split, task.fold)
        features = stores.features(task.backbone)
        started = perf_counter()
        fit = fit_expert(features[train], stores.labels[train], len(stores.class_names), task.seed, task.alphas)
        fitted = perf_counter()
        probabilities = fit.expert.probabilities(features[test])
        return ExpertResult(fit, probabilities, fitted - started, perf_counter() - fitted)


def run_gate(task: GateTask, *experts: ExpertResult) -> GateResult:
    """Run one gate task: a pure function of the task and of its experts' results."""
    with threadpool_limits(1):
        stores = task.aligned.open()
        train, test = _part(stores.labels, task.split, task.fold)
        gate = make_gate(task.gate)
        inputs = _inputs(stores, gate)
        lessons = [expert.fit.out_of_fold for expert in experts]
        if gate.in_sample:
            lessons = [
                expert.fit.expert.probabilities(stores.features(name)[train])
                for name, expert in zip(stores.backbones, experts, strict=True)
            ]
        started = perf_counter()
        gate.fit(inputs.take(train), np.stack(lessons, axis=1), stores.labels[train], task.seed)
        fitted = perf_counter()
        unseen = inputs.take(test)
        fused = gate.fuse(unseen, np.stack([expert.probabilities for expert in experts], axis=1))
        predicted = perf_counter()
        return GateResult(gate, fused, gate.gate_weights(unseen), fitted - started, predicted - fitted)


def _part(labels: IntArray, split: Split, fold: int | None) -> Fold:
    """Return the training and test rows of a fold: the same wherever labels and split are the same."""
    if fold is None:
        return np.arange(len(labels)), np.empty(0, dtype=np.int64)
    return stratified_folds(labels, split.folds, split.seed)[fold]


def _part_name(split: Split, fold: int | None) -> str:
    return "all rows" if fold is None else f"fold {fold + 1} of {split.folds}"


def _inputs(stores: AlignedStores, gate: Gate) -> GateInputs:
    """Read what `gate` looks at, and no more."""
    features = tuple(stores.features(name) for name in stores.backbones) if gate.looks_at_features else ()
    thumbnails = None if gate.thumbnail_size is None else stores.thumbnails(gate.thumbnail_size)
    return GateInputs(len(stores.labels), features, thumbnails)
