"""Inner folds of labelled rows become the penalty that predicts best, with out-of-fold predictions at it.

Choosing among penalties that lie a decade apart needs rough optima alone: on Flowers17 their losses differ from those
of exact ones by less than 4 in a thousand, and they take a third of the steps. Only at the chosen penalty, and for the
chosen scaling, does the search go on, from where it stood, to what gates and stackers then learn from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.train.mixture import sample_nll
from fusion_pipeline.train.penalties import Choice, choose_penalty
from fusion_pipeline.train.solvers.parts import Part
from fusion_pipeline.train.solvers.softmax import SoftmaxSolution, refined, softmax, solve_path

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

ROUGH = 1e-4
"""At which optima are good enough to tell penalties apart, and to start the search for the next one from."""

SEARCH_PRECISION = 1e-7
"""Out-of-fold predictions need no exact optima: losses moved in their fourth digit, and took a third of the time."""


class InnerFold:
    """Softmax regressions that are fitted without some held-out rows, along a path of penalties.

    Parameters
    ----------
    part : Part
        The rows to learn from, and those held out.
    held_out : ndarray (m,), int64
        Numbers of the latter.
    labels : ndarray (part.n,), int64
        Of the rows to learn from.
    n_classes : int
    """

    def __init__(self, part: Part, held_out: IntArray, labels: IntArray, n_classes: int) -> None:
        self.part, self.held_out = part, held_out
        self._labels, self._n_classes = labels, n_classes
        self._last: list[SoftmaxSolution] = []

    def roughly(self, penalties: Sequence[float]) -> Iterator[FloatArray]:
        """Yield nearly the probabilities (m, n_classes) of the held-out rows, at one penalty after the other."""
        for solution in solve_path(self.part, self._labels, self._n_classes, penalties, ROUGH):
            # The best penalty is this one or the one before: where the loss rises the search ends.
            self._last = [*self._last[-1:], solution]
            yield self._probabilities(solution)

    def at(self, penalty: float) -> FloatArray:
        """Return the probabilities (m, n_classes) of the held-out rows, at one of the last two penalties."""
        (known,) = (solution for solution in self._last if solution.alpha == penalty)
        return self._probabilities(refined(self.part, self._labels, known, SEARCH_PRECISION))

    def _probabilities(self, solution: SoftmaxSolution) -> FloatArray:
        return softmax(solution.held_out_logits(self.part))


@dataclass(frozen=True)
class Search:
    """Which penalty was chosen, and the inner folds that showed it.

    Attributes
    ----------
    choice : Choice
    folds : sequence of InnerFold
    """

    choice: Choice
    folds: Sequence[InnerFold]

    @classmethod
    def of(cls, folds: Sequence[InnerFold], penalties: Sequence[float], labels: IntArray) -> Search:
        """Search among penalties, the strongest first, by the mean negative log-likelihood of the held-out rows.

        Parameters
        ----------
        folds : sequence of InnerFold
            Which hold out each row once.
        penalties : sequence of float
        labels : ndarray (n,), int64
            Of all rows.
        """
        paths = [(fold.held_out, fold.roughly(penalties)) for fold in folds]
        return cls(choose_penalty(paths, penalties, lambda found: _loss(found, labels)), folds)

    @property
    def loss(self) -> float:
        """The least loss."""
        return self.choice.losses[self.choice.penalty]

    def refined(self, labels: IntArray) -> Choice:
        """Return the choice with what the folds predict, and lose, nearer to the optima at the chosen penalty."""
        penalty, held_out = self.choice.penalty, np.empty_like(self.choice.held_out)
        for fold in self.folds:
            held_out[fold.held_out] = fold.at(penalty)
        return Choice(penalty, held_out, {**self.choice.losses, penalty: _loss(held_out, labels)})


def _loss(held_out: FloatArray, labels: IntArray) -> float:
    return float(sample_nll(held_out, labels).mean())
