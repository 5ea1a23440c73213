"""A matrix and its labels become multinomial softmax regressions along a path of penalties.

The objective is that of scikit-learn's ``LogisticRegression(C=1 / alpha)``, summed over the rows::

    sum_i -log softmax(x_i W + b)[y_i]  +  alpha / 2 * ||W||^2        (b is not penalised)

It is solved in the eigenbasis of the rows: no more than min(n - 1, d) directions of W can matter, and there the Hessian
is close to diagonal, so that few steps of L-BFGS lead from the optimum of one penalty to that of the next weaker one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from fusion_pipeline.errors import UnusableDataError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Below this share of the largest eigenvalue a direction is rounding noise of the Gram matrix.
_NOISE = 1e-13

# At this precision the objective ends within a millionth of its least value, even where a weak penalty leaves it flat.
EXACT = 1e-10

# In the eigenbasis a memory of few steps is as good as one of many, and cheaper.
_LBFGS = {"maxcor": 6, "maxiter": 2000, "maxfun": 4000, "gtol": 1e-5}


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
        The search for an optimum ends when a step lowers the objective by less than this share.

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
    penalties = sorted((float(alpha) for alpha in alphas), reverse=True)
    _check_problem(labels, n_classes, penalties)
    basis = _Eigenbasis.of(np.asarray(X, dtype=np.float64))
    del X  # several paths may be alive at once, each with what it needs of its rows
    problem = _Problem(basis.scores, labels, n_classes, precision)
    theta, intercept = problem.start()
    for alpha in penalties:
        theta, intercept, objective = problem.solve(alpha, theta, intercept)
        weights = basis.weights(theta)
        yield SoftmaxFit(alpha, weights, intercept - basis.mean @ weights, objective)


def _check_problem(labels: IntArray, n_classes: int, alphas: Sequence[float]) -> None:
    if not alphas or min(alphas) <= 0:
        raise ValueError(f"Penalties must be positive numbers, but got {alphas}.")
    counts = np.bincount(labels, minlength=n_classes)
    if counts.min() == 0:
        raise UnusableDataError(
            f"Class number {int(counts.argmin())} has no row to fit a softmax regression on. Every class needs one."
        )


@dataclass(frozen=True)
class _Eigenbasis:
    """Centred rows in their own principal axes; the eigenproblem is that of the smaller Gram matrix."""

    mean: FloatArray  # (d,)
    scores: FloatArray  # (n, r), orthogonal columns
    rotation: FloatArray  # (d, r), or (n, r) where `rows` leads on to the columns of X
    rows: FloatArray | None  # (n, d) when n < d

    @classmethod
    def of(cls, X: FloatArray) -> _Eigenbasis:
        n, d = X.shape
        mean = X.mean(axis=0)
        centred = X - mean
        values, vectors = np.linalg.eigh(centred @ centred.T if n < d else centred.T @ centred)
        kept = values > _NOISE * max(float(values[-1]), np.finfo(np.float64).tiny)
        values, vectors = values[kept], vectors[:, kept]
        if n < d:
            lengths = np.sqrt(values)
            return cls(mean, vectors * lengths, vectors / lengths, centred)
        return cls(mean, centred @ vectors, vectors, None)

    def weights(self, theta: FloatArray) -> FloatArray:
        """Return the (d, n_classes) weights whose effect on the rows is that of `theta` on the scores."""
        inner = self.rotation @ theta
        return np.asarray(inner if self.rows is None else self.rows.T @ inner)


class _Problem:
    """The softmax regression of labels on scores (n, r)."""

    def __init__(self, scores: FloatArray, labels: IntArray, n_classes: int, precision: float) -> None:
        self.scores = np.ascontiguousarray(scores)
        self.targets = np.eye(n_classes)[labels]
        self.options = {**_LBFGS, "ftol": precision}

    def start(self) -> tuple[FloatArray, FloatArray]:
        """Return the optimum under an infinite penalty: no weights, the class frequencies as intercepts."""
        frequencies = self.targets.mean(axis=0)
        return np.zeros((self.scores.shape[1], len(frequencies))), np.log(frequencies)

    def solve(self, alpha: float, theta: FloatArray, intercept: FloatArray) -> tuple[FloatArray, FloatArray, float]:
        """Return weights, intercepts and objective at the optimum for `alpha`, starting from the given ones."""
        scale = self._curvature(alpha, theta, intercept)
        shape = scale.shape

        def objective(scaled: FloatArray) -> tuple[float, FloatArray]:
            value, gradient = self._objective(alpha, scaled.reshape(shape) / scale)
            return value, (gradient / scale).ravel()

        start = np.vstack([theta, intercept]) * scale
        found = minimize(objective, start.ravel(), jac=True, method="L-BFGS-B", options=self.options)
        parameters = found.x.reshape(shape) / scale
        return parameters[:-1], parameters[-1], float(found.fun)

    def _curvature(self, alpha: float, theta: FloatArray, intercept: FloatArray) -> FloatArray:
        """Return the root of the Hessian's diagonal, (r + 1, n_classes): in these units the problem is nearly round."""
        probabilities = softmax(self.scores @ theta + intercept)
        spread = probabilities * (1.0 - probabilities)
        # A floor keeps an intercept movable whose class is already predicted with certainty.
        diagonal = np.vstack([(self.scores**2).T @ spread + alpha, np.maximum(spread.sum(axis=0), 1e-3)])
        return np.asarray(np.sqrt(diagonal))

    def _objective(self, alpha: float, parameters: FloatArray) -> tuple[float, FloatArray]:
        theta, intercept = parameters[:-1], parameters[-1]
        log_probabilities = log_softmax(self.scores @ theta + intercept)
        residuals = np.exp(log_probabilities) - self.targets
        value = -float((log_probabilities * self.targets).sum()) + 0.5 * alpha * float((theta * theta).sum())
        return value, np.vstack([self.scores.T @ residuals + alpha * theta, residuals.sum(axis=0)])
