"""Votes become F1 scores by class, and the classes that different experts know best: Figure 4 of the paper."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.analysis.votes import Votes
from fusion_pipeline.train.statistics.scores import f1_by_class

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

EXAMPLES = 3
"""As many classes as the paper shows of each data set."""


@dataclass(frozen=True)
class ExampleClass:
    """A class that one expert knows better than the others.

    Attributes
    ----------
    label : int
    winner : str
        The expert with the highest F1.
    margin : float
        Its F1 less that of the next one.
    """

    label: int
    winner: str
    margin: float


@dataclass(frozen=True)
class ClassF1:
    """F1 scores by class.

    Attributes
    ----------
    names : tuple of str
        The K experts, and behind them the fused row where there is one.
    scores : ndarray (len(names), n_classes), float64
        NaN for a class of which no image was tested.
    examples : tuple of ExampleClass
        At most `EXAMPLES`, each with another winner, the largest margin first. Fewer where fewer experts win a class.
    """

    names: tuple[str, ...]
    scores: FloatArray
    examples: tuple[ExampleClass, ...]


def measure_class_f1(votes: Votes, fused: IntArray | None = None, fused_name: str = "") -> ClassF1:
    """Return the F1 score of each class by each expert and the fused row, over the votes of all repeats together.

    Each expert enters the examples with the class that it wins by the largest margin; of equal margins the first class
    counts, and the first expert. What is fused takes no part in choosing them.

    Parameters
    ----------
    votes : Votes
    fused : ndarray (m,), int64, optional
        What the fused row said of the same images.
    fused_name : str
        What it is called.

    Examples
    --------
    >>> predicted, labels = np.array([[0, 0, 1, 0], [1, 0, 1, 1]]), np.array([0, 0, 1, 1])
    >>> found = measure_class_f1(Votes(("a", "b"), predicted, labels, np.arange(4), np.zeros(4, int), ("x", "y")))
    >>> found.scores.round(2).tolist()
    [[0.8, 0.67], [0.67, 0.8]]
    >>> [(example.label, example.winner, round(example.margin, 2)) for example in found.examples]
    [(0, 'a', 0.13), (1, 'b', 0.13)]
    """
    rows = [*votes.predicted, *([] if fused is None else [fused])]
    scores = np.stack([f1_by_class(row, votes.labels, len(votes.class_names)) for row in rows])
    names = (*votes.experts, *([] if fused is None else [fused_name]))
    return ClassF1(names, scores, _examples(scores[: len(votes.experts)], votes.experts))


def _examples(scores: FloatArray, experts: tuple[str, ...]) -> tuple[ExampleClass, ...]:
    if len(experts) < 2:
        return ()
    known = np.nan_to_num(scores)
    second, first = np.sort(known, axis=0)[-2:]
    winners, margins = known.argmax(axis=0), first - second
    best = [
        ExampleClass(label := int(np.where(winners == expert, margins, 0).argmax()), name, float(margins[label]))
        for expert, name in enumerate(experts)
        if ((winners == expert) & (margins > 0)).any()
    ]
    return tuple(sorted(best, key=lambda example: -example.margin)[:EXAMPLES])
