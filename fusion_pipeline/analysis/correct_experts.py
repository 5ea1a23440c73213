"""Votes become the number of experts that are right, image by image: Figure 3 of the paper."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fusion_pipeline.analysis.votes import Votes


@dataclass(frozen=True)
class CorrectExperts:
    """How many experts are right, and how much there is to gain by listening to the right one.

    Attributes
    ----------
    counts : tuple of int
        Votes on an image with j = 0 to K correct experts.
    shares : tuple of float
        The same over all of them (Figure 3A).
    all_wrong : int
        Those that no expert gets right.
    best : str
        The expert with the fewest errors; the first of equals.
    best_errors : int
    ratio : float or None
        all_wrong / best_errors (Figure 3B): what part of the best expert's errors no choice between experts could
        mend. None if the best one makes none.
    """

    counts: tuple[int, ...]
    shares: tuple[float, ...]
    all_wrong: int
    best: str
    best_errors: int
    ratio: float | None


def count_correct(votes: Votes) -> CorrectExperts:
    """Count the experts that are right, over the votes of all repeats together.

    Examples
    --------
    >>> predicted = np.array([[0, 0, 1, 1], [0, 1, 1, 1]])
    >>> votes = Votes(("a", "b"), predicted, np.zeros(4, int), np.arange(4), np.zeros(4, int), ("x", "y"))
    >>> found = count_correct(votes)
    >>> found.counts, found.best, found.all_wrong, found.best_errors, found.ratio
    ((2, 1, 1), 'a', 2, 2, 1.0)
    """
    correct = votes.correct
    counts = np.bincount(correct.sum(axis=0), minlength=len(votes.experts) + 1)
    errors = (~correct).sum(axis=1)
    best = int(errors.argmin())
    all_wrong, best_errors = int(counts[0]), int(errors[best])
    return CorrectExperts(
        tuple(counts.tolist()),
        tuple((counts / correct.shape[1]).tolist()),
        all_wrong,
        votes.experts[best],
        best_errors,
        all_wrong / best_errors if best_errors else None,
    )
