"""Which images a method got right in each repeat becomes one interval, and one test against another method.

Repeats are not new images. Ten repeats of cross-validation predict the same photographs ten times, by experts that
learned from mostly the same rows: n times ten predictions are worth little more than n. So everything here counts
clusters, and a cluster is one image over all of its repeats, or all images of a group of near-duplicates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fusion_pipeline.train.statistics.holm import holm
from fusion_pipeline.train.statistics.resampled import ResampledTest
from fusion_pipeline.train.statistics.scores import wilson_interval

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Outcomes:
    """Which predictions of one method were right.

    Attributes
    ----------
    correct : ndarray (n_repeats, n), bool
    tested : ndarray (n_repeats, n), bool
        Which images each repeat predicted: all of them in cross-validation, the test part in a holdout.
    """

    correct: BoolArray
    tested: BoolArray

    @classmethod
    def of(cls, correct: ArrayLike, tested: ArrayLike | None = None) -> Outcomes:
        """Return the outcomes of `correct`, (n,) for one run or (n_repeats, n); all are tested unless `tested` says.

        Raises
        ------
        ValueError
            If the shapes differ, or nothing was tested.

        Examples
        --------
        >>> Outcomes.of([True, False, True]).tested
        array([[ True,  True,  True]])
        """
        right = np.atleast_2d(np.asarray(correct, dtype=bool))
        seen = np.ones_like(right) if tested is None else np.atleast_2d(np.asarray(tested, dtype=bool))
        if right.shape != seen.shape or not seen.any():
            raise ValueError(f"Outcomes {right.shape} need as many marks of what was tested, but got {seen.shape}.")
        return cls(right & seen, seen)

    @property
    def accuracy(self) -> float:
        """Share of all predictions that were right."""
        return float(self.correct.sum() / self.tested.sum())


@dataclass(frozen=True)
class PooledAccuracy:
    """The accuracy of one method over all repeats.

    Attributes
    ----------
    accuracy : float
        correct / n.
    correct, n : int
        Predictions, over all repeats.
    images : int
        How many different images were tested.
    effective_images : float
        How many independent images would tell as much; never more than `images`.
    ci95 : tuple of two floats
        Wilson's 95 % interval for that many images.
    by_repeat : tuple of float
        The accuracy of each repeat.
    """

    accuracy: float
    correct: int
    n: int
    images: int
    effective_images: float
    ci95: tuple[float, float]
    by_repeat: tuple[float, ...]


def pooled_accuracy(outcomes: Outcomes, groups: IntArray | None = None) -> PooledAccuracy:
    """Return the accuracy over all repeats with an interval that counts every image once.

    The interval is Wilson's for an effective number of images: p (1 - p) over the variance of the accuracy that is
    robust to clusters, each cluster being an image with all of its repeats, or a whole group. It is capped at the
    number of different images, so that repeats never narrow an interval below that of one cross-validation: how much of
    the luck of the split they average out cannot be told without bias from these same images (Bengio and Grandvalet,
    2004).

    Parameters
    ----------
    outcomes : Outcomes
    groups : ndarray (n,), int64, optional
        Images with equal numbers count as one cluster.

    Examples
    --------
    >>> once = pooled_accuracy(Outcomes.of([True] * 8 + [False] * 2))
    >>> thrice = pooled_accuracy(Outcomes.of([[True] * 8 + [False] * 2] * 3))
    >>> (once.n, thrice.n), once.ci95 == thrice.ci95
    ((10, 30), True)
    """
    correct, n = int(outcomes.correct.sum()), int(outcomes.tested.sum())
    images = int(outcomes.tested.any(axis=0).sum())
    share = correct / n
    surprises = (outcomes.correct - share * outcomes.tested).sum(axis=0)
    clusters = _by_cluster(surprises, groups)
    variance = float((clusters**2).sum()) / n**2
    if 0 < correct < n and variance > 0:
        effective = min(float(images), max(1.0, share * (1 - share) / variance))
    else:
        effective = float(len(np.unique(_clusters(len(surprises), groups)[outcomes.tested.any(axis=0)])))
    interval = wilson_interval(share * effective, effective)
    by_repeat = tuple(float(value) for value in outcomes.correct.sum(axis=1) / outcomes.tested.sum(axis=1))
    return PooledAccuracy(share, correct, n, images, effective, interval, by_repeat)


@dataclass(frozen=True)
class RepeatedComparison:
    """Two methods on the same images over all repeats, by the exact sign-flip test.

    Attributes
    ----------
    first, second : str
    repeats : int
    difference : float
        Accuracy of the first minus that of the second.
    wins : int
        Images that the first got right in more repeats than the second.
    losses : int
        Images that it got right in fewer.
    p : float
        Two-sided.
    p_holm : float or None
        The same, adjusted for the family of comparisons; None outside of one.
    over_parts : tuple of ResampledTest
        The tests that speak of new training rows too, where there are parts enough.
    """

    first: str
    second: str
    repeats: int
    difference: float
    wins: int
    losses: int
    p: float
    p_holm: float | None = None
    over_parts: tuple[ResampledTest, ...] = ()


def compare_repeats(
    first: str, first_outcomes: Outcomes, second: str, second_outcomes: Outcomes, groups: IntArray | None = None
) -> RepeatedComparison:
    """Compare two methods by the images that each got right over all repeats.

    If the methods are equally good, each image (or group) may as well have treated them the other way round, in all its
    repeats together. The p-value is exact: the share of all such exchanges whose difference is at least the observed
    one. With one repeat and no groups this is McNemar's exact test. Like that, it is about new images, given these
    training rows; `compare_over_parts` has the tests that are about new training rows too.

    Parameters
    ----------
    first, second : str
        Names.
    first_outcomes, second_outcomes : Outcomes
        Of the same repeats of the same images.
    groups : ndarray (n,), int64, optional
        Images with equal numbers are exchanged together.

    Raises
    ------
    ValueError
        If the two were not tested on the same images in the same repeats.

    Examples
    --------
    >>> first, second = Outcomes.of([[True] * 6] * 2), Outcomes.of([[False] * 5 + [True]] * 2)
    >>> found = compare_repeats("embedding", first, "average", second)
    >>> found.wins, found.losses, found.p
    (5, 0, 0.0625)
    """
    if not np.array_equal(first_outcomes.tested, second_outcomes.tested):
        raise ValueError(f"'{first}' and '{second}' were not tested on the same images in the same repeats.")
    gains = (first_outcomes.correct.astype(np.int64) - second_outcomes.correct).sum(axis=0)
    return RepeatedComparison(
        first,
        second,
        len(first_outcomes.tested),
        float(gains.sum() / first_outcomes.tested.sum()),
        int((gains > 0).sum()),
        int((gains < 0).sum()),
        sign_flip_p(_by_cluster(gains, groups).astype(np.int64)),
    )


def sign_flip_p(gains: IntArray) -> float:
    """Return the two-sided p-value that each of the whole numbers `gains` (m,) might as well have the other sign.

    Exact and without chance: the distribution of the sum over all 2^m signs is built up number by number.

    Examples
    --------
    >>> sign_flip_p(np.array([1, 1, 1, 1, 1, -1, 0]))  # McNemar's with 5 won and 1 lost
    0.21875
    >>> sign_flip_p(np.array([2, 1]))  # only both signs turned are as far out
    0.5
    """
    sizes, observed = np.abs(gains[gains != 0]), abs(int(gains.sum()))
    chances = np.ones(1)  # of each sum, from minus all to plus all
    for size in sizes:
        longer = np.zeros(len(chances) + 2 * int(size))
        longer[: len(chances)] += chances / 2
        longer[2 * int(size) :] += chances / 2
        chances = longer
    sums = np.arange(len(chances)) - int(sizes.sum())
    return min(1.0, float(chances[np.abs(sums) >= observed].sum()))


def as_family(found: Sequence[RepeatedComparison]) -> tuple[RepeatedComparison, ...]:
    """Return comparisons with Holm's adjustment for all of them together, in their order."""
    adjusted = holm([comparison.p for comparison in found])
    return tuple(replace(comparison, p_holm=p) for comparison, p in zip(found, adjusted, strict=True))


def _clusters(n: int, groups: IntArray | None) -> IntArray:
    return np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1].reshape(-1)


def _by_cluster(values: NDArray[np.floating] | IntArray, groups: IntArray | None) -> FloatArray:
    """Return the sums of `values` (n,) over the clusters."""
    return np.bincount(_clusters(len(values), groups), weights=values).astype(np.float64)
