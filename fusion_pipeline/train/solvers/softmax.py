"""A matrix and its labels become multinomial softmax regressions along a path of penalties.

The objective is that of scikit-learn's ``LogisticRegression(C=1 / alpha)``, summed over the rows::

    sum_i -log softmax(x_i W + b)[y_i]  +  alpha / 2 * ||W||^2        (b is not penalised)

`solve_path` solves it on a training part, by inner products or by rows, whichever it is held as, and each optimum is
where the search for the next weaker penalty starts. `fit_path` does it for a matrix.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fusion_pipeline.errors import UnusableDataError
from fusion_pipeline.train.solvers.blas import RealArray
from fusion_pipeline.train.solvers.descent import Optimum, minimise
from fusion_pipeline.train.solvers.gram import FloatArray, IntArray
from fusion_pipeline.train.solvers.parts import Part
from fusion_pipeline.train.solvers.rows import hold
from fusion_pipeline.train.solvers.search import Loss
from fusion_pipeline.train.solvers.spaces import WithIntercept

# At this precision the objective ends within a millionth of its least value, even where a weak penalty leaves it flat.
EXACT = 1e-10


def log_softmax(logits: FloatArray) -> FloatArray:
    """Return the logarithm of the softmax over the last axis.

    Parameters
    ----------
    logits : ndarray (..., n_classes), float64
        Any real numbers; they are shifted so that none overflows.

    Returns
    -------
    ndarray, the same shape, float64

    Examples
    --------
    >>> log_softmax(np.array([[1000.0, 1000.0]])).round(4)
    array([[-0.6931, -0.6931]])
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def softmax(logits: FloatArray) -> FloatArray:
    """Return the softmax over the last axis.

    Parameters
    ----------
    logits : ndarray (..., n_classes), float64

    Returns
    -------
    ndarray, the same shape, float64
        Non-negative; sums to one over the last axis.

    Examples
    --------
    >>> softmax(np.array([0.0, np.log(3.0)])).round(4)
    array([0.25, 0.75])
    """
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


@dataclass(frozen=True)
class SoftmaxFit:
    """A softmax regression at the optimum for one penalty.

    Attributes
    ----------
    alpha : float
        The penalty.
    weights : ndarray (n_features, n_classes), float64
    intercept : ndarray (n_classes,), float64
    objective : float
        Its least value.
    """

    alpha: float
    weights: FloatArray
    intercept: FloatArray
    objective: float

    def logits(self, X: FloatArray) -> FloatArray:
        """Return the logits (n, n_classes), float64, of `X` (n, n_features)."""
        return X @ self.weights + self.intercept


@dataclass(frozen=True)
class SoftmaxSolution:
    """A softmax regression on a training part, at the optimum for one penalty.

    Attributes
    ----------
    alpha : float
        The penalty.
    coefficients : ndarray (part.size, n_classes), float64
        As `Part` has them.
    intercept : ndarray (n_classes,), float64
    objective : float
        Its least value.
    """

    alpha: float
    coefficients: FloatArray
    intercept: FloatArray
    objective: float

    def held_out_logits(self, part: Part) -> FloatArray:
        """Return the logits (m, n_classes) of the part's held-out rows."""
        return part.held_out(self.coefficients) + self.intercept

    def primal(self, part: Part) -> SoftmaxFit:
        """Return the regression on rows as they were given, with all centring and scales folded in."""
        weights, offsets = part.weights(self.coefficients)
        return SoftmaxFit(self.alpha, weights, self.intercept + offsets, self.objective)


def solve_path(
    part: Part, labels: IntArray, n_classes: int, alphas: Iterable[float], precision: float = EXACT
) -> Iterator[SoftmaxSolution]:
    """Solve a softmax regression on a training part for one penalty after the other, each when it is asked for.

    Parameters
    ----------
    part : Part
        Centred rows are solved in fewer steps; the optimum is the same, since the intercept is free.
    labels : ndarray (part.n,), int64
        Of the training rows; otherwise as in `fit_path`, like the other parameters and what is raised.

    Yields
    ------
    SoftmaxSolution
        From the strongest penalty to the weakest.

    Examples
    --------
    >>> rows = hold([np.array([[-1.0, 0.0], [-0.9, 0.1], [0.8, 0.0], [1.1, 0.1], [0.9, 0.0]])])
    >>> part = rows.part(np.array([0, 1, 2, 3]), np.array([4]))
    >>> (solution,) = solve_path(part, np.array([0, 0, 1, 1]), 2, [1.0])
    >>> softmax(solution.held_out_logits(part)).round(2)
    array([[0.21, 0.79]])
    """
    penalties = sorted((float(alpha) for alpha in alphas), reverse=True)
    _check_problem(labels, n_classes, penalties)
    loss, free = _CrossEntropy(labels, n_classes), WithIntercept(part)
    found = np.zeros((free.size, n_classes))
    found[-1] = np.log(loss.shares)  # the optimum under an infinite penalty
    for alpha in penalties:
        optimum = minimise(free, loss, alpha, found, precision)
        found = optimum.coefficients
        yield _solution(alpha, optimum)


