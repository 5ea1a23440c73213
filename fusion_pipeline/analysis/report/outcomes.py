"""What rows said of each image becomes what fusing did to it: an error mended, made, kept, or none."""

from __future__ import annotations

from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]


class Outcome(IntFlag):
    """What became of an image; the page's script knows these numbers too.

    The gate is compared with the plain average of the backbones, fusing with the best single one.
    """

    WRONG = 1
    GATE_MENDED = 2
    GATE_MADE = 4
    FUSING_MENDED = 8
    FUSING_MADE = 16
    DISAGREED = 32


BY_GATE = Outcome.GATE_MENDED | Outcome.GATE_MADE
BY_FUSING = Outcome.FUSING_MENDED | Outcome.FUSING_MADE


def outcomes_of(
    labels: IntArray, fused: IntArray, average: IntArray | None, best: IntArray | None, experts: IntArray
) -> IntArray:
    """Return what became of each image, (m,) int64 of `Outcome`.

    Parameters
    ----------
    labels : ndarray (m,), int64
    fused : ndarray (m,), int64
        What the fused row said.
    average, best : ndarray (m,), int64, or None
        What the plain average and the best backbone said; None if there is no such row.
    experts : ndarray (K, m), int64
        What each backbone said.

    Examples
    --------
    >>> found = outcomes_of(np.array([0, 0]), np.array([0, 1]), np.array([1, 0]), None, np.array([[0, 0], [0, 1]]))
    >>> [Outcome(each) for each in found.tolist()] == [Outcome.GATE_MENDED, Outcome(1 | 4 | 32)]
    True
    """
    right = fused == labels
    found = np.where(right, 0, Outcome.WRONG) | np.where((experts != experts[0]).any(axis=0), Outcome.DISAGREED, 0)
    for said, mended, made in (
        (average, Outcome.GATE_MENDED, Outcome.GATE_MADE),
        (best, Outcome.FUSING_MENDED, Outcome.FUSING_MADE),
    ):
        if said is not None:
            found |= np.where(right & (said != labels), mended, 0) | np.where(~right & (said == labels), made, 0)
    return found.astype(np.int64)


def most_telling(outcomes: IntArray, at_most: int) -> IntArray:
    """Return which images to show, and in which order, (k,) int64.

    First the errors that the gate mended or made, then those that fusing at all mended or made, then the other errors,
    then the rest: all of it if there is room, else at even distances.

    Parameters
    ----------
    outcomes : ndarray (m,), int64
        Of `Outcome`.
    at_most : int

    Examples
    --------
    >>> most_telling(np.array([0, 0, 1, 2, 0, 16]), 4).tolist()
    [3, 5, 2, 0]
    """
    ranks = np.select([outcomes & kind > 0 for kind in (BY_GATE, BY_FUSING, Outcome.WRONG)], [0, 1, 2], 3)
    telling = np.flatnonzero(ranks < 3)
    telling = telling[np.argsort(ranks[telling], kind="stable")][:at_most]
    others = np.flatnonzero(ranks == 3)
    room = min(at_most - len(telling), len(others))
    return np.concatenate([telling, others[np.arange(room) * len(others) // max(room, 1)]]).astype(np.int64)
