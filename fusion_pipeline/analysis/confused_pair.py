"""Votes become the two classes that are taken for each other most often: Figure 6 of the paper, A to D."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.analysis.votes import Votes

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class ConfusedPair:
    """The pair of classes that all experts together confuse most.

    Attributes
    ----------
    first, second : int
        Labels, ascending.
    confusions : int
        Votes of any expert for the one where the other is true.
    experts : tuple of str
    counts : ndarray (2, K, 3), int64
        If the true class is the first or the second: how often each expert votes for the first, for the second, and for
        any other.
    images : tuple of ndarray, int64
        The tested images of the first and of the second class, ascending, as `Votes.images` numbers them.
    mistaken : tuple of int or None
        Of each class, the image that most votes give to the other class; the first of equals; None if there is none.
    """

    first: int
    second: int
    confusions: int
    experts: tuple[str, ...]
    counts: IntArray
    images: tuple[IntArray, IntArray]
    mistaken: tuple[int | None, int | None]


def find_confused_pair(votes: Votes) -> ConfusedPair | None:
    """Return the two classes with the most confusions, both ways, summed over experts and repeats.

    Of equal pairs it is the first one.

    Returns
    -------
    ConfusedPair or None
        None if no expert ever errs.

    Examples
    --------
    >>> predicted, labels = np.array([[0, 2, 1, 2, 1], [0, 0, 2, 2, 2]]), np.array([0, 0, 1, 2, 2])
    >>> votes = Votes(("a", "b"), predicted, labels, np.arange(5), np.zeros(5, int), ("x", "y", "z"))
    >>> found = find_confused_pair(votes)
    >>> found.first, found.second, found.confusions
    (1, 2, 2)
    >>> found.counts.tolist()
    [[[1, 0, 0], [0, 1, 0]], [[1, 1, 0], [0, 2, 0]]]
    """
    size = len(votes.class_names)
    matrices = np.stack([confusion(row, votes.labels, size) for row in votes.predicted])
    both = matrices.sum(axis=0)
    both = np.triu(both + both.T, k=1)
    first, second = (int(each) for each in np.unravel_index(both.argmax(), both.shape))
    if not both[first, second]:
        return None
    pair = [first, second]
    images = [np.unique(votes.images[votes.labels == label]) for label in pair]
    return ConfusedPair(
        first,
        second,
        int(both[first, second]),
        votes.experts,
        np.stack([_counts(matrices[:, label], pair) for label in pair]),
        (images[0], images[1]),
        (_mistaken(votes, first, second), _mistaken(votes, second, first)),
    )


def confusion(predicted: IntArray, labels: IntArray, n_classes: int) -> IntArray:
    """Return the confusion matrix: how often class i, by row, was given class j, by column.

    Examples
    --------
    >>> confusion(np.array([0, 1, 1]), np.array([0, 0, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    cells = np.bincount(labels * n_classes + predicted, minlength=n_classes * n_classes)
    return cells.reshape(n_classes, n_classes).astype(np.int64)


def _counts(by_expert: IntArray, pair: list[int]) -> IntArray:
    """Return (K, 3) from the row (K, n_classes) of one true class."""
    named = by_expert[:, pair]
    return np.column_stack([named, by_expert.sum(axis=1) - named.sum(axis=1)])


def _mistaken(votes: Votes, label: int, other: int) -> int | None:
    there = votes.labels == label
    wrong = (votes.predicted[:, there] == other).sum(axis=0)
    of_image = np.bincount(votes.images[there], weights=wrong)
    return int(of_image.argmax()) if of_image.any() else None
