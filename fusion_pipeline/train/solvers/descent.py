"""A convex loss of linear models becomes its optimum, by preconditioned L-BFGS.

The objective is ``loss(X w) + penalty / 2 * ||w||^2``. L-BFGS (Nocedal and Wright, Numerical Optimization, algorithm
7.4) starts each two-loop recursion from ``(X' D X + penalty I)^-1`` with D the curvature of the loss at each row. It is
made anew when that curvature has changed: it falls by orders of magnitude while a separable problem is fitted, and with
a stale one the search would crawl. Along a direction the values are linear, so a line search multiplies no matrix. One
step costs one product with X X', or one with X and one with X', and two triangular solves.

One problem of many columns goes most of the way without a preconditioner: far from the optimum the curvature is not
what it will be, and a plain step costs no triangular solves. Only the end, where plain steps crawl and say too early
that nothing is left to gain, is preconditioned.

Outputs that share nothing but the rows, as one-against-rest classifiers do, are solved side by side: each has step
lengths and a memory of its own, and those that are done are left out. Their first step is a ridge regression.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.train.solvers.gram import FloatArray, IntArray
from fusion_pipeline.train.solvers.moves import Memory, Move
from fusion_pipeline.train.solvers.parts import Space
from fusion_pipeline.train.solvers.scalings import Plain, Preconditioned, Scaling

BoolArray = NDArray[np.bool_]

_MEMORY = 6
_MOST_STEPS = 500
_MOST_TRIALS = 30

# A line search ends where the slope is at most this share of the first one, either way.
_FLATTER = 0.5

# Plain steps go on while they promise, or bring, more than this share of the objective.
_PLAIN = 1e-3

# Columns that are done go on for nothing until they are this share of all: leaving them out copies the others.
_WORTH_LEAVING = 0.1

# Rounding of an objective: a rise by this share of it is none.
_ROUNDING = 1e-13


class Loss(ABC):
    """A convex, once differentiable loss of the values of the training rows.

    Attributes
    ----------
    joint : bool
        Whether all columns are one problem. Otherwise each is one of its own.
    """

    joint: bool

    @abstractmethod
    def at(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the losses, (1,) or (n_outputs,), and their derivatives (n, n_outputs) at `values` (n, n_outputs)."""

    @abstractmethod
    def curvature(self, values: FloatArray) -> FloatArray:
        """Return the mean second derivative at each row, (n,)."""

    @abstractmethod
    def take(self, columns: IntArray) -> Self:
        """Return the loss of some of the columns; never called where they are one problem."""


@dataclass(frozen=True)
class Optimum:
    """Where a search ended.

    Attributes
    ----------
    coefficients : ndarray (size, n_outputs), float64
    values : ndarray (n, n_outputs), float64
        Of the training rows.
    objectives : ndarray (1,) or (n_outputs,), float64
        One if the columns were one problem.
    done : ndarray (1,) or (n_outputs,), bool
        Whether the precision was reached.
    """

    coefficients: FloatArray
    values: FloatArray
    objectives: FloatArray
    done: BoolArray


def minimise(
    space: Space, loss: Loss, penalty: float, start: FloatArray, precision: float, most_steps: int = _MOST_STEPS
) -> Optimum:
    """Find the least ``loss(X w) + penalty / 2 * ||w||^2``.

    Parameters
    ----------
    space : Space
        The models w on the rows X.
    loss : Loss
    penalty : float
        Positive.
    start : ndarray (size, n_outputs), float64
        Coefficients from which to search.
    precision : float
        The last step is one that promises to lower an objective by no more than this share of it.
    most_steps : int
        At least 1.

    Returns
    -------
    Optimum
    """
    search = _Search(space, loss, penalty, start)
    if loss.joint:
        most_steps -= search.walk(max(precision, _PLAIN), most_steps - 1)
    found = Optimum(start.copy(), search.values.copy(), search.objectives.copy(), search.objectives < 0.0)
    for step in range(1, most_steps + 1):
        done = search.step() <= precision * np.abs(search.objectives)
        left = done | (step == most_steps)
        if loss.joint and left.all():
            # Not those that steps added up to, whose last digits drift away from the coefficients.
            return Optimum(search.coefficients, space.values(search.coefficients), search.objectives, done)
        if not loss.joint and (left.all() or left.mean() >= _WORTH_LEAVING):
            found.done[search.columns] = done
            search.leave(left, found)
        if len(search.columns) == 0:
            break
    return found


