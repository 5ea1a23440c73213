"""Which images two methods got right in each repeat becomes the difference of their accuracies, with its interval."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.train.statistics.repeats import Outcomes

IntArray = NDArray[np.int64]

_Z95: Final = 1.959963984540054


@dataclass(frozen=True)
class Difference:
    """How much more accurate one method is than another, on the same images.

    Attributes
    ----------
    difference : float
        Accuracy of the first minus that of the second.
    ci95 : tuple of two floats
        95 % interval, within -1 and 1.
    wins, losses : int
        Images that the first got right in more repeats than the second, and in fewer.
    """

    difference: float
    ci95: tuple[float, float]
    wins: int
    losses: int


def difference_of(first: Outcomes, second: Outcomes, groups: IntArray | None = None) -> Difference:
    """Return the difference of two methods with the interval of Agresti and Min (2005).

    That is Wald's after half an image was added to each cell of the table of pairs (both right, one right, the other
    right, none): unlike Wald's own it is no point where no image was won or lost, and it covers what it should in small
    samples too. As in `repeats`, an image with all of its repeats counts once, and so does a group of near-duplicates.

    Parameters
    ----------
    first, second : Outcomes
        Of the same repeats of the same images.
    groups : ndarray (n,), int64, optional
        Images with equal numbers count as one.

    Raises
    ------
    ValueError
        If the two were not tested on the same images in the same repeats.

    Examples
    --------
    >>> first, second = Outcomes.of([True] * 8 + [False] * 2), Outcomes.of([True] * 5 + [False] * 5)
    >>> found = difference_of(first, second)
    >>> found.difference, found.wins, found.losses, [round(bound, 3) for bound in found.ci95]
    (0.3, 3, 0, [-0.044, 0.544])
    """
    if not np.array_equal(first.tested, second.tested):
        raise ValueError("The two methods were not tested on the same images in the same repeats.")
    gains = (first.correct.astype(np.int64) - second.correct).sum(axis=0)
    tested = int(first.tested.sum())
    images = int(first.tested.any(axis=0).sum())
    each = gains * (images / tested)  # of one image between -1 and 1, whatever the number of repeats
    clusters = each if groups is None else np.bincount(np.unique(groups, return_inverse=True)[1].ravel(), weights=each)
    total, squares, counted = float(each.sum()), float((clusters**2).sum()) + 1, images + 2
    middle = total / counted
    half = _Z95 * sqrt(max(0.0, squares - total**2 / counted)) / counted
    bounds = (max(-1.0, middle - half), min(1.0, middle + half))
    return Difference(float(gains.sum()) / tested, bounds, int((gains > 0).sum()), int((gains < 0).sum()))
