"""Aligned stores become out-of-fold predictions of every method, and a final model, by tasks that any executor runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.executors import Executor, Handle
from fusion_pipeline.train.aligned import Aligned, AlignedStores
from fusion_pipeline.train.classifier import FusionClassifier
from fusion_pipeline.train.concat_expert import SOFTMAX
from fusion_pipeline.train.expert_sets import CONCAT, expert_names
from fusion_pipeline.train.folds import Split, check_classes, stratified_folds
from fusion_pipeline.train.fusion import Fusion
from fusion_pipeline.train.gates.registry import gate_entry
from fusion_pipeline.train.labels.space import NONE, space_parameters
from fusion_pipeline.train.ledger import Ledger
from fusion_pipeline.train.parts import Part
from fusion_pipeline.train.tasks import ExpertResult, GateResult, GateTask, run_expert, run_gate

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Which expert or gate, and which fold; fold None is the final model.
Where = tuple[str, int | None]


@dataclass(frozen=True)
class Method:
    """Out-of-fold predictions of one row of the table.

    Attributes
    ----------
    name : str
        A backbone, ``concat-softmax`` or a gate.
    probabilities : ndarray (n, n_classes), float64
        Of every usable row, by the model that was fitted without its fold.
    gate_weights : ndarray (n, n_experts), float64, or None
        None for an expert.
    fit_seconds, predict_seconds : float
        Over all folds, with all that the method needs: a gate's include its experts'.
    fallbacks : tuple of bool
        By fold: whether the gate averaged because it learned nothing better.
    penalties : tuple of float
        By fold: the penalty that the expert chose; none for a gate.
    label_embedding : str
        What its experts see of ImageNet probabilities.
    leaks : str
        Why its predictions are too good to be true; empty if they are not.
    """

    name: str
    probabilities: FloatArray
    gate_weights: FloatArray | None
    fit_seconds: float
    predict_seconds: float
    fallbacks: tuple[bool, ...]
    penalties: tuple[float, ...] = ()
    label_embedding: str = NONE
    leaks: str = ""


@dataclass(frozen=True)
class CrossValidation:
    """What cross-validation found, and the model fitted on all usable rows.

    Attributes
    ----------
    rows : ndarray (n,), int64
        Usable rows of the stores.
    labels : ndarray (n,), int64
    methods : dict of str to Method
        Each backbone, ``concat-softmax`` if it is an expert, ``average``, and the gate, in this order.
    classifier : FusionClassifier
        With class names as labels.
    ledger : Ledger
        What every fitted parameter saw, of the folds and of the final model.
    """

    rows: IntArray
    labels: IntArray
    methods: dict[str, Method]
    classifier: FusionClassifier
    ledger: Ledger


def cross_validate(
    aligned: Aligned,
    fusion: Fusion,
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
    fusion : Fusion
        Which experts, and how they are fused.
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
        As of `Fusion.check`.
    """
    fusion.check(aligned.backbones)
    stores = aligned.open()
    check_classes(stores.labels, stores.class_names, split.folds)
    labels = fusion.labels.kind != NONE
    stores.fetch(gate_entry(fusion.gate).settings.get("thumbnail_size"), imagenet=labels)
    gate_tasks = _gate_tasks(aligned, fusion, split, seed)
    experts = _submit_experts(gate_tasks, executor)
    gates = {
        where: executor.submit(run_gate, task, None, *(experts[need] for need in _needs(task)), name=task.name)
        for where, task in gate_tasks.items()
    }
    handles = [*experts.values(), *gates.values()]
    results = executor.gather(handles, None if progress is None else lambda done: progress(done, len(handles)))
    expert_results = dict(zip(experts, results[: len(experts)], strict=True))
    gate_results = dict(zip(gates, results[len(experts) :], strict=True))
    return _collect(fusion, split, seed, stores, expert_results, gate_results)


