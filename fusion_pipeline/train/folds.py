"""Labels and groups become stratified folds: the same ones wherever labels, groups and the seed are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.errors import UnusableDataError, UsageError, printable
from fusion_pipeline.train.dealing import deal, draw, units_by_class

IntArray = NDArray[np.int64]
Fold = tuple[IntArray, IntArray]

INNER_FOLDS = 5


@dataclass(frozen=True)
class Split:
    """How images are split for cross-validation or a holdout; small enough to travel with every task.

    Attributes
    ----------
    folds : int
        Number of parts; the paper's "50 %/50 %" is 2. Without meaning for a holdout.
    seed : int
        Decides which image goes where.
    holdout : str
        Share of the images that is tested, as it was written, such as ``"0.5"``: one split, and the rest trains. Empty
        for cross-validation. Every number of the paper for Flowers17 is k / 680, so this is what its numbers are.

    Examples
    --------
    >>> [test.tolist() for _, test in Split(2, seed=0).parts(np.array([0, 0, 1, 1]))]
    [[0, 2], [1, 3]]
    >>> [test.tolist() for _, test in Split(seed=0, holdout="0.5").parts(np.array([0, 0, 1, 1]))]
    [[0, 2]]
    """

    folds: int = 2
    seed: int = 0
    holdout: str = ""

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise UsageError(f"Cross-validation needs at least 2 folds, but {self.folds} was asked for.")
        if self.holdout:
            share_of(self.holdout)

    def parts(self, labels: IntArray, groups: IntArray | None = None) -> tuple[Fold, ...]:
        """Return the training and test rows of each fold, or of the one holdout; see `stratified_folds`."""
        if self.holdout:
            return (held_out(labels, self.holdout, self.seed, groups),)
        return stratified_folds(labels, self.folds, self.seed, groups)

    def repeats(self, count: int) -> tuple[Split, ...]:
        """Return this split and `count` - 1 others with seeds of independent streams.

        Examples
        --------
        >>> [split.seed for split in Split(2, seed=5).repeats(3)]  # doctest: +ELLIPSIS
        [5, ...]
        """
        return tuple(replace(self, seed=seed) for seed in repeat_seeds(self.seed, count))


def repeat_seeds(seed: int, count: int) -> tuple[int, ...]:
    """Return the seeds of `count` repeats: `seed` itself, then one of each of its independent streams.

    Seeds one after the other would do for the generator, but the repeats of seed 0 would be those of seed 1 shifted.
    """
    streams = np.random.SeedSequence(seed).spawn(max(0, count - 1))
    # 31 bits, so that a seed can be read, typed and kept by every tool.
    return (seed, *(int(stream.generate_state(1)[0]) >> 1 for stream in streams))[:count]


def stratified_folds(labels: IntArray, folds: int, seed: int, groups: IntArray | None = None) -> tuple[Fold, ...]:
    """Split rows into folds that each hold nearly the same share of every class, and groups whole.

    Parameters
    ----------
    labels : ndarray (n,), int64
    folds : int
        At least 2.
    seed : int
    groups : ndarray (n,), int64, optional
        Rows with equal numbers stay on one side, as near-duplicates must. Without them every row is its own group.

    Returns
    -------
    tuple of (train, test)
        Row numbers (int64, ascending). The test parts are disjoint and cover all rows. Without groups they differ by at
        most one row in size, in all and within each class; with groups of one class each, within a class by at most its
        largest group.

    Examples
    --------
    >>> for train, test in stratified_folds(np.array([0, 0, 1, 1]), 2, seed=0):
    ...     print(train, test)
    [1 3] [0 2]
    [0 2] [1 3]
    >>> for train, test in stratified_folds(np.array([0, 0, 0, 1, 1]), 2, seed=0, groups=np.array([7, 3, 7, 1, 2])):
    ...     print(train, test)
    [1 3] [0 2 4]
    [0 2 4] [1 3]
    """
    part = deal(labels, folds, seed, groups)
    return tuple((np.flatnonzero(part != fold), np.flatnonzero(part == fold)) for fold in range(folds))


def held_out(labels: IntArray, share: str, seed: int, groups: IntArray | None = None) -> Fold:
    """Split rows once: `share` of every class, and of all rows as nearly as can be, into the test part.

    Parameters are those of `stratified_folds`, and `share` as in `Split.holdout`.

    Examples
    --------
    >>> train, test = held_out(np.repeat([0, 1], 5), "0.3", seed=0)
    >>> len(train), len(test)
    (7, 3)
    """
    is_test = draw(labels, share_of(share), seed, groups)
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


def share_of(text: str) -> Fraction:
    """Return the share that `text` says, exactly.

    Raises
    ------
    UsageError
        If it is no number between 0 and 1.

    Examples
    --------
    >>> share_of("0.3")
    Fraction(3, 10)
    """
    try:
        share = Fraction(text)
    except (ValueError, ZeroDivisionError):
        share = Fraction(0)
    if not 0 < share < 1:
        raise UsageError(f"A holdout is a share between 0 and 1, such as 0.5, but '{printable(text)}' was given.")
    return share


def inner_folds(
    labels: IntArray, seed: int, most: int = INNER_FOLDS, groups: IntArray | None = None
) -> tuple[Fold, ...]:
    """Split the rows of one training part again, to choose penalties and to predict out of fold.

    There are `most` folds, or as many as the smallest class has rows (or groups) when that is fewer, but at least 2.
    """
    return stratified_folds(labels, max(2, min(most, int(units_by_class(labels, groups).min()))), seed, groups)


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
