"""A small record of what to fit and on which rows becomes a fitted expert or gate and its predictions of unseen rows.

A task names stores, a split and a fold, and carries no array. It derives everything else itself, on one BLAS thread, so
that its result is the same bytes wherever it runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from fusion_pipeline.errors import printable
from fusion_pipeline.train.aligned import AlignedStores
from fusion_pipeline.train.experts import DEFAULT_ALPHAS, ExpertFit, Standardiser, fit_expert
from fusion_pipeline.train.gates.gate import Gate, GateInputs
from fusion_pipeline.train.gates.registry import make_gate
from fusion_pipeline.train.labels.choice import FEATURES_ALONE, LabelChoice
from fusion_pipeline.train.ledger import Entry
from fusion_pipeline.train.parts import Part
from fusion_pipeline.train.sightings import expert_entries, gate_entry_of

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class ExpertTask:
    """Fit the expert of one backbone on one training part.

    Attributes
    ----------
    part : Part
    backbone : str
    seed : int
        Of the inner folds.
    labels : LabelChoice
        What the expert sees of the backbone's ImageNet probabilities.
    alphas : tuple of float
        Penalties to choose from.
    """

    part: Part
    backbone: str
    seed: int
    labels: LabelChoice = FEATURES_ALONE
    alphas: tuple[float, ...] = DEFAULT_ALPHAS

    @property
    def name(self) -> str:
        """What messages call this task."""
        return f"expert {printable(self.backbone)}{self.labels.suffix}, {self.part.name}"


@dataclass(frozen=True)
class GateTask:
    """Fit a gate on one training part, from the results of that part's expert tasks in the order of the backbones.

    Attributes
    ----------
    part : Part
    gate : str
    seed : int
    labels : LabelChoice
        That of the experts.
    """

    part: Part
    gate: str
    seed: int
    labels: LabelChoice = FEATURES_ALONE

    @property
    def name(self) -> str:
        """What messages call this task."""
        return f"gate {self.gate}{self.labels.suffix}, {self.part.name}"


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
    entries : tuple of Entry
        Who saw what.
    """

    fit: ExpertFit
    probabilities: FloatArray
    fit_seconds: float
    predict_seconds: float
    entries: tuple[Entry, ...] = ()


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
    entries : tuple of Entry
        Who saw what.
    """

    gate: Gate
    probabilities: FloatArray
    gate_weights: FloatArray
    fit_seconds: float
    predict_seconds: float
    entries: tuple[Entry, ...] = ()


def run_expert(task: ExpertTask, groups: IntArray | None = None) -> ExpertResult:
    """Run one expert task: a pure function of the task; `groups` (n,) are those that its grouping finds."""
    with threadpool_limits(1):
        stores = task.part.aligned.open()
        train, test = task.part.rows(stores.labels, groups)
        seen, scalings = _expert_input(stores, task)
        labels, kept = stores.labels[train], None if groups is None else groups[train]
        started = perf_counter()
        fit = fit_expert(seen[train], labels, len(stores.class_names), task.seed, task.alphas, scalings, kept)
        fitted = perf_counter()
        probabilities = fit.expert.probabilities(seen[test])
        predicted = perf_counter()
        entries = expert_entries(task.name, stores, task.backbone, train, test, task.seed, kept)
        return ExpertResult(fit, probabilities, fitted - started, predicted - fitted, entries)


def run_gate(task: GateTask, groups: IntArray | None, *experts: ExpertResult) -> GateResult:
    """Run one gate task: a pure function of the task and of its experts' results."""
    with threadpool_limits(1):
        stores = task.part.aligned.open()
        train, test = task.part.rows(stores.labels, groups)
        gate = make_gate(task.gate)
        inputs = _inputs(stores, gate, groups)
        lessons = [expert.fit.out_of_fold for expert in experts]
        if gate.in_sample:
            lessons = [
                expert.fit.expert.probabilities(_expert_input(stores, _expert_task(task, name))[0][train])
                for name, expert in zip(stores.backbones, experts, strict=True)
            ]
        started = perf_counter()
        gate.fit(inputs.take(train), np.stack(lessons, axis=1), stores.labels[train], task.seed)
        fitted = perf_counter()
        unseen = inputs.take(test)
        fused = gate.fuse(unseen, np.stack([expert.probabilities for expert in experts], axis=1))
        predicted = perf_counter()
        known = [expert.entries for expert in experts]
        entry = gate_entry_of(task.name, gate, known, train, test, len(stores.labels))
        weights = gate.gate_weights(unseen)
        return GateResult(gate, fused, weights, fitted - started, predicted - fitted, (entry,))


def _expert_task(task: GateTask, backbone: str) -> ExpertTask:
    return ExpertTask(task.part, backbone, task.seed, task.labels)


def _expert_input(stores: AlignedStores, task: ExpertTask) -> tuple[NDArray[np.floating], tuple[Any, ...]]:
    """Return what the expert sees of all usable rows, and the scalings that it chooses from."""
    features = stores.features(task.backbone)
    space = task.labels.space()
    if space is None:
        return features, (Standardiser.fit,)
    return space(features, stores.imagenet(task.backbone)), space.scalings(features.shape[1])


def _inputs(stores: AlignedStores, gate: Gate, groups: IntArray | None) -> GateInputs:
    """Read what `gate` looks at, and no more."""
    features = tuple(stores.features(name) for name in stores.backbones) if gate.looks_at_features else ()
    thumbnails = None if gate.thumbnail_size is None else stores.thumbnails(gate.thumbnail_size)
    return GateInputs(len(stores.labels), features, thumbnails, groups)