def _gate_tasks(aligned: Aligned, fusion: Fusion, split: Split, seed: int) -> dict[Where, GateTask]:
    # The final model comes first: its tasks are the longest, and a pool ends sooner when those start early.
    parts = [(fold, Part(aligned, split, fold)) for fold in (None, *range(split.folds))]
    return {
        (gate, fold): GateTask(
            part, gate, seed, fusion.labels, fusion.experts, joint=fusion.joint and gate == fusion.gate
        )
        for gate in dict.fromkeys((fusion.gate, "average"))
        for fold, part in parts
        if fold is not None or gate == fusion.gate  # averaging is only compared with: it needs no final model
    }


def _needs(task: GateTask) -> list[Where]:
    return [(need.expert, need.part.fold) for need in task.needed()]


def _submit_experts(gate_tasks: Mapping[Where, GateTask], executor: Executor) -> dict[Where, Handle]:
    tasks = {(need.expert, need.part.fold): need for task in gate_tasks.values() for need in task.needed()}
    return {where: executor.submit(run_expert, task, name=task.name) for where, task in tasks.items()}


def _collect(
    fusion: Fusion,
    split: Split,
    seed: int,
    stores: AlignedStores,
    experts: Mapping[Where, ExpertResult],
    gates: Mapping[Where, GateResult],
) -> CrossValidation:
    tests = [test for _, test in stratified_folds(stores.labels, split.folds, split.seed)]
    folds = range(split.folds)
    names = expert_names(stores.backbones, fusion.experts)
    methods: dict[str, Method] = {}
    kind = fusion.labels.kind
    for name in names:
        row, seen = (SOFTMAX, NONE) if name == CONCAT else (name, kind)
        methods[row] = _expert_method(row, tests, [experts[name, fold] for fold in folds], seen)
    needs = list(methods.values())
    for name in dict.fromkeys(("average", fusion.gate)):
        methods[name] = _gate_method(name, tests, [gates[name, fold] for fold in folds], needs, kind)
    space = None if kind == NONE else fusion.labels.space(stores.imagenet_classes)
    final = gates[fusion.gate, None]
    fitted = final.together or tuple(experts[name, None].fit.expert for name in names)
    parameters = {"seed": seed, "experts": fusion.experts, "joint": fusion.joint, **space_parameters(space)}
    classifier = FusionClassifier(fusion.gate, **parameters).assemble(
        stores.class_names, dict(zip(names, fitted, strict=True)), final.gate, space
    )
    told = [result.entries for result in experts.values()] + [result.entries for result in gates.values()]
    ledger = Ledger.of(len(stores.labels), chain.from_iterable(told))
    return CrossValidation(stores.usable_rows, stores.labels, methods, classifier, ledger)


def _expert_method(name: str, tests: list[IntArray], results: list[ExpertResult], label_embedding: str) -> Method:
    return Method(
        name,
        _put_back(tests, [result.probabilities for result in results]),
        None,
        sum(result.fit_seconds for result in results),
        sum(result.predict_seconds for result in results),
        (False,) * len(results),
        tuple(result.fit.alpha for result in results),
        label_embedding,
    )


def _gate_method(
    name: str, tests: list[IntArray], results: list[GateResult], needs: list[Method], label_embedding: str
) -> Method:
    return Method(
        name,
        _put_back(tests, [result.probabilities for result in results]),
        _put_back(tests, [result.gate_weights for result in results]),
        sum(need.fit_seconds for need in needs) + sum(result.fit_seconds for result in results),
        sum(need.predict_seconds for need in needs) + sum(result.predict_seconds for result in results),
        tuple(result.gate.fallback for result in results),
        label_embedding=label_embedding,
        leaks=results[0].gate.leaks,
    )


def _put_back(tests: list[IntArray], parts: list[FloatArray]) -> FloatArray:
    """Return the rows of all test parts in the order of the usable rows."""
    whole = np.empty((sum(len(test) for test in tests), parts[0].shape[1]))
    for test, part in zip(tests, parts, strict=True):
        whole[test] = part
    return whole
