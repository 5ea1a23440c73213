"""Labels and groups become the part of each row: dealt like cards, class by class, with groups kept whole.

A group is a set of rows that must not stand on two sides of a split: near-duplicate photographs, or those of one
person. Groups of several rows are dealt first, the largest ahead, each to the part that has least of its classes. Then
single rows fill up what is missing, class after class. Where every row is its own group, that is dealing like cards
without starting anew for each class, which keeps the parts' sizes within one row of each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.errors import UnusableDataError, printable

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
Fold = tuple[IntArray, IntArray]


@dataclass(frozen=True)
class _Deck:
    """The rows in the order in which they are dealt."""

    positions: IntArray  # (n,) class of each row, 0 .. n_classes - 1
    singles: tuple[IntArray, ...]  # by class: the rows that are alone, shuffled
    larger: tuple[IntArray, ...]  # the rows of each group of several, large ones first

    @classmethod
    def shuffled(cls, labels: IntArray, seed: int, groups: IntArray | None) -> _Deck:
        """Return the rows in an order that the seed decides."""
        generator = np.random.default_rng(seed)
        classes, positions = np.unique(labels, return_inverse=True)
        numbers = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1].reshape(-1)
        sizes = np.bincount(numbers, minlength=1)
        alone = sizes[numbers] == 1
        singles = tuple(
            generator.permutation(np.flatnonzero((positions == label) & alone)) for label in range(len(classes))
        )
        shuffled = generator.permutation(np.flatnonzero(sizes > 1))
        order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
        members = np.split(np.argsort(numbers, kind="stable"), np.cumsum(sizes)[:-1])
        return cls(positions.reshape(-1), singles, tuple(members[group] for group in order))

    def of_each_class(self, rows: IntArray) -> IntArray:
        """Return how many of `rows` are in each class, (n_classes,)."""
        return np.bincount(self.positions[rows], minlength=len(self.singles))


def deal(labels: IntArray, folds: int, seed: int, groups: IntArray | None = None) -> IntArray:
    """Return the part, 0 .. folds - 1, of each row.

    Parameters
    ----------
    labels : ndarray (n,), int64
    folds : int
    seed : int
    groups : ndarray (n,), int64, optional
        Rows with equal numbers get the same part.

    Returns
    -------
    ndarray (n,), int64

    Examples
    --------
    >>> deal(np.array([0, 0, 0, 0]), 2, seed=0, groups=np.array([5, 5, 1, 2]))
    array([0, 0, 1, 1])
    """
    deck = _Deck.shuffled(labels, seed, groups)
    part = np.empty(len(labels), dtype=np.int64)
    held = np.zeros((folds, len(deck.singles)), dtype=np.int64)  # rows of each class in each part
    # A rare class counts as much as a common one. Of one class alone the share orders parts as the number does.
    weight = 1.0 / deck.of_each_class(np.arange(len(labels)))
    for rows in deck.larger:
        counts = deck.of_each_class(rows)
        chosen = int(np.lexsort((held.sum(axis=1), held @ (counts * weight)))[0])
        part[rows] = chosen
        held[chosen] += counts
    dealt = np.concatenate([np.empty(0, np.int64), *deck.singles])
    part[dealt] = _fill_up(held, [len(rows) for rows in deck.singles])
    return part


def _fill_up(held: IntArray, cards: Sequence[int]) -> IntArray:
    """Return the parts that single cards go to, class after class, where parts hold so many of each class already.

    Each goes where least of its class is, among equals where least is at all, among equals to the first: from empty
    hands that is one after the other, without starting anew for each class.
    """
    folds = len(held)
    if not held.any():
        return np.arange(sum(cards)) % folds
    totals = held.sum(axis=1).tolist()
    chosen: list[int] = []
    for label, number in enumerate(cards):
        mine = held[:, label].tolist()
        for _ in range(number):
            fold = min(range(folds), key=lambda fold: (mine[fold], totals[fold]))
            chosen.append(fold)
            mine[fold] += 1
            totals[fold] += 1
    return np.array(chosen, dtype=np.int64)


def draw(labels: IntArray, share: Fraction, seed: int, groups: IntArray | None = None) -> BoolArray:
    """Return which rows a holdout of `share` tests.

    Parameters are those of `deal`.

    Returns
    -------
    ndarray (n,), bool
        Without groups, `share` of all rows rounded half up, and of each class rounded up or down.

    Examples
    --------
    >>> draw(np.repeat([0, 1], 3), Fraction(1, 2), seed=0)
    array([ True, False,  True, False, False,  True])
    """
    deck = _Deck.shuffled(labels, seed, groups)
    of_class = deck.of_each_class(np.arange(len(labels)))
    wanted = _quotas(of_class, share)
    is_test = np.zeros(len(labels), dtype=bool)
    tested, trained = np.zeros_like(wanted), np.zeros_like(wanted)
    for rows in deck.larger:
        counts = deck.of_each_class(rows)
        into_test = _load(counts, tested, wanted) < _load(counts, trained, of_class - wanted)
        is_test[rows] = into_test
        (tested if into_test else trained)[:] += counts
    for label, rows in enumerate(deck.singles):
        is_test[rows[: max(0, int(wanted[label] - tested[label]))]] = True
    return is_test


def _quotas(of_class: IntArray, share: Fraction) -> IntArray:
    """Return how many rows of each class are to be tested: rounded so that their sum is the share of all rows.

    Examples
    --------
    >>> _quotas(np.array([5, 5, 5, 5]), Fraction(3, 10)).tolist()
    [2, 1, 2, 1]
    """
    ends = [(int(end) * share + Fraction(1, 2)) // 1 for end in np.cumsum(of_class)]
    up_to = np.array([0, *ends], dtype=np.int64)
    return up_to[1:] - up_to[:-1]


def _load(counts: IntArray, held: IntArray, wanted: IntArray) -> float:
    """Return how full of the classes of `counts` a side is that wants so many, with those added: 1 is full."""
    return float((counts * (held + counts) / np.maximum(wanted, 0.5)).sum())


def units_by_class(labels: IntArray, groups: IntArray | None = None) -> IntArray:
    """Return how many rows each class that occurs has, or, with groups, how many different groups.

    Examples
    --------
    >>> units_by_class(np.array([0, 0, 0, 2]), np.array([4, 4, 5, 4])).tolist()
    [2, 1]
    """
    if groups is None:
        return np.unique(labels, return_counts=True)[1]
    pairs = np.unique(np.column_stack([labels, groups]), axis=0)
    return np.unique(pairs[:, 0], return_counts=True)[1]


def check_parts(
    labels: IntArray, class_names: Sequence[str], parts: Sequence[Fold], groups: IntArray | None = None
) -> None:
    """Refuse a split of which a part cannot be learned from or tested on.

    Parameters
    ----------
    labels : ndarray (n,), int64
        Positions in `class_names`.
    class_names : sequence of str
    parts : sequence of (train, test)
        As `Split.parts` returns them.
    groups : ndarray (n,), int64, optional
        That were kept whole.

    Raises
    ------
    UnusableDataError
        If a group is larger than a fold; or if a class has no row in a test part, or, in a training
        part, fewer than 2 rows or groups, one for each side of its inner folds.

    Examples
    --------
    >>> labels, one = np.array([0, 0, 0, 1, 1, 1, 1]), np.array([1, 1, 1, 2, 3, 4, 5])
    >>> parts = [(np.array([3, 4]), np.array([0, 1, 2, 5, 6])), (np.array([0, 1, 2, 5, 6]), np.array([3, 4]))]
    >>> check_parts(labels, ("daisy", "rose"), parts, one)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    fusion_pipeline.errors.UnusableDataError: Class 'daisy' is one group of 3 images, which cannot be split. ...
    """
    _check_groups(labels, class_names, parts, groups)
    for train, test in parts:
        for label, name in enumerate(class_names):
            mine = train[labels[train] == label]
            units = len(mine) if groups is None else len(np.unique(groups[mine]))
            if units >= 2 and (labels[test] == label).any():
                continue
            what = "images" if groups is None else "groups"
            otherwise = "" if groups is None else ", or split image by image (--groups none)"
            raise UnusableDataError(
                f"Class '{printable(name)}' has {units} {what} in a training part and "
                f"{int((labels[test] == label).sum())} images in its test part, but 2 and 1 are needed. Add images to "
                f"it or leave it out{otherwise}."
            )


def _check_groups(labels: IntArray, class_names: Sequence[str], parts: Sequence[Fold], groups: IntArray | None) -> None:
    if groups is None:
        return
    for label, name in enumerate(class_names):
        mine = groups[labels == label]
        if len(mine) > 1 and (mine == mine[0]).all():
            raise UnusableDataError(
                f"Class '{printable(name)}' is one group of {len(mine)} images, which cannot be split. Add images that "
                "are no near-duplicates of these, or leave it out."
            )
    if len(parts) == 1:
        return  # a group that is larger than the test part trains
    room = -(-len(labels) // len(parts))
    numbers, sizes = np.unique(groups, return_counts=True)
    if len(sizes) and sizes.max() > room:
        first = int(np.flatnonzero(groups == numbers[sizes.argmax()])[0])
        raise UnusableDataError(
            f"A group has {int(sizes.max())} of {len(labels)} images (image number {first} is its first), but a test "
            f"part holds {room}. Give smaller groups, or use fewer folds."
        )
