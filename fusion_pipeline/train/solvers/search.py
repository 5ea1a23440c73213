"""Where a search for the optimum of a convex loss stands becomes where it stands a step later: L-BFGS.

Each two-loop recursion (Nocedal and Wright, Numerical Optimization, algorithm 7.4) starts from what a `Scaling` makes
of the slopes. Along a direction the values are linear, so a line search multiplies no matrix. One step costs one
product with X X', or one with X and one with X', and two triangular solves if it is preconditioned.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.train.solvers.blas import RealArray, double, inner
from fusion_pipeline.train.solvers.gram import FloatArray, IntArray
from fusion_pipeline.train.solvers.moves import Memory, Move
from fusion_pipeline.train.solvers.scalings import Plain, Preconditioned, Scaling
from fusion_pipeline.train.solvers.spaces import Space

BoolArray = NDArray[np.bool_]

_MEMORY = 6
_MOST_TRIALS = 30

# A line search ends where the slope is at most this share of the first one, either way.
_FLATTER = 0.5

# Rounding of an objective: a rise by this share of it is none.
_ROUNDING = {"float64": 1e-13, "float32": 1e-6}


class Loss(ABC):
    """A convex, once differentiable loss of the values of the training rows.

    Attributes
    ----------
    joint : bool
        Whether all columns are one problem. Otherwise each is one of its own.
    """

    joint: bool

    @abstractmethod
    def at(self, values: RealArray) -> tuple[FloatArray, RealArray]:
        """Return the losses and their derivatives at `values` (n, n_outputs), float64 or float32.

        The losses are (1,) or (n_outputs,), float64, as exact as the values are; the derivatives are like the values.
        """

    @abstractmethod
    def curvature(self, values: RealArray) -> RealArray:
        """Return the mean second derivative at each row, (n,)."""

    @abstractmethod
    def take(self, columns: IntArray) -> Self:
        """Return the loss of some of the columns; never called where they are one problem."""


class Search:
    """Where a search stands: for the columns that are not done, where they are, how steep it is, what they remember.

    Parameters
    ----------
    space : Space
    loss : Loss
    penalty : float
    start : ndarray (size, n_outputs)
        Of the type of the space.
    """

    scaling: Scaling

    def __init__(self, space: Space, loss: Loss, penalty: float, start: RealArray) -> None:
        self.space, self.loss, self.penalty = space, loss, penalty
        self.columns = np.arange(start.shape[1])
        self.coefficients, self.values = space.settled(start), space.values(start)
        losses, residuals = loss.at(self.values)
        self.objectives = losses + self._burden()
        self.slopes = self._slopes(residuals)
        self.memories: list[Memory] = []

    def walk(self, share: float, most_steps: int) -> int:
        """Take plain steps until they are worth no more than this share of the objective; return how many it took."""
        self.scaling = Plain(self.space, self.penalty, self.loss.curvature(self.values))
        for steps in range(1, most_steps + 1):
            before = self.objectives[0]
            # A first step that was too long may promise little, and bring much.
            worth = max(self.step()[0], before - self.objectives[0])
            if self.stands(before) or worth <= share * abs(self.objectives[0]):
                return steps
        return most_steps

    def stands(self, before: np.float64) -> bool:
        """Return whether the objective of one problem is not below what it was: rounding hides the way down."""
        return not self.objectives[0] < before

    def precondition(self) -> None:
        """Go on with preconditioned steps."""
        problems = 1 if self.loss.joint else len(self.columns)
        last = self.memories[-1] if self.memories and self.loss.joint else None
        self.scaling = Preconditioned(self.space, self.penalty, self.loss.curvature(self.values), problems, last)

    def _dot(self, left: RealArray, right: RealArray) -> FloatArray:
        return np.array([inner(left, right)]) if self.loss.joint else np.einsum("ij,ij->j", left, right)

    def _burden(self) -> FloatArray:
        """Return penalty / 2 * ||w||^2."""
        paired = self.space.paired(self.coefficients, self.values)
        return double(self.penalty / 2 * self._dot(self.space.penalised(self.coefficients), paired))

    def _slopes(self, residuals: RealArray) -> RealArray:
        like_values = residuals.astype(self.values.dtype, copy=False)
        return self.space.slopes(like_values) + self.penalty * self.space.penalised(self.coefficients)

    def direction(self) -> tuple[Move, FloatArray]:
        """Return where to go from here, by the two-loop recursion, and the slope of the objective on that way."""
        slopes, shares = self.slopes.copy(), []
        for memory in reversed(self.memories):
            shares.append(self._dot(memory.move.paired, slopes) / memory.product)
            slopes -= _times(memory.change, shares[-1])
        np.negative(slopes, out=slopes)
        coefficients, values = self.scaling(slopes)
        for memory, share in zip(self.memories, reversed(shares), strict=True):
            turned = self._dot(memory.change, self.space.paired(coefficients, values)) / memory.product
            coefficients -= _times(memory.move.coefficients, share + turned)
            values -= _times(memory.move.values, share + turned)
        move = Move.of(self.space, coefficients, values)
        return move, self._dot(self.slopes, move.paired)

    def step(self) -> FloatArray:
        """Go where it goes down, remember what that did to the slopes, and return how much less was promised."""
        direction, slope = self.direction()
        lengths, residuals = self._look_along(direction, slope)
        promised = double(self.scaling.promised(slope))
        move = Move.of(self.space, _times(direction.coefficients, lengths), _times(direction.values, lengths))
        self.coefficients += move.coefficients
        self.values += move.values
        before, self.slopes = self.slopes, self._slopes(residuals)
        change = self.slopes - before
        product = self._dot(move.paired, change)
        # Where nothing moves any more there is nothing to learn, nor to divide by.
        self.memories.append(Memory(move, change, np.where(product > 0.0, product, np.inf)))
        del self.memories[:-_MEMORY]
        self.scaling.learn(lengths, self.memories[-1], lambda: self.loss.curvature(self.values))
        return promised

    def _look_along(self, way: Move, slope: FloatArray) -> tuple[FloatArray, RealArray]:
        """Return the step lengths, and the derivatives of the loss there; note the objectives there."""
        # At an optimum rounding may point uphill.
        lengths, line, before = np.where(slope < 0.0, 1.0, 0.0), _Line(slope), self.objectives
        burden = self._burden()
        crossed = self.penalty * self._dot(self.space.penalised(self.coefficients), way.paired)
        squared = self.penalty * self._dot(self.space.penalised(way.coefficients), way.paired)
        rounding = _ROUNDING[self.values.dtype.name] * np.abs(before)
        for left in reversed(range(_MOST_TRIALS)):
            losses, residuals = self.loss.at(self.values + _times(way.values, lengths))
            self.objectives = losses + burden + lengths * crossed + lengths**2 / 2 * squared
            slopes = self._dot(residuals, way.values) + crossed + lengths * squared
            further = line.next(lengths, slopes, self.objectives > before + rounding)
            if np.array_equal(further, lengths):
                break
            # Where nothing but rounding is left to find, the last look is at what is known to be lower.
            lengths = further if left > 1 else np.where(further == lengths, lengths, line.low)
        return lengths, residuals

    def leave(self, done: BoolArray) -> None:
        """Go on without the columns that are done."""
        others = np.flatnonzero(~done)
        self.columns, self.loss = self.columns[others], self.loss.take(others)
        self.coefficients, self.values = self.coefficients[:, others], self.values[:, others]
        self.slopes, self.objectives = self.slopes[:, others], self.objectives[others]
        self.scaling.leave(others)
        self.memories = [memory.take(self.space, others) for memory in self.memories]


def _times(array: RealArray, factors: FloatArray) -> RealArray:
    """Return the columns times a factor each, or all times the only one, in their own type."""
    return array * factors.astype(array.dtype)


class _Line:
    """Between which lengths the least objective of each column lies, and which to try next."""

    def __init__(self, first: FloatArray) -> None:
        self.first = first
        self.low, self.low_slope = np.zeros_like(first), first.copy()
        self.high, self.high_slope = np.full_like(first, np.inf), np.full_like(first, np.inf)

    def next(self, lengths: FloatArray, slopes: FloatArray, risen: BoolArray) -> FloatArray:
        """Return the lengths to try after `lengths`; the same for columns whose search is over."""
        too_long = (risen & (slopes > 0.0)) | (slopes > -_FLATTER * self.first)
        too_short = slopes < _FLATTER * self.first
        self.high, self.high_slope = (
            np.where(too_long, new, old) for new, old in ((lengths, self.high), (slopes, self.high_slope))
        )
        self.low, self.low_slope = (
            np.where(too_short, new, old) for new, old in ((lengths, self.low), (slopes, self.low_slope))
        )
        return np.where((too_long | too_short) & (self.first < 0.0), self._between(lengths), lengths)

    def _between(self, lengths: FloatArray) -> FloatArray:
        """Return where a straight slope would be zero: inside the bracket, or not too far beyond its only end."""
        with np.errstate(invalid="ignore", divide="ignore"):
            inside = (self.high - self.low) * np.clip(self.low_slope / (self.low_slope - self.high_slope), 0.1, 0.9)
            beyond = lengths * np.clip(self.first / (self.first - self.low_slope), 1.5, 8.0)
        return np.where(np.isfinite(self.high), self.low + inside, beyond)
