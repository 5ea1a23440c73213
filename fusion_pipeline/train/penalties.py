"""Classifiers along a path of penalties, one path for each inner fold, become the penalty that predicts best."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

HeldOut = tuple[IntArray, Iterator[FloatArray]]
"""An inner fold's held-out rows, and what is predicted for them at one penalty after the other."""


@dataclass(frozen=True)
class Choice:
    """The penalty of least out-of-fold loss.

    Attributes
    ----------
    penalty : float
    held_out : ndarray (n, n_outputs), float64
        What was predicted at this penalty, each row without its inner fold.
    losses : dict of float to float
        By penalty, of those that were tried: from the strongest until the loss rose.
    """

    penalty: float
    held_out: FloatArray
    losses: dict[float, float]

    @property
    def path(self) -> tuple[float, ...]:
        """The penalties from the strongest to the chosen one: cheap to solve, and they lead to its optimum."""
        tried = list(self.losses)
        return tuple(tried[: tried.index(self.penalty) + 1])


def choose_penalty(folds: Sequence[HeldOut], penalties: Sequence[float], loss: Callable[[FloatArray], float]) -> Choice:
    """Return the best of some penalties.

    All folds take a step along the path together, from strong to weak, and stop once the loss rises: the weakest
    penalties cost as much as all others together.

    Parameters
    ----------
    folds : sequence of HeldOut
        Their held-out rows are 0 .. n - 1, each once.
    penalties : sequence of float
        The strongest first; at least one.
    loss : callable
        Of what was predicted (n, n_outputs) for all rows.

    Examples
    --------
    >>> path = iter([np.array([[3.0]]), np.array([[1.0]]), np.array([[2.0]])])
    >>> found = choose_penalty([(np.array([0]), path)], [100.0, 10.0, 1.0], lambda predicted: float(predicted.sum()))
    >>> found.penalty, found.path
    (10.0, (100.0, 10.0))
    """
    losses: dict[float, float] = {}
    best = Choice(penalties[0], np.empty((0, 0)), losses)
    for penalty in penalties:
        predicted = _step(folds)
        losses[penalty] = loss(predicted)
        if losses[penalty] > losses[best.penalty]:
            break
        best = Choice(penalty, predicted, losses)
    return best


def _step(folds: Sequence[HeldOut]) -> FloatArray:
    """Return what all folds predict at their next penalty, in the order of the rows."""
    parts = [(rows, next(path)) for rows, path in folds]
    whole = np.empty((sum(len(rows) for rows, _ in parts), parts[0][1].shape[1]))
    for rows, part in parts:
        whole[rows] = part
    return whole
