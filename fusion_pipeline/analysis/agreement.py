"""Votes become the agreement of each pair of experts: Figure 2 of the paper."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.analysis.votes import Votes

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class PairAgreement:
    """How far two experts agree.

    Attributes
    ----------
    first, second : str
    kappa : float
        Cohen's kappa; 1 is agreement on every image, 0 what chance would give.
    """

    first: str
    second: str
    kappa: float


@dataclass(frozen=True)
class Agreement:
    """How far experts agree, pair by pair.

    Attributes
    ----------
    pairs : tuple of PairAgreement
        In the order of the experts; none for a single expert.
    mean, median : float or None
        Of the pairs; None where there is none.
    """

    pairs: tuple[PairAgreement, ...]
    mean: float | None
    median: float | None


def measure_agreement(votes: Votes) -> Agreement:
    """Return Cohen's kappa of each pair of experts, on the votes of all repeats together.

    Examples
    --------
    >>> predicted = np.array([[0, 0, 1, 1], [0, 0, 1, 0], [0, 0, 1, 1]])
    >>> votes = Votes(("a", "b", "c"), predicted, np.zeros(4, int), np.arange(4), np.zeros(4, int), ("x", "y"))
    >>> [(pair.first, pair.second, pair.kappa) for pair in measure_agreement(votes).pairs]
    [('a', 'b', 0.5), ('a', 'c', 1.0), ('b', 'c', 0.5)]
    """
    pairs = tuple(
        PairAgreement(votes.experts[first], votes.experts[second], cohen_kappa(*votes.predicted[[first, second]]))
        for first, second in combinations(range(len(votes.experts)), 2)
    )
    kappas = [pair.kappa for pair in pairs]
    return Agreement(pairs, float(np.mean(kappas)) if pairs else None, float(np.median(kappas)) if pairs else None)


def cohen_kappa(first: IntArray, second: IntArray) -> float:
    """Return Cohen's kappa of two raters, (observed - expected) / (1 - expected) agreement.

    Two raters that give one and the same class to every image agree: 1, where scikit-learn has NaN.

    Parameters
    ----------
    first, second : ndarray (m,), int64
        m at least 1.

    Examples
    --------
    >>> cohen_kappa(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]))
    0.5
    """
    size = int(max(first.max(), second.max())) + 1
    shares = [np.bincount(each, minlength=size) / len(each) for each in (first, second)]
    expected = float(shares[0] @ shares[1])
    observed = float((first == second).mean())
    return 1.0 if expected == 1 else (observed - expected) / (1 - expected)
