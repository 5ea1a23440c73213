"""Labels of a training part become one-against-rest linear L2-SVMs along a path of costs.

The objective is that of scikit-learn's ``LinearSVC(C=cost)``, for each class with y = 1 in it and -1 elsewhere::

    1/2 ||w||^2 + 1/2 b^2  +  cost * sum_i max(0, 1 - y_i (w . x_i + b))^2

LinearSVC penalises its intercept as the weight of a column of ones, so the part has to have that column:
``rows.part(train, held_out, centred=..., constant=1.0)``. All classes are solved side by side in the space of the inner
products, and the optimum for one cost is where the search for the next greater one starts. scikit-learn fits one SVM
for two classes, here there are two, each the other's negative.

`svm_probabilities` makes probabilities of decision values as Guo et al. (2017) do of logits: softmax(values / T). The
temperature is given by who calls, who has out-of-fold decision values to fit it on: those of training rows all reach
their margins, and would make it far too small.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fusion_pipeline.train.solvers.blas import RealArray, double
from fusion_pipeline.train.solvers.descent import minimise
from fusion_pipeline.train.solvers.gram import FloatArray, IntArray
from fusion_pipeline.train.solvers.newton import grow, newton
from fusion_pipeline.train.solvers.parts import Part
from fusion_pipeline.train.solvers.search import Loss
from fusion_pipeline.train.solvers.softmax import softmax
from fusion_pipeline.train.solvers.spaces import ProductSpace

PRECISION = 1e-7
"""At which the objectives end within a 1e-5th of their least values."""

# Newton steps cost the cube of the rows that miss their margin. Where more than this share of all do, classes are much
# alike, and L-BFGS with one preconditioner for all needs few steps; Newton does what it leaves over, from nothing where
# still so many miss their margin: with all rows it needs one matrix for all classes, and finds the right ones soon.
_WIDEST, _FEW_STEPS = 0.35, 20

# With more rows their inner products take too much memory.
_MOST_ROWS = 12_000


@dataclass(frozen=True)
class SvmSolution:
    """One-against-rest SVMs on a training part, at the optimum for one cost.

    Attributes
    ----------
    cost : float
        LinearSVC's C.
    coefficients : ndarray (part.size, n_classes), float64
        Dual coefficients where the part is held as inner products; see `Part`.
    objectives : ndarray (n_classes,), float64
        Their least values.
    """

    cost: float
    coefficients: FloatArray
    objectives: FloatArray

    def held_out_values(self, part: Part) -> FloatArray:
        """Return the decision values (m, n_classes) of the part's held-out rows."""
        return part.held_out(self.coefficients)

    def primal(self, part: Part) -> tuple[FloatArray, FloatArray]:
        """Return weights (n_features, n_classes) and intercepts (n_classes,) for rows as they were given."""
        return part.weights(self.coefficients)


def solve_svm_path(
    part: Part, labels: IntArray, n_classes: int, costs: Iterable[float] = (1.0,), precision: float = PRECISION
) -> Iterator[SvmSolution]:
    """Solve one-against-rest L2-SVMs on a training part for one cost after the other, each when it is asked for.

    Parameters
    ----------
    part : Part
        With ``constant=1.0``, for the intercept.
    labels : ndarray (part.n,), int64
        Classes 0 .. n_classes - 1 of the training rows.
    n_classes : int
    costs : iterable of float
        All positive, in any order.
    precision : float
        The search for an optimum ends when a step promises to lower the objective by no more than this share.

    Yields
    ------
    SvmSolution
        From the least cost, which is the strongest penalty, to the greatest.

    Examples
    --------
    >>> from fusion_pipeline.train.solvers.rows import hold
    >>> rows = hold([np.array([[-1.0, 0.0], [1.0, 0.0], [3.0, 0.0]])])
    >>> part = rows.part(np.array([0, 1]), np.array([2]), centred=False, constant=1.0)
    >>> (solution,) = solve_svm_path(part, np.array([0, 1]), 2)
    >>> solution.objectives.round(3), solution.held_out_values(part).round(3)
    (array([0.4, 0.4]), array([[-2.4,  2.4]]))
    """
    ordered = sorted(float(cost) for cost in costs)
    if not ordered or ordered[0] <= 0:
        raise ValueError(f"Costs must be positive numbers, but got {ordered}.")
    signs = np.where(labels[:, None] == np.arange(n_classes), 1.0, -1.0)
    if part.n > _MOST_ROWS:
        yield from _descend(part, signs, ordered, precision)
        return
    space, found = part.dual(), None
    for cost in ordered:
        if found is None:
            found = grow(double(space.products), signs, cost, _WIDEST)
        found, objectives = _solve(space, signs, cost, found, precision)
        yield SvmSolution(cost, double(part.slopes(found)), objectives)


def _solve(
    space: ProductSpace, signs: FloatArray, cost: float, start: FloatArray, precision: float
) -> tuple[FloatArray, FloatArray]:
    """Return the dual coefficients and objectives of all classes at the optimum for one cost."""
    missing = signs * space.values(start) < 1.0
    if missing.mean() <= _WIDEST:
        return newton(double(space.products), signs, cost, start, precision)
    optimum = minimise(space, _SquaredHinge(signs, cost), 1.0, start, precision, _FEW_STEPS)
    found, objectives, rest = optimum.coefficients, optimum.objectives, ~optimum.done
    if rest.any():
        wide = (signs * optimum.values < 1.0).mean(axis=0) > _WIDEST
        begun = np.where(wide, 0.0, found)[:, rest]
        found[:, rest], objectives[rest] = newton(double(space.products), signs[:, rest], cost, begun, precision)
    return found, objectives


def _descend(part: Part, signs: FloatArray, costs: Sequence[float], precision: float) -> Iterator[SvmSolution]:
    found = np.zeros((part.size, signs.shape[1]))
    for cost in costs:
        optimum = minimise(part, _SquaredHinge(signs, cost), 1.0, found, precision)
        found = optimum.coefficients
        yield SvmSolution(cost, found, optimum.objectives)


def svm_probabilities(values: FloatArray, temperature: float) -> FloatArray:
    """Return softmax(values / temperature), (n, n_classes) float64, of decision values (n, n_classes).

    Parameters
    ----------
    values : ndarray (n, n_classes), float64
    temperature : float
        Positive; fitted on out-of-fold decision values.

    Examples
    --------
    >>> svm_probabilities(np.array([[-1.0, 1.0]]), 2.0).round(3)
    array([[0.269, 0.731]])
    """
    return softmax(values / temperature)


class _SquaredHinge(Loss):
    """The squared hinge loss of each column, summed over the rows and times the cost."""

    joint = False

    def __init__(self, signs: FloatArray, cost: float) -> None:
        self.signs = signs
        self.cost = cost

    def at(self, values: RealArray) -> tuple[FloatArray, RealArray]:
        missing = 1.0 - self.signs * values
        np.maximum(missing, 0.0, out=missing)
        losses = self.cost * np.einsum("ij,ij->j", missing, missing)
        missing *= self.signs
        missing *= -2.0 * self.cost
        return losses, missing

    def curvature(self, values: RealArray) -> RealArray:
        return 2.0 * self.cost * np.asarray((self.signs * values < 1.0).mean(axis=1))

    def take(self, columns: IntArray) -> _SquaredHinge:
        return _SquaredHinge(self.signs[:, columns], self.cost)