class _Search:
    """Where a search stands: for the columns that are not done, where they are, how steep it is, what they remember."""

    def __init__(self, space: Space, loss: Loss, penalty: float, start: FloatArray) -> None:
        self.space, self.loss, self.penalty = space, loss, penalty
        self.columns = np.arange(start.shape[1])
        self.coefficients, self.values = space.settled(start), space.values(start)
        losses, residuals = loss.at(self.values)
        self.objectives = losses + self._burden()
        self.slopes = self._slopes(residuals)
        self.memories: list[Memory] = []
        curvature = loss.curvature(self.values)
        self.scaling: Scaling = (
            Plain(space, penalty, curvature)
            if loss.joint
            else Preconditioned(space, penalty, curvature, problems=len(self.columns))
        )

    def walk(self, share: float, most_steps: int) -> int:
        """Take plain steps until they are worth no more than this share of the objective; return how many it took."""
        steps, worth = 0, np.inf
        while steps < most_steps and worth > share * abs(self.objectives[0]):
            before = self.objectives[0]
            # A first step that was too long may promise little, and bring much.
            worth = max(self.step()[0], before - self.objectives[0])
            steps += 1
        last = self.memories[-1] if self.memories else None
        self.scaling = Preconditioned(self.space, self.penalty, self.loss.curvature(self.values), 1, last)
        return steps

    def _dot(self, left: FloatArray, right: FloatArray) -> FloatArray:
        return np.array([np.vdot(left, right)]) if self.loss.joint else np.einsum("ij,ij->j", left, right)

    def _burden(self) -> FloatArray:
        """Return penalty / 2 * ||w||^2."""
        paired = self.space.paired(self.coefficients, self.values)
        return self.penalty / 2 * self._dot(self.space.penalised(self.coefficients), paired)

    def _slopes(self, residuals: FloatArray) -> FloatArray:
        return self.space.slopes(residuals) + self.penalty * self.space.penalised(self.coefficients)

    def direction(self) -> tuple[Move, FloatArray]:
        """Return where to go from here, by the two-loop recursion, and the slope of the objective on that way."""
        slopes, shares = self.slopes.copy(), []
        for memory in reversed(self.memories):
            shares.append(self._dot(memory.move.paired, slopes) / memory.product)
            slopes -= shares[-1] * memory.change
        np.negative(slopes, out=slopes)
        coefficients, values = self.scaling(slopes)
        for memory, share in zip(self.memories, reversed(shares), strict=True):
            turned = self._dot(memory.change, self.space.paired(coefficients, values)) / memory.product
            coefficients -= (share + turned) * memory.move.coefficients
            values -= (share + turned) * memory.move.values
        move = Move.of(self.space, coefficients, values)
        return move, self._dot(self.slopes, move.paired)

    def step(self) -> FloatArray:
        """Go where it goes down, remember what that did to the slopes, and return how much less was promised."""
        direction, slope = self.direction()
        lengths, residuals = self._look_along(direction, slope)
        promised = self.scaling.promised(slope)
        move = Move.of(self.space, direction.coefficients * lengths, direction.values * lengths)
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

    def _look_along(self, way: Move, slope: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the step lengths, and the derivatives of the loss there; note the objectives there."""
        # At an optimum rounding may point uphill.
        lengths, line, before = np.where(slope < 0.0, 1.0, 0.0), _Line(slope), self.objectives
        burden = self._burden()
        crossed = self.penalty * self._dot(self.space.penalised(self.coefficients), way.paired)
        squared = self.penalty * self._dot(self.space.penalised(way.coefficients), way.paired)
        for left in reversed(range(_MOST_TRIALS)):
            losses, residuals = self.loss.at(self.values + lengths * way.values)
            self.objectives = losses + burden + lengths * crossed + lengths**2 / 2 * squared
            slopes = self._dot(residuals, way.values) + crossed + lengths * squared
            further = line.next(lengths, slopes, self.objectives > before + _ROUNDING * np.abs(before))
            if np.array_equal(further, lengths):
                break
            # Where nothing but rounding is left to find, the last look is at what is known to be lower.
            lengths = further if left > 1 else np.where(further == lengths, lengths, line.low)
        return lengths, residuals

    def leave(self, done: BoolArray, found: Optimum) -> None:
        """Write down the columns that are done, and go on without them."""
        columns, others = self.columns[done], np.flatnonzero(~done)
        found.coefficients[:, columns] = self.coefficients[:, done]
        found.values[:, columns] = self.values[:, done]
        found.objectives[columns] = self.objectives[done]
        self.columns, self.loss = self.columns[others], self.loss.take(others)
        self.coefficients, self.values = self.coefficients[:, others], self.values[:, others]
        self.slopes, self.objectives = self.slopes[:, others], self.objectives[others]
        self.scaling.leave(others)
        self.memories = [memory.take(self.space, others) for memory in self.memories]


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
