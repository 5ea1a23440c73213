"""Votes become the number of classes that each expert wins: Figure 5 of the paper."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.analysis.votes import Votes

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Wins:
    """How many classes each contestant wins.

    Attributes
    ----------
    names : tuple of str
    shared : tuple of float
        Classes on which a contestant has the highest accuracy; t contestants with the same have 1 / t of the class
        each. The sum is the number of tested classes.
    strict : tuple of int
        Classes on which it alone has the highest.
    """

    names: tuple[str, ...]
    shared: tuple[float, ...]
    strict: tuple[int, ...]


@dataclass(frozen=True)
class ClassWins:
    """The classes won without and with the fused row.

    Attributes
    ----------
    classes : int
        Of which an image was tested.
    experts : Wins
        Among the experts.
    with_fused : Wins or None
        Among the experts and the fused row, which is the last one; None without such a row.
    """

    classes: int
    experts: Wins
    with_fused: Wins | None


def count_wins(votes: Votes, fused: IntArray | None = None, fused_name: str = "") -> ClassWins:
    """Count the classes on which each expert is the most accurate, over the votes of all repeats together.

    Accuracy on a class is the share of its images that are given the class, as the paper has it, so that a contestant
    that says one class of every image wins that class.

    Parameters
    ----------
    votes : Votes
    fused : ndarray (m,), int64, optional
        What the fused row said of the same images.
    fused_name : str
        What it is called.

    Examples
    --------
    >>> predicted, labels = np.array([[0, 0, 1, 0], [1, 0, 1, 0]]), np.array([0, 0, 1, 1])
    >>> votes = Votes(("a", "b"), predicted, labels, np.arange(4), np.zeros(4, int), ("x", "y"))
    >>> count_wins(votes).experts
    Wins(names=('a', 'b'), shared=(1.5, 0.5), strict=(1, 0))
    """
    hits = np.stack([_hits(row, votes) for row in votes.predicted])
    experts = _wins(votes.experts, hits)
    if fused is None:
        return ClassWins(len(votes.tested_classes), experts, None)
    together = np.vstack([hits, _hits(fused, votes)])
    return ClassWins(len(votes.tested_classes), experts, _wins((*votes.experts, fused_name), together))


def _hits(predicted: IntArray, votes: Votes) -> IntArray:
    """Return the number of images of each tested class that are right: in one class, that orders as accuracy does."""
    hits = np.bincount(votes.labels[predicted == votes.labels], minlength=len(votes.class_names))
    return hits[votes.tested_classes].astype(np.int64)


def _wins(names: tuple[str, ...], hits: IntArray) -> Wins:
    best = hits == hits.max(axis=0)
    ties = best.sum(axis=0)
    return Wins(names, tuple((best / ties).sum(axis=1).tolist()), tuple((best & (ties == 1)).sum(axis=1).tolist()))
