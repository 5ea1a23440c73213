"""Which images two methods got right in one run becomes McNemar's exact test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

PLAIN = ("average", "concat-softmax")
"""The fusions that every other one is compared with."""


@dataclass(frozen=True)
class Comparison:
    """Two methods on the same images, by McNemar's exact test; its fields are those of ``--json``.

    Attributes
    ----------
    first, second : str
    wins : int
        Images that only the first got right.
    losses : int
        Images that only the second got right.
    p : float
        Two-sided p-value that wins and losses are equally likely.
    """

    first: str
    second: str
    wins: int
    losses: int
    p: float


def compare(first: str, first_correct: BoolArray, second: str, second_correct: BoolArray) -> Comparison:
    """Compare two methods by which images (n,) each got right.

    Examples
    --------
    >>> compare("embedding", np.array([True] * 6), "average", np.array([False] * 5 + [True]))
    Comparison(first='embedding', second='average', wins=5, losses=0, p=0.0625)
    """
    wins = int((first_correct & ~second_correct).sum())
    losses = int((~first_correct & second_correct).sum())
    p = float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    return Comparison(first, second, wins, losses, p)


def best_single(backbones: Sequence[str], correct: Mapping[str, BoolArray]) -> str:
    """Return the backbone with most images right, the first of equals: a choice on test rows, which favours it.

    Parameters
    ----------
    backbones : sequence of str
    correct : mapping of str to ndarray of bool
        By method: which predictions were right.

    Examples
    --------
    >>> best_single(["vgg16", "xception"], {"vgg16": np.array([True, False]), "xception": np.array([True, True])})
    'xception'
    """
    return max(backbones, key=lambda name: int(correct[name].sum()))


def comparisons(
    gate: str, backbones: Sequence[str], probabilities: Mapping[str, FloatArray], labels: IntArray
) -> list[Comparison]:
    """Compare the gate with the plain fusions, averaging and concatenation, and with the best single backbone.

    Parameters
    ----------
    gate : str
        Compared with ``average`` only if it is another gate, and with ``concat-softmax`` only if that is a method.
    backbones : sequence of str
    probabilities : mapping of str to ndarray (n, n_classes)
        By method.
    labels : ndarray (n,), int64

    Returns
    -------
    list of Comparison
        The best backbone is that of `best_single` in these same predictions: a choice that favours the backbone.
    """
    correct = {name: rows.argmax(axis=1) == labels for name, rows in probabilities.items()}
    plain = [name for name in PLAIN if name in correct and name != gate]
    others = [*plain, best_single(backbones, correct)]
    return [compare(gate, correct[gate], other, correct[other]) for other in others]
