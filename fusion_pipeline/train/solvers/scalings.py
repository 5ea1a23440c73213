"""Slopes become a first guess of the way to the optimum, with which each two-loop recursion of L-BFGS starts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from fusion_pipeline.train.solvers.blas import RealArray
from fusion_pipeline.train.solvers.gram import IntArray
from fusion_pipeline.train.solvers.moves import Memory
from fusion_pipeline.train.solvers.spaces import Space

# After each how many steps the preconditioner may be made anew, and for which change of the curvature: it costs as much
# as a few steps.
_FRESH_STEPS, _STALE = 3, 1.5

# A preconditioner with one curvature for all outputs may promise too much everywhere. What steps made of its promises
# so far scales the next one, within these bounds: a second look along a direction is then seldom needed. Above 1, what
# coefficients have in directions that change no value would grow.
_PACES = 0.05, 1.0

_TINY = float(np.finfo(np.float64).tiny)


class Scaling(ABC):
    """What is done to slopes, and what its promises turned out to be worth."""

    @abstractmethod
    def __call__(self, slopes: RealArray) -> tuple[RealArray, RealArray]:
        """Return coefficients (size, n_outputs) and their values (n, n_outputs), new arrays, of slopes alike."""

    @abstractmethod
    def promised(self, slope: RealArray) -> RealArray:
        """Return by how much the objectives should fall on a way on which they begin to by `slope`."""

    @abstractmethod
    def learn(self, lengths: RealArray, memory: Memory, curvature: Callable[[], RealArray]) -> None:
        """Learn from a step: how much of the way it took, what it met, and the curvature where it ended."""

    @abstractmethod
    def leave(self, others: IntArray) -> None:
        """Go on with the other outputs only."""


class Plain(Scaling):
    """Slopes as they are, by how far the last step showed them to reach.

    The first reach is that of the curvature at the start. Later it is what the last step was long by what it met
    (Barzilai and Borwein, Two-point step size gradient methods, 1988), which takes no product with the rows.

    Parameters
    ----------
    space : Space
    penalty : float
    curvature : ndarray (n,), float64
        Of the loss at each row.
    """

    def __init__(self, space: Space, penalty: float, curvature: RealArray) -> None:
        self._space, self._penalty, self._curvature = space, penalty, curvature
        self._pace: float | None = None

    def __call__(self, slopes: RealArray) -> tuple[RealArray, RealArray]:
        """Return the slopes at the present pace, and their values."""
        values = self._space.values(slopes)
        if self._pace is None:
            self._pace = self._first_pace(slopes, values)
        return slopes * self._pace, values * self._pace

    def _first_pace(self, slopes: RealArray, values: RealArray) -> float:
        paired = self._space.paired(slopes, values)
        bent = float(np.vdot(self._curvature[:, None] * values, values))
        bent += self._penalty * float(np.vdot(self._space.penalised(slopes), paired))
        return float(np.vdot(slopes, paired)) / bent if bent > 0.0 else 1.0

    def promised(self, slope: RealArray) -> RealArray:
        """Return half of what the slope would bring if it stayed as it is."""
        return -slope / 2

    def learn(self, lengths: RealArray, memory: Memory, curvature: Callable[[], RealArray]) -> None:  # noqa: ARG002
        """Take the pace from what the step met."""
        if np.isfinite(memory.product).all():
            self._pace = float(np.vdot(memory.move.coefficients, memory.move.paired) / memory.product[0])

    def leave(self, others: IntArray) -> None:
        """Refuse: all outputs are one problem."""
        raise NotImplementedError


class Preconditioned(Scaling):
    """What would level the slopes if the curvature stayed as it is: (X' diag(curvature) X + penalty I)^-1 slopes.

    Parameters
    ----------
    space : Space
    penalty : float
    curvature : ndarray (n,), float64
        Of the loss at each row.
    problems : int
        How many there are to solve side by side.
    last : Memory, optional
        The last step before, if all outputs are one problem: what would have been promised of it sets the pace.
    """

    def __init__(
        self, space: Space, penalty: float, curvature: RealArray, problems: int, last: Memory | None = None
    ) -> None:
        self._space, self._penalty = space, penalty
        self._refresh(curvature)
        self._pace = np.ones(problems)
        if last is not None:
            self._pace = np.clip(self._learned_pace(last), *_PACES)

    def __call__(self, slopes: RealArray) -> tuple[RealArray, RealArray]:
        """Return the preconditioned slopes at the present pace, and their values."""
        coefficients = self._precondition(slopes)
        values = self._precondition.look(slopes, coefficients)
        values *= self._pace
        coefficients *= self._pace
        return coefficients, values

    def promised(self, slope: RealArray) -> RealArray:
        """Return what a step at full pace would bring, which is rather too much than too little."""
        return -slope / 2 / self._pace

    def learn(self, lengths: RealArray, memory: Memory, curvature: Callable[[], RealArray]) -> None:  # noqa: ARG002
        """Change the pace, and make the preconditioner anew if it is too far from the curvature now and then."""
        self._pace = np.clip(self._pace * np.sqrt(np.where(lengths > 0.0, lengths, 1.0)), *_PACES)
        self._age += 1
        if self._age % _FRESH_STEPS == 0:
            here = curvature()
            change = np.log((float(here.mean()) + _TINY) / (float(self._curvature.mean()) + _TINY))
            if abs(change) > np.log(_STALE):
                self._refresh(here)

    def leave(self, others: IntArray) -> None:
        """Go on with the other outputs only."""
        self._pace = self._pace[others]

    def _refresh(self, curvature: RealArray) -> None:
        self._curvature, self._age = curvature, 0
        self._precondition = self._space.preconditioner(curvature, self._penalty)

    def _learned_pace(self, memory: Memory) -> RealArray:
        """Return what the promise for a step would have had to be scaled with."""
        coefficients = self._precondition(memory.change)
        values = self._precondition.look(memory.change, coefficients)
        promised = np.array([np.vdot(memory.change, self._space.paired(coefficients, values))])
        return np.where(np.isfinite(memory.product) & (promised > 0.0), memory.product / promised, 1.0)
