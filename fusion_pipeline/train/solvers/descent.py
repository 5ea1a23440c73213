"""A convex loss of linear models becomes its optimum, by preconditioned L-BFGS.

The objective is ``loss(X w) + penalty / 2 * ||w||^2``. L-BFGS starts each two-loop recursion from
``(X' D X + penalty I)^-1`` with D the curvature of the loss at each row. It is made anew when that curvature has
changed: it falls by orders of magnitude while a separable problem is fitted, and with a stale one the search would
crawl.

One problem of many columns comes near its optimum in float32, which takes half the time, and most of the way without a
preconditioner: far from the optimum the curvature is not what it will be, and a plain step costs no triangular solves.
Where that ends is looked at in float64, and from there the search goes on unless what was asked for is reached. Rows
that float32 cannot hold, or whose search in it leads nowhere, cost time and nothing else.

Outputs that share nothing but the rows, as one-against-rest classifiers do, are solved side by side: each has step
lengths and a memory of its own, and those that are done are left out. Their first step is a ridge regression.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fusion_pipeline.train.solvers.blas import double
from fusion_pipeline.train.solvers.gram import FloatArray
from fusion_pipeline.train.solvers.search import BoolArray, Loss, Search
from fusion_pipeline.train.solvers.spaces import Space

_MOST_STEPS = 500

# In float32 a search ends at this share of the objective, which rounding blurs by some millionths, and takes plain
# steps while they promise, or bring, more than this share of it.
_NEAR, _PLAIN = 1e-4, 1e-4

# Where this much is lost between float32 and float64, float32 led astray.
_LOST = 1e-2

# Columns that are done go on for nothing until they are this share of all: leaving them out copies the others.
_WORTH_LEAVING = 0.1


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

    @classmethod
    def of(cls, search: Search, done: BoolArray) -> Optimum:
        """Return where a search in float64 stands, with the values that its coefficients have.

        Those that steps added up to drift away from them in their last digits.
        """
        values = search.space.values(search.coefficients)
        return cls(double(search.coefficients), double(values), search.objectives, done)


def minimise(
    space: Space,
    loss: Loss,
    penalty: float,
    start: FloatArray,
    precision: float,
    most_steps: int = _MOST_STEPS,
    *,
    near: bool = False,
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
    near : bool
        Whether the start is known to be near the optimum.

    Returns
    -------
    Optimum
    """
    if loss.joint and not near:
        search, steps, done = _approach(space, loss, penalty, start, max(precision, _NEAR), most_steps - 1)
        most_steps -= steps
        if done and precision >= _NEAR:
            return Optimum.of(search, np.array([True]))
    else:
        search = Search(space, loss, penalty, start)
    search.precondition()
    return _end(search, precision, most_steps)


def _approach(
    space: Space, loss: Loss, penalty: float, start: FloatArray, precision: float, most_steps: int
) -> tuple[Search, int, bool]:
    """Return a search that stands near the optimum, the steps it took, and whether the precision is reached."""
    steps, done, coarse = 0, False, space.single()
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        rough = Search(coarse, loss, penalty, start if coarse is space else start.astype(np.float32))
        first = rough.objectives[0]
        try:
            steps = rough.walk(max(precision, _PLAIN), most_steps)
            rough.precondition()
            while steps < most_steps and not done:
                before = rough.objectives[0]
                done = bool(rough.step()[0] <= precision * abs(rough.objectives[0]))
                steps += 1
                if rough.stands(before):
                    break
        except np.linalg.LinAlgError:
            done = False  # a matrix that is definite in float64 alone
        search = Search(space, loss, penalty, rough.coefficients.astype(np.float64))
    if not search.objectives[0] <= first + _LOST * abs(first):
        return Search(space, loss, penalty, start), steps, False
    return search, steps, done and bool(search.objectives[0] <= rough.objectives[0] * (1.0 + precision))


def _end(search: Search, precision: float, most_steps: int) -> Optimum:
    """Take preconditioned steps until all columns are done; return where they ended."""
    size, n, outputs = search.space.size, search.space.n, len(search.columns)
    found = Optimum(np.empty((size, outputs)), np.empty((n, outputs)), np.empty(outputs), np.zeros(outputs, bool))
    for step in range(1, most_steps + 1):
        done = search.step() <= precision * np.abs(search.objectives)
        left = done | (step == most_steps)
        if search.loss.joint and left.all():
            return Optimum.of(search, done)
        if not search.loss.joint and (left.all() or left.mean() >= _WORTH_LEAVING):
            found.done[search.columns] = done
            _write_down(search, left, found)
            search.leave(left)
        if len(search.columns) == 0:
            break
    return found


def _write_down(search: Search, done: BoolArray, found: Optimum) -> None:
    columns = search.columns[done]
    found.coefficients[:, columns] = search.coefficients[:, done]
    found.values[:, columns] = search.values[:, done]
    found.objectives[columns] = search.objectives[done]
