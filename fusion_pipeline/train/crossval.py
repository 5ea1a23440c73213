"""Aligned stores become out-of-fold predictions of every method, and a final model, by tasks that any executor runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.errors import UsageError
from fusion_pipeline.executors import Executor, Handle
from fusion_pipeline.train.aligned import Aligned, AlignedStores
from fusion_pipeline.train.classifier import FusionClassifier
from fusion_pipeline.train.folds import Split, check_classes, stratified_folds
from fusion_pipeline.train.gates.registry import GATES, gate_entry
from fusion_pipeline.train.parts import Part
from fusion_pipeline.train.tasks import ExpertResult, ExpertTask, GateResult, GateTask, run_expert, run_gate

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Which backbone or gate, and which fold; fold None is the final model.
Where = tuple[str, int | None]


@dataclass(frozen=True)
class Method:
    """Out-of-fold predictions of one row of the table.

    Attributes
    ----------
    name : str
        A backbone, or a gate.
    probabilities : ndarray (n, n_classes), float64
        Of every usable row, by the model that was fitted without its fold.
    gate_weights : ndarray (n, n_backbones), float64, or None
        None for a backbone.
    fit_seconds, predict_seconds : float
        Over all folds, with all that the method needs: a gate's include its experts'.
    fallbacks : tuple of bool
        By fold: whether the gate averaged because it learned nothing better.
    penalties : tuple of float
        By fold: the penalty that the expert chose; none for a gate.
    """

    name: str
    probabilities: FloatArray
    gate_weights: FloatArray | None
    fit_seconds: float
    predict_seconds: float
    fallbacks: tuple[bool, ...]
    penalties: tuple[float, ...] = ()


@dataclass(frozen=True)
class CrossValidation:
    """What cross-validation found, and the model fitted on all usable rows.

    Attributes
    ----------
    rows : ndarray (n,), int64
        Usable rows of the stores.
    labels : ndarray (n,), int64
    methods : dict of str to Method
        Each backbone, ``average``, and the gate, in this order.
    classifier : FusionClassifier
        With class names as labels.
    """

    rows: IntArray
    labels: IntArray
    methods: dict[str, Method]
    classifier: FusionClassifier


def cross_validate(
    aligned: Aligned,
    gate: str,
    split: Split,
    executor: Executor,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> CrossValidation:
    """Predict every usable row by models that were fitted without its fold, and fit the final model.

    Parameters
    ----------
    aligned : Aligned
        Stores of one version of the images.
    gate : str
        One of `GATES`.
    split : Split
        The outer folds.
    executor : Executor
        Runs the tasks; the result does not depend on which.
    seed : int
        Of inner folds and gates.
    progress : callable, optional
        Called with the number of finished tasks and the number of all.

    Raises
    ------
    UnusableDataError
        If a class has too few usable rows for the folds, or a feature is not finite.
    UsageError
        If there is no such gate, or a backbone bears a gate's name.
    """
    gate_entry(gate)
    for name in set(aligned.backbones).intersection(GATES):
        raise UsageError(
            f"Backbone '{name}' bears the name of a gate, so that their rows would mix. Rename the backbone."
        )
    stores = aligned.open()
    check_classes(stores.labels, stores.class_names, split.folds)
    stores.fetch(gate_entry(gate).settings.get("thumbnail_size"))
    experts = _submit_experts(aligned, split, executor, seed)
    gates = _submit_gates(aligned, gate, split, executor, seed, experts)
    handles = [*experts.values(), *gates.values()]
    results = executor.gather(handles, None if progress is None else lambda done: progress(done, len(handles)))
    expert_results = dict(zip(experts, results[: len(experts)], strict=True))
    gate_results = dict(zip(gates, results[len(experts) :], strict=True))
    return _collect(gate, split, seed, stores, expert_results, gate_results)


def _parts(split: Split) -> list[int | None]:
    # The final model comes first: its tasks are the longest, and a pool ends sooner when those start early.
    return [None, *range(split.folds)]


def _submit_experts(aligned: Aligned, split: Split, executor: Executor, seed: int) -> dict[Where, Handle]:
    handles: dict[Where, Handle] = {}
    for fold in _parts(split):
        for backbone in aligned.backbones:
            task = ExpertTask(Part(aligned, split, fold), backbone, seed)
            handles[backbone, fold] = executor.submit(run_expert, task, name=task.name)
    return handles


def _submit_gates(
    aligned: Aligned, gate: str, split: Split, executor: Executor, seed: int, experts: Mapping[Where, Handle]
) -> dict[Where, Handle]:
    handles: dict[Where, Handle] = {}
    for name in dict.fromkeys(("average", gate)):
        for fold in _parts(split):
            if fold is None and name != gate:
                continue  # averaging is only compared with: it needs no final model
            task = GateTask(Part(aligned, split, fold), name, seed)
            needed = [experts[backbone, fold] for backbone in aligned.backbones]
            handles[name, fold] = executor.submit(run_gate, task, None, *needed, name=task.name)
    return handles


def _collect(
    gate: str,
    split: Split,
    seed: int,
    stores: AlignedStores,
    experts: Mapping[Where, ExpertResult],
    gates: Mapping[Where, GateResult],
) -> CrossValidation:
    tests = [test for _, test in stratified_folds(stores.labels, split.folds, split.seed)]
    folds = range(split.folds)
    methods: dict[str, Method] = {}
    for backbone in stores.backbones:
        methods[backbone] = _backbone_method(backbone, tests, [experts[backbone, fold] for fold in folds])
    needs = [methods[backbone] for backbone in stores.backbones]
    for name in dict.fromkeys(("average", gate)):
        methods[name] = _gate_method(name, tests, [gates[name, fold] for fold in folds], needs)
    classifier = FusionClassifier(gate=gate, seed=seed).assemble(
        stores.class_names,
        {backbone: experts[backbone, None].fit.expert for backbone in stores.backbones},
        gates[gate, None].gate,
    )
    return CrossValidation(stores.usable_rows, stores.labels, methods, classifier)


def _backbone_method(name: str, tests: list[IntArray], results: list[ExpertResult]) -> Method:
    return Method(
        name,
        _put_back(tests, [result.probabilities for result in results]),
        None,
        sum(result.fit_seconds for result in results),
        sum(result.predict_seconds for result in results),
        (False,) * len(results),
        tuple(result.fit.alpha for result in results),
    )


def _gate_method(name: str, tests: list[IntArray], results: list[GateResult], needs: list[Method]) -> Method:
    return Method(
        name,
        _put_back(tests, [result.probabilities for result in results]),
        _put_back(tests, [result.gate_weights for result in results]),
        sum(need.fit_seconds for need in needs) + sum(result.fit_seconds for result in results),
        sum(need.predict_seconds for need in needs) + sum(result.predict_seconds for result in results),
        tuple(result.gate.fallback for result in results),
    )


def _put_back(tests: list[IntArray], parts: list[FloatArray]) -> FloatArray:
    """Return the rows of all test parts in the order of the usable rows."""
    whole = np.empty((sum(len(test) for test in tests), parts[0].shape[1]))
    for test, part in zip(tests, parts, strict=True):
        whole[test] = part
    return whole