def refined(part: Part, labels: IntArray, solution: SoftmaxSolution, precision: float = EXACT) -> SoftmaxSolution:
    """Return a solution to a greater precision, by a search that goes on from where it is.

    Parameters
    ----------
    part, labels
        As `solve_path` was given.
    solution : SoftmaxSolution
    precision : float

    Examples
    --------
    >>> part = hold([np.array([[-1.0], [-0.9], [0.8], [1.1]])]).part(np.arange(4))
    >>> labels = np.array([0, 0, 1, 1])
    >>> (rough,) = solve_path(part, labels, 2, [1.0], precision=0.1)
    >>> refined(part, labels, rough).objective < rough.objective
    True
    """
    loss, free = _CrossEntropy(labels, len(solution.intercept)), WithIntercept(part)
    start = np.vstack([solution.coefficients, solution.intercept])
    return _solution(solution.alpha, minimise(free, loss, solution.alpha, start, precision, near=True))


def _solution(alpha: float, optimum: Optimum) -> SoftmaxSolution:
    found = optimum.coefficients
    return SoftmaxSolution(alpha, found[:-1], found[-1], float(optimum.objectives[0]))


def fit_path(
    X: FloatArray, labels: IntArray, n_classes: int, alphas: Iterable[float], precision: float = EXACT
) -> Iterator[SoftmaxFit]:
    """Fit a softmax regression for one penalty after the other, each when it is asked for.

    Parameters
    ----------
    X : ndarray (n, n_features), float64
        Rows; standardise them first, since one penalty serves all columns.
    labels : ndarray (n,), int64
        Classes 0 .. n_classes - 1, each with at least one row.
    n_classes : int
    alphas : iterable of float
        Penalties, all positive, in any order.
    precision : float
        The search for an optimum ends when a step promises to lower the objective by no more than this share.

    Yields
    ------
    SoftmaxFit
        From the strongest penalty to the weakest: each optimum is where the search for the next one starts.

    Raises
    ------
    UnusableDataError
        If a class has no row: its unpenalised intercept would have no optimum.

    Examples
    --------
    >>> X, labels = np.array([[-1.0], [-0.9], [0.8], [1.1]]), np.array([0, 0, 1, 1])
    >>> [(fit.alpha, fit.weights.round(2).tolist()) for fit in fit_path(X, labels, 2, [0.1, 10.0])]
    [(10.0, [[-0.16, 0.16]]), (0.1, [[-1.64, 1.64]])]
    """
    part = hold([X]).part(np.arange(len(X)))
    for solution in solve_path(part, labels, n_classes, alphas, precision):
        yield solution.primal(part)


def _check_problem(labels: IntArray, n_classes: int, alphas: Sequence[float]) -> None:
    if not alphas or min(alphas) <= 0:
        raise ValueError(f"Penalties must be positive numbers, but got {alphas}.")
    counts = np.bincount(labels, minlength=n_classes)
    if counts.min() == 0:
        raise UnusableDataError(
            f"Class number {int(counts.argmin())} has no row to fit a softmax regression on. Every class needs one."
        )


class _CrossEntropy(Loss):
    """The negative log-likelihood of the labels, summed over the rows."""

    joint = True

    def __init__(self, labels: IntArray, n_classes: int) -> None:
        self.shares = np.bincount(labels, minlength=n_classes) / len(labels)
        self._labelled = np.arange(len(labels)), labels

    def at(self, values: RealArray) -> tuple[FloatArray, RealArray]:
        greatest = self._labelled[0], values.argmax(axis=1)
        residuals = values - values[greatest][:, None]
        away = residuals[self._labelled]
        np.exp(residuals, out=residuals)
        # One and what little all others add to it are kept apart: of a row that is nearly sure only the latter counts.
        residuals[greatest] = 0.0
        others = residuals.sum(axis=1)
        residuals /= 1.0 + others[:, None]
        residuals[greatest] = 1.0 / (1.0 + others)
        right = greatest[1] == self._labelled[1]
        residuals[self._labelled] = np.where(right, -others / (1.0 + others), residuals[self._labelled] - 1.0)
        loss = np.log1p(others).sum(dtype=np.float64) - away.sum(dtype=np.float64)
        return np.array([loss]), residuals

    def curvature(self, values: RealArray) -> RealArray:
        # A probability or, of the label, what it lacks of one.
        away = np.abs(self.at(values)[1])
        return np.asarray((away * (1.0 - away)).mean(axis=1))

    def take(self, columns: IntArray) -> _CrossEntropy:
        raise NotImplementedError  # classes share every row's probabilities
