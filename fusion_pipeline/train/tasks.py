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
from fusion_pipeline.train.aligned import AlignedStores
from fusion_pipeline.train.expert_sets import CONCAT, SINGLES, expert_names
from fusion_pipeline.train.expert_views import ExpertView
from fusion_pipeline.train.experts import DEFAULT_ALPHAS, Expert, ExpertFit
from fusion_pipeline.train.folds import inner_folds
from fusion_pipeline.train.fusing import fuse_experts
from fusion_pipeline.train.fusion import Fusion
from fusion_pipeline.train.gates.gate import Gate, GateInputs
from fusion_pipeline.train.gates.registry import make_gate
from fusion_pipeline.train.labels.choice import FEATURES_ALONE, LabelChoice
from fusion_pipeline.train.labels.space import NONE
from fusion_pipeline.train.ledger import Entry
from fusion_pipeline.train.parts import Part
from fusion_pipeline.train.sightings import expert_entries, features_source, gate_entry_of

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class ExpertTask:
    """Fit one expert on one training part.

    Attributes
    ----------
    part : Part
    expert : str
        A backbone, or `CONCAT` for the expert on all features side by side.
    seed : int
        Of the inner folds.
    labels : LabelChoice
        What the expert sees of its backbone's ImageNet probabilities; nothing for `CONCAT`.
    alphas : tuple of float
        Penalties to choose from.
    """

    part: Part
    expert: str
    seed: int
    labels: LabelChoice = FEATURES_ALONE
    alphas: tuple[float, ...] = DEFAULT_ALPHAS

    @property
    def name(self) -> str:
        """What messages call this task."""
        return f"expert {printable(self.expert)}{self.labels.suffix}, {self.part.name}"


@dataclass(frozen=True)
class GateTask:
    """Fit a gate on one training part, from the results of the expert tasks that it needs.

    Attributes
    ----------
    part : Part
    gate : str
    seed : int
    labels : LabelChoice
        That of the experts.
    experts : str
        One of `fusion_pipeline.train.expert_sets.EXPERT_SETS`.
    joint : bool
        Whether the experts learn on together with the gate.
    """

    part: Part
    gate: str
    seed: int
    labels: LabelChoice = FEATURES_ALONE
    experts: str = SINGLES
    joint: bool = False

    @property
    def name(self) -> str:
        """What messages call this task."""
        beside = "" if self.experts == SINGLES else f" with {CONCAT}"
        together = " trained with its experts" if self.joint else ""
        return f"gate {self.gate}{self.labels.suffix}{beside}{together}, {self.part.name}"

    def needed(self) -> list[ExpertTask]:
        """Return the tasks of its experts, in the order of the gate weights."""
        return [
            ExpertTask(self.part, name, self.seed, FEATURES_ALONE if name == CONCAT else self.labels)
            for name in expert_names(self.part.aligned.backbones, self.experts)
        ]


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
    gate_weights : ndarray (n_test, n_experts), float64
    fit_seconds, predict_seconds : float
        Of the gate alone, without its experts.
    entries : tuple of Entry
        Who saw what.
    together : tuple of Expert
        The experts that were trained together with the gate; none where they stayed as they were.
    """

    gate: Gate
    probabilities: FloatArray
    gate_weights: FloatArray
    fit_seconds: float
    predict_seconds: float
    entries: tuple[Entry, ...] = ()
    together: tuple[Expert, ...] = ()


def run_expert(task: ExpertTask, groups: IntArray | None = None) -> ExpertResult:
    """Run one expert task: a pure function of the task; `groups` (n,) are those that its grouping finds."""
    with threadpool_limits(1):
        stores = task.part.aligned.open()
        train, test = task.part.rows(stores.labels, groups)
        view = _view(stores, task)
        labels, kept = stores.labels[train], None if groups is None else groups[train]
        started = perf_counter()
        fit = view.take(train).fit(labels, len(stores.class_names), task.seed, task.alphas, kept)
        fitted = perf_counter()
        probabilities = fit.expert.probabilities(view.seen[test])
        predicted = perf_counter()
        sources = [features_source(name) for name in view.backbones]
        inner = inner_folds(labels, task.seed, groups=kept)
        entries = expert_entries(task.name, sources, train, test, inner, len(stores.labels))
        return ExpertResult(fit, probabilities, fitted - started, predicted - fitted, entries)


def run_gate(task: GateTask, groups: IntArray | None, *experts: ExpertResult) -> GateResult:
    """Run one gate task: a pure function of the task and of its experts' results, in the order of `GateTask.needed`."""
    with threadpool_limits(1):
        stores = task.part.aligned.open()
        train, test = task.part.rows(stores.labels, groups)
        gate = make_gate(task.gate)
        inputs = _inputs(stores, gate, groups)
        views = [_view(stores, needed) for needed in task.needed()] if gate.in_sample or task.joint else []
        started = perf_counter()
        learned = fuse_experts(
            [expert.fit for expert in experts],
            gate,
            lambda: [view.seen[train] for view in views],
            inputs.take(train),
            stores.labels[train],
            task.seed,
            joint=task.joint,
        )
        fitted = perf_counter()
        unseen, opinions = inputs.take(test), [expert.probabilities for expert in experts]
        if task.joint:
            opinions = [expert.probabilities(view.seen[test]) for expert, view in zip(learned, views, strict=True)]
        fused = gate.fuse(unseen, np.stack(opinions, axis=1))
        predicted = perf_counter()
        known = [expert.entries for expert in experts]
        # By what was asked for, not by what the gate did: only that is a leak on purpose.
        entry = gate_entry_of(task.name, gate, known, train, test, len(stores.labels), Fusion(task.gate).leaks)
        weights, together = gate.gate_weights(unseen), tuple(learned) if task.joint else ()
        return GateResult(gate, fused, weights, fitted - started, predicted - fitted, (entry,), together)


def _view(stores: AlignedStores, task: ExpertTask) -> ExpertView:
    """Read what an expert sees of all usable rows."""
    if task.expert == CONCAT:
        return ExpertView.of_all({name: stores.features(name) for name in stores.backbones})
    seen = task.labels.kind != NONE
    imagenet = stores.imagenet(task.expert) if seen else None
    space = task.labels.space(stores.imagenet_classes) if seen else None
    return ExpertView.of_one(task.expert, stores.features(task.expert), space, imagenet)


def _inputs(stores: AlignedStores, gate: Gate, groups: IntArray | None) -> GateInputs:
    """Read what `gate` looks at, and no more."""
    features = tuple(stores.features(name) for name in stores.backbones) if gate.looks_at_features else ()
    thumbnails = None if gate.thumbnail_size is None else stores.thumbnails(gate.thumbnail_size)
    return GateInputs(len(stores.labels), features, thumbnails, groups)
