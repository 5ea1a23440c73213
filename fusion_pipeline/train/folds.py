"""Labels become stratified folds: the same ones wherever the labels and the seed are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.errors import UnusableDataError, UsageError, printable

IntArray = NDArray[np.int64]
Fold = tuple[IntArray, IntArray]

INNER_FOLDS = 5


@dataclass(frozen=True)
class Split:
    """How images are split for cross-validation; small enough to travel with every task.

    Attributes
    ----------
    folds : int
        Number of parts; the paper's "50 %/50 %" is 2.
    seed : int
        Decides which image goes where.
    """

    folds: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise UsageError(f"Cross-validation needs at least 2 folds, but {self.folds} was asked for.")


def stratified_folds(labels: IntArray, folds: int, seed: int) -> tuple[Fold, ...]:
    """Split rows into folds that each hold nearly the same share of every class.

    Parameters
    ----------
    labels : ndarray (n,), int64
    folds : int
        At least 2.
    seed : int

    Returns
    -------
    tuple of (train, test)
        Row numbers (int64, ascending). The test parts are disjoint, cover all rows, and differ by at most one row in
        size, in all and within each class.

    Examples
    --------
    >>> for train, test in stratified_folds(np.array([0, 0, 1, 1]), 2, seed=0):
    ...     print(train, test)
    [1 3] [0 2]
    [0 2] [1 3]
    """
    generator = np.random.default_rng(seed)
    # Dealing like cards, class after class without starting anew, keeps the parts' sizes within one row of each other.
    dealt = np.concatenate([generator.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)])
    part = np.empty(len(labels), dtype=np.int64)
    part[dealt] = np.arange(len(labels)) % folds
    return tuple((np.flatnonzero(part != fold), np.flatnonzero(part == fold)) for fold in range(folds))


def inner_folds(labels: IntArray, seed: int, most: int = INNER_FOLDS) -> tuple[Fold, ...]:
    """Split the rows of one training part again, to choose penalties and to predict out of fold.

    There are `most` folds, or as many as the smallest class has rows when that is fewer, but at least 2.
    """
    smallest = int(np.unique(labels, return_counts=True)[1].min())
    return stratified_folds(labels, max(2, min(most, smallest)), seed)


def least_rows(folds: int) -> int:
    """Return how many rows each class needs for `folds`-fold cross-validation; ``folds=1`` means no split.

    A training part must keep 2 rows of every class, one for each side of its inner folds, after the largest test part
    has taken ``ceil(count / folds)``; and every test part must get a row.

    Examples
    --------
    >>> [least_rows(folds) for folds in (1, 2, 3, 10)]
    [2, 4, 3, 10]
    """
    return {1: 2, 2: 4}.get(folds, folds)


def check_classes(labels: IntArray, class_names: Sequence[str], folds: int) -> None:
    """Refuse labels whose classes are too few or too small to be split.

    Parameters
    ----------
    labels : ndarray (n,), int64
        Positions in `class_names`.
    class_names : sequence of str
    folds : int
        Number of outer folds; 1 for a fit without a split.

    Raises
    ------
    UnusableDataError
        Naming the smallest class, its count and the minimum; or that there is but one class.

    Examples
    --------
    >>> check_classes(np.array([0, 0, 0, 0, 1]), ("daisy", "rose"), folds=2)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    fusion_pipeline.errors.UnusableDataError: Class 'rose' has 1 usable image, but 2 folds need at least 4 ...
    """
    if len(class_names) < 2:
        only = f"only class '{printable(class_names[0])}'" if class_names else "no class"
        raise UnusableDataError(f"There is {only}, but a classifier needs at least 2. Add images of others.")
    counts = np.bincount(labels, minlength=len(class_names))
    least, smallest = least_rows(folds), int(counts.argmin())
    if counts[smallest] >= least:
        return
    images = "image" if counts[smallest] == 1 else "images"
    need = f"{folds} folds need" if folds > 1 else "training needs"
    others = int((counts < least).sum()) - 1
    also = f" ({others} more classes are too small)" if others else ""
    fewer = f" leave it out, or use --folds {counts[smallest]}" if folds > 1 and counts[smallest] > 2 else ""
    raise UnusableDataError(
        f"Class '{printable(class_names[smallest])}' has {counts[smallest]} usable {images}, but {need} at least "
        f"{least} of every class{also}. Add images to it,{fewer or ' or leave it out'}."
    )
