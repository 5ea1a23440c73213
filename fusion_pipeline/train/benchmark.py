"""Stores become every row of the table, by tasks over repeats and folds; what a task found is kept, and found again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.errors import UsageError
from fusion_pipeline.executors import Executor, Handle
from fusion_pipeline.train.aligned import Aligned, AlignedStores
from fusion_pipeline.train.concat import ConcatResult, ConcatTask, run_concat
from fusion_pipeline.train.concat_expert import SOFTMAX
from fusion_pipeline.train.dealing import check_parts
from fusion_pipeline.train.expert_sets import CONCAT as CONCAT_EXPERT
from fusion_pipeline.train.folds import Fold, Split, check_classes
from fusion_pipeline.train.gates.registry import GATES, gate_entry
from fusion_pipeline.train.grouping import find_groups
from fusion_pipeline.train.keeping import Result, Task, from_piece, task_key, to_piece
from fusion_pipeline.train.labels.choice import LabelChoice
from fusion_pipeline.train.labels.space import NONE
from fusion_pipeline.train.ledger import Ledger
from fusion_pipeline.train.parts import Part
from fusion_pipeline.train.pieces import Pieces
from fusion_pipeline.train.rows import BACKBONE, CONCAT, CONCATS, GATE, RowName
from fusion_pipeline.train.tasks import ExpertResult, ExpertTask, GateTask, run_expert, run_gate

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_RUN: Mapping[type, Callable[..., Any]] = {ExpertTask: run_expert, GateTask: run_gate, ConcatTask: run_concat}


@dataclass(frozen=True)
class Protocol:
    """How rows are compared.

    Attributes
    ----------
    split : Split
        Of the first repeat.
    repeats : int
    grouping : str
        One of `fusion_pipeline.train.grouping.GROUPINGS`.
    seed : int
        Of inner folds and gates.
    labels : mapping of str to LabelChoice
        By the kind of the label embedding.
    """

    split: Split
    repeats: int
    grouping: str
    seed: int
    labels: Mapping[str, LabelChoice]


@dataclass(frozen=True)
class RowResult:
    """What one row predicted.

    Attributes
    ----------
    row : RowName
    probabilities : ndarray (n_repeats, n, n_classes), float64
        Of each usable image by the model that was fitted without its part; NaN where it was not tested.
    gate_weights : ndarray (n_repeats, n, n_experts), float64, or None
    fit_seconds, predict_seconds : float
        Over all parts, with all that the row needs.
    fallbacks : tuple of bool
        By part, for gates.
    penalties : tuple of float
        By part: what the row's own classifier chose; none for gates.
    evidence : tuple of float
        By part: its accuracy on the training rows, out of fold; none for gates.
    """

    row: RowName
    probabilities: FloatArray
    gate_weights: FloatArray | None
    fit_seconds: float
    predict_seconds: float
    fallbacks: tuple[bool, ...] = ()
    penalties: tuple[float, ...] = ()
    evidence: tuple[float, ...] = ()


@dataclass(frozen=True)
class Benchmark:
    """Every row on the same parts of the same images.

    Attributes
    ----------
    rows : tuple of RowResult
    labels : ndarray (n,), int64
    groups : ndarray (n,), int64, or None
    tests : tuple of ndarray, int64
        Test rows of each part, repeat by repeat.
    ledger : Ledger
        Who saw what.
    computed, found : int
        Tasks that ran, and tasks whose result was known.
    """

    rows: tuple[RowResult, ...]
    labels: IntArray
    groups: IntArray | None
    tests: tuple[IntArray, ...]
    ledger: Ledger
    computed: int
    found: int


def run_benchmark(
    aligned: Aligned,
    rows: Sequence[RowName],
    protocol: Protocol,
    executor: Executor,
    pieces: Pieces,
    progress: Callable[[int, int], None] | None = None,
) -> Benchmark:
    """Predict every usable image by every row, fitted without the image's part.

    Parameters
    ----------
    aligned : Aligned
        Stores of one version of the images.
    rows : sequence of RowName
    protocol : Protocol
    executor : Executor
        Runs the tasks; the result does not depend on which.
    pieces : Pieces
        Where results are kept as soon as they are there, and found again.
    progress : callable, optional
        Called with the number of finished tasks and the number of all.

    Raises
    ------
    UnusableDataError
        If classes or groups cannot be split so.
    UsageError
        If a backbone bears the name of another row, or the grouping cannot be had.
    """
    stores = _checked(aligned, rows, protocol)
    groups = find_groups(aligned, protocol.grouping)
    splits = protocol.split.repeats(protocol.repeats)
    parts = [
        Part(aligned, split, fold, protocol.grouping)
        for split in splits
        for fold in range(len(split.parts(stores.labels, groups)))
    ]
    check_parts(stores.labels, stores.class_names, protocol.split.parts(stores.labels, groups), groups)
    plan = _Plan(executor, pieces, protocol, groups)
    wanted = [[plan.result(plan.task(row, part)) for part in parts] for row in rows]
    results = plan.run(progress)
    cut = _Cut(tuple(part.rows(stores.labels, groups) for part in parts), len(splits), stores.labels)
    found = tuple(
        _row(row, [results[key] for key in keys], [plan.cost(key, results) for key in keys], cut)
        for row, keys in zip(rows, wanted, strict=True)
    )
    ledger = Ledger.of(len(stores.labels), [entry for result in results.values() for entry in result.entries])
    return Benchmark(found, stores.labels, groups, cut.tests, ledger, plan.computed, len(results) - plan.computed)


def _checked(aligned: Aligned, rows: Sequence[RowName], protocol: Protocol) -> AlignedStores:
    for name in set(aligned.backbones).intersection([*GATES, *CONCATS, CONCAT_EXPERT]):
        raise UsageError(f"Backbone '{name}' bears the name of another row of the table. Rename the backbone.")
    stores = aligned.open()
    check_classes(stores.labels, stores.class_names, protocol.split.folds)
    stores.fetch(imagenet=any(row.label_embedding != NONE for row in rows))
    for size in {gate_entry(row.method).settings.get("thumbnail_size") for row in rows if row.method in GATES}:
        stores.fetch(size)
    return stores


class _Plan:
    """The tasks of a benchmark, each once, however many rows need it."""

    def __init__(self, executor: Executor, pieces: Pieces, protocol: Protocol, groups: IntArray | None) -> None:
        self.computed = 0
        self._executor = executor
        self._pieces = pieces
        self._protocol = protocol
        self._groups = groups
        self._known: dict[str, Result] = {}
        self._handles: dict[str, Handle] = {}
        self._needs: dict[str, list[str]] = {}

    def task(self, row: RowName, part: Part) -> Task:
        """Return the task whose predictions a row has for a part."""
        seed, labels = self._protocol.seed, self._protocol.labels[row.label_embedding]
        if row.kind == BACKBONE:
            return ExpertTask(part, row.method, seed, labels)
        if row.method == SOFTMAX:
            return ExpertTask(part, CONCAT_EXPERT, seed)
        if row.kind == CONCAT:
            return ConcatTask(part, row.method, row.mode, seed)
        return GateTask(part, row.method, seed, labels, row.experts)

    def result(self, task: Task) -> str:
        """Plan a task and those that it needs, unless their results are known; return its key."""
        key = task_key(task)
        if key in self._needs:
            return key
        self._needs[key] = [self.result(other) for other in (task.needed() if isinstance(task, GateTask) else ())]
        piece = self._pieces.find(key)
        known = None if piece is None else from_piece(piece)
        if known is not None:
            self._known[key] = known
        else:
            arguments = [self._handles.get(other, self._known.get(other)) for other in self._needs[key]]
            self._handles[key] = self._executor.submit(_RUN[type(task)], task, self._groups, *arguments, name=task.name)
        return key

    def run(self, progress: Callable[[int, int], None] | None) -> dict[str, Result]:
        """Run what is not known, keep each result as soon as it is there, and return all by key."""
        keys = {handle: key for key, handle in self._handles.items()}
        before, every = len(self._known), len(self._needs)

        def keep(handle: Handle, result: Result) -> None:
            self._pieces.keep(keys[handle], to_piece(result))

        if progress is not None:
            progress(before, every)
        counted = None if progress is None else lambda done: progress(before + done, every)
        results = self._executor.gather(list(keys), counted, keep)
        self.computed = len(results)
        return {**self._known, **dict(zip(keys.values(), results, strict=True))}

    def cost(self, key: str, results: Mapping[str, Result]) -> tuple[float, float]:
        """Return the seconds of fitting and predicting of a task and of all that it needs."""
        every = [results[each] for each in (key, *self._needs[key])]
        return sum(each.fit_seconds for each in every), sum(each.predict_seconds for each in every)


@dataclass(frozen=True)
class _Cut:
    """The training and test rows of each part, repeat by repeat."""

    parts: tuple[Fold, ...]
    repeats: int
    labels: IntArray

    @property
    def tests(self) -> tuple[IntArray, ...]:
        return tuple(test for _, test in self.parts)

    def put_back(self, values: Sequence[FloatArray]) -> FloatArray:
        """Return what was predicted for each image in each repeat; NaN where it was not tested."""
        whole = np.full((self.repeats, len(self.labels), values[0].shape[1]), np.nan)
        folds = len(self.parts) // self.repeats
        for number, (rows, part) in enumerate(zip(self.tests, values, strict=True)):
            whole[number // folds, rows] = part
        return whole

    def evidence(self, out_of_fold: Sequence[FloatArray]) -> tuple[float, ...]:
        """Return the accuracy of out-of-fold predictions of each part's training rows."""
        return tuple(
            float((found.argmax(axis=1) == self.labels[train]).mean())
            for (train, _), found in zip(self.parts, out_of_fold, strict=True)
        )


def _row(row: RowName, results: Sequence[Any], costs: Sequence[tuple[float, float]], cut: _Cut) -> RowResult:
    probabilities = cut.put_back([result.probabilities for result in results])
    fit, predict = (sum(each) for each in zip(*costs, strict=True))
    if row.kind == GATE:
        weights = cut.put_back([result.gate_weights for result in results])
        return RowResult(row, probabilities, weights, fit, predict, tuple(result.gate.fallback for result in results))
    evidence = cut.evidence([_out_of_fold(result) for result in results])
    return RowResult(row, probabilities, None, fit, predict, (), tuple(map(_penalty, results)), evidence)


def _out_of_fold(result: ExpertResult | ConcatResult) -> FloatArray:
    return result.out_of_fold if isinstance(result, ConcatResult) else result.fit.out_of_fold


def _penalty(result: ExpertResult | ConcatResult) -> float:
    return result.penalty if isinstance(result, ConcatResult) else result.fit.alpha
