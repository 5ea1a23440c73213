"""Votes become the accuracy where experts agree and where they do not: the end of Section 2 of the paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.analysis.votes import Votes

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class DistinctVotes:
    """The images on which the experts name so many different classes.

    Attributes
    ----------
    distinct : int
        1 where all experts agree, K where each says something else.
    n : int
        Votes on such images.
    accuracies : mapping of str to float, or None
        Of each expert and each fused row there; None if there is no such image.
    """

    distinct: int
    n: int
    accuracies: Mapping[str, float] | None


def by_distinct_votes(votes: Votes, fused: Mapping[str, IntArray]) -> tuple[DistinctVotes, ...]:
    """Return accuracies by the number of distinct votes, over the votes of all repeats together.

    Parameters
    ----------
    votes : Votes
    fused : mapping of str to ndarray (m,), int64
        What fused rows said of the same images, as `Votes.of_row` gives it.

    Examples
    --------
    >>> predicted = np.array([[0, 0, 1], [0, 1, 1]])
    >>> votes = Votes(("a", "b"), predicted, np.zeros(3, int), np.arange(3), np.zeros(3, int), ("x", "y"))
    >>> for found in by_distinct_votes(votes, {"gate": np.array([0, 0, 1])}):
    ...     print(found.distinct, found.n, found.accuracies)
    1 2 {'a': 0.5, 'b': 0.5, 'gate': 0.5}
    2 1 {'a': 1.0, 'b': 0.0, 'gate': 1.0}
    """
    ascending = np.sort(votes.predicted, axis=0)
    distinct = 1 + (ascending[1:] != ascending[:-1]).sum(axis=0)
    correct = dict(zip(votes.experts, votes.correct, strict=True))
    correct |= {name: predicted == votes.labels for name, predicted in fused.items()}
    found = []
    for number in range(1, len(votes.experts) + 1):
        there = distinct == number
        accuracies = {name: float(right[there].mean()) for name, right in correct.items()} if there.any() else None
        found.append(DistinctVotes(number, int(there.sum()), accuracies))
    return tuple(found)
