"""Probabilities of the backbones become the accuracy of averaging any of them, beside what running them costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.int64]

ALL_SUBSETS_OF = 12
"""Backbones up to which every subset is tried: 4,095 of them."""

_CHUNK = 1 << 21  # probabilities of one backbone that are summed up at a time


@dataclass(frozen=True)
class Subset:
    """The plain average of some backbones.

    Attributes
    ----------
    members : tuple of str
    correct : int
    accuracy : float
    multiply_adds : float or None
        Of all members together, for one image; None where one of them is not known.
    """

    members: tuple[str, ...]
    correct: int
    accuracy: float
    multiply_adds: float | None


@dataclass(frozen=True)
class Subsets:
    """What averaging gains, and what it costs.

    The subsets are compared on the very images that they are scored on: the best of many is a little too good to be
    true.

    Attributes
    ----------
    tried : tuple of Subset
        By size, then in the order of the backbones.
    best : tuple of Subset
        The most accurate one of each size; of equals the cheaper, then the first.
    front : tuple of Subset
        Those that no other one beats in accuracy at the same cost or in cost at the same accuracy, the cheapest first;
        none where costs are not known.
    exhaustive : bool
        Whether every subset was tried; else each size has what is best to add to the best one of the size before.
    """

    tried: tuple[Subset, ...]
    best: tuple[Subset, ...]
    front: tuple[Subset, ...]
    exhaustive: bool


def measure_subsets(
    names: Sequence[str],
    probabilities: Sequence[FloatArray],
    labels: IntArray,
    multiply_adds: Mapping[str, float] | None = None,
) -> Subsets:
    """Return the accuracy of the plain average of every subset of the backbones, over all repeats together.

    Parameters
    ----------
    names : sequence of str
        K backbones.
    probabilities : sequence of ndarray (m, n_classes), any float
        Of each backbone, for every tested image in every repeat.
    labels : ndarray (m,), int64
    multiply_adds : mapping of str to float, optional
        Of one image, by backbone, as far as known.

    Examples
    --------
    >>> sure, unsure = np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([[0.6, 0.4], [0.9, 0.1]])
    >>> found = measure_subsets(["a", "b"], [sure, unsure], np.array([0, 1]), {"a": 2e6, "b": 1e6})
    >>> [(subset.members, subset.accuracy, subset.multiply_adds) for subset in found.front]
    [(('b',), 0.5, 1000000.0), (('a',), 1.0, 2000000.0)]
    """
    costs = multiply_adds or {}
    exhaustive = len(names) <= ALL_SUBSETS_OF
    count = _count_all if exhaustive else _count_greedily
    tried = tuple(
        _subset(tuple(names[member] for member in members), correct, len(labels), costs)
        for members, correct in count(probabilities, labels)
    )
    sizes = range(1, len(names) + 1)
    best = tuple(min((each for each in tried if len(each.members) == size), key=_rank) for size in sizes)
    return Subsets(tried, best, _front(tried), exhaustive)


def _subset(members: tuple[str, ...], correct: int, n: int, costs: Mapping[str, float]) -> Subset:
    known = all(name in costs for name in members)
    return Subset(members, correct, correct / n, sum(costs[name] for name in members) if known else None)


def _rank(subset: Subset) -> tuple[int, float]:
    return -subset.correct, subset.multiply_adds or 0.0


def _front(tried: Sequence[Subset]) -> tuple[Subset, ...]:
    priced = [(subset.multiply_adds, -subset.correct, subset) for subset in tried if subset.multiply_adds is not None]
    if len(priced) < len(tried):
        return ()
    front: list[Subset] = []
    for _, _, subset in sorted(priced, key=lambda each: each[:2]):
        if not front or subset.correct > front[-1].correct:
            front.append(subset)
    return tuple(front)


def _count_all(probabilities: Sequence[FloatArray], labels: IntArray) -> Iterator[tuple[tuple[int, ...], int]]:
    """Yield every subset, and the number of images that its average gets right."""
    right: dict[tuple[int, ...], int] = {}

    def extend(
        members: tuple[int, ...], total: FloatArray | float, part: Sequence[FloatArray], truth: IntArray
    ) -> None:
        # Each subset is its parent's sum and one addition.
        for member in range(members[-1] + 1 if members else 0, len(part)):
            larger = total + part[member]
            right[*members, member] = right.get((*members, member), 0) + _right(larger, truth)
            extend((*members, member), larger, part, truth)

    for part, truth in _chunks(probabilities, labels):
        extend((), 0.0, part, truth)
    for size in range(1, len(probabilities) + 1):
        yield from ((members, right[members]) for members in combinations(range(len(probabilities)), size))


def _count_greedily(probabilities: Sequence[FloatArray], labels: IntArray) -> Iterator[tuple[tuple[int, ...], int]]:
    """Yield every single backbone, then the best ones so far with each other one; and what they get right."""
    chosen: tuple[int, ...] = ()
    while len(chosen) < len(probabilities):
        others = [member for member in range(len(probabilities)) if member not in chosen]
        right = dict.fromkeys(others, 0)
        for part, truth in _chunks(probabilities, labels):
            total = sum((part[member] for member in chosen), np.zeros_like(part[0]))
            for member in others:
                right[member] += _right(total + part[member], truth)
        yield from ((tuple(sorted((*chosen, member))), right[member]) for member in others)
        chosen = (*chosen, max(others, key=lambda member: right[member]))


def _chunks(probabilities: Sequence[FloatArray], labels: IntArray) -> Iterator[tuple[list[FloatArray], IntArray]]:
    rows = max(1, _CHUNK // probabilities[0].shape[1])
    for start in range(0, len(labels), rows):
        part = slice(start, start + rows)
        yield [each[part].astype(np.float64) for each in probabilities], labels[part]


def _right(total: FloatArray, truth: IntArray) -> int:
    return int((total.argmax(axis=1) == truth).sum())
