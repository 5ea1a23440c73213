"""Squared hinge losses of several outputs become their optima, by Newton steps on the rows that miss their margin.

With w = X' c, K = X X' and the rows A that miss their margin, the optimum would be ``(K[A, A] + I / (2 cost)) c = y``
on A and c = 0 elsewhere, if A stayed as it is (Chapelle, Training a support vector machine in the primal, 2007). A step
towards it is exact once A is right, so that few are needed, and each costs the cube of the size of A.

A good A to start from is that of fewer rows: an eighth of them, then a quarter, then half.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg.lapack import dposv
from threadpoolctl import threadpool_limits

from fusion_pipeline.train.solvers.gram import FloatArray, IntArray

_MOST_STEPS = 50
_MOST_HALVINGS = 40

# With fewer rows there is nothing to win by starting from some of them, and which need not be known well.
_FEWEST, _ROUGHLY = 200, 1e-3

# A step is taken if it lowers the objective by this share of what its slope promises.
_ENOUGH = 1e-4

# The golden ratio: its multiples, modulo one, are spread evenly, however many there are of them.
_GOLDEN = 0.6180339887498949


def grow(products: FloatArray, signs: FloatArray, cost: float, widest: float) -> FloatArray:
    """Return coefficients (n, n_outputs) near the optimum, from those of fewer rows.

    Parameters
    ----------
    products : ndarray (n, n), float64
        K.
    signs : ndarray (n, n_outputs), float64
        1 and -1.
    cost : float
    widest : float
        Growing ends where more than this share of the rows miss their margin.
    """
    n, found = len(signs), np.zeros_like(signs)
    order = np.argsort(np.arange(n) * _GOLDEN % 1.0, kind="stable")
    for size in (n // 8, n // 4, n // 2):
        if size < _FEWEST:
            continue
        rows = np.sort(order[:size])
        inner = products[np.ix_(rows, rows)]
        found[rows], _ = newton(inner, signs[rows], cost, found[rows], _ROUGHLY)
        if np.count_nonzero(found) > widest * signs[rows].size:
            break
    return found


def newton(
    products: FloatArray, signs: FloatArray, cost: float, start: FloatArray, precision: float
) -> tuple[FloatArray, FloatArray]:
    """Return coefficients (n, n_outputs) at the optimum, and the least values (n_outputs,) of the objectives.

    Parameters
    ----------
    products, signs, cost
        As of `grow`.
    start : ndarray (n, n_outputs), float64
        Coefficients to start from.
    precision : float
        The last step of an output is one that promises to lower its objective by no more than this share.

    Examples
    --------
    >>> newton(np.array([[2.0, 0.0], [0.0, 2.0]]), np.array([[1.0], [-1.0]]), 1.0, np.zeros((2, 1)), 1e-9)
    (array([[ 0.4],
           [-0.4]]), array([0.4]))
    """
    coefficients, values = start.copy(), products @ start
    objectives = _objectives(coefficients, values, signs, cost)
    open_ = np.arange(signs.shape[1])
    for _ in range(_MOST_STEPS):
        here = coefficients[:, open_], values[:, open_], signs[:, open_]
        ways = _targets(products, here[1], here[2], cost) - here[0]
        moves = products @ ways
        slopes = np.einsum("ij,ij->j", here[0] - _pulls(here[1], here[2], cost), moves)
        lengths = _lengths(here, ways, moves, slopes, objectives[open_], cost)
        coefficients[:, open_] += lengths * ways
        values[:, open_] += lengths * moves
        objectives[open_] = _objectives(coefficients[:, open_], values[:, open_], here[2], cost)
        open_ = open_[-slopes / 2 > precision * objectives[open_]]
        if len(open_) == 0:
            break
    return coefficients, objectives


def _pulls(values: FloatArray, signs: FloatArray, cost: float) -> FloatArray:
    """Return the negative derivatives of the loss."""
    return 2.0 * cost * signs * np.maximum(0.0, 1.0 - signs * values)


def _objectives(coefficients: FloatArray, values: FloatArray, signs: FloatArray, cost: float) -> FloatArray:
    missing = np.maximum(0.0, 1.0 - signs * values)
    return np.asarray((coefficients * values).sum(axis=0) / 2 + cost * (missing**2).sum(axis=0))


def _targets(products: FloatArray, values: FloatArray, signs: FloatArray, cost: float) -> FloatArray:
    """Return where each output's optimum would be if the same rows missed their margins there."""
    found, missed = np.zeros_like(values), signs * values < 1.0
    whole = missed.all(axis=0)
    if whole.any():  # the same matrix for each
        found[:, whole] = _solve(products.copy(), signs[:, whole], cost)
    with threadpool_limits(1):  # for systems of a few hundred rows a second thread costs more than it does
        for output in np.flatnonzero(~whole):
            rows: IntArray = np.flatnonzero(missed[:, output])
            if len(rows):
                found[rows, output] = _solve(products[np.ix_(rows, rows)], signs[rows, output], cost)
    return found


def _solve(products: FloatArray, signs: FloatArray, cost: float) -> FloatArray:
    """Return (products + I / (2 cost))^-1 signs; `products` is overwritten."""
    products.flat[:: len(products) + 1] += 1.0 / (2.0 * cost)
    _, found, failed = dposv(products.T, signs, lower=1, overwrite_a=1)
    if failed:
        raise np.linalg.LinAlgError(f"The leading {failed} rows and columns are not positive definite.")
    return np.asarray(found)


def _lengths(
    here: tuple[FloatArray, FloatArray, FloatArray],
    ways: FloatArray,
    moves: FloatArray,
    slopes: FloatArray,
    objectives: FloatArray,
    cost: float,
) -> FloatArray:
    """Return the step lengths: 1, or half as often as it takes to lower the objectives."""
    lengths = np.ones(len(slopes))
    for _ in range(_MOST_HALVINGS):
        reached = _objectives(here[0] + lengths * ways, here[1] + lengths * moves, here[2], cost)
        risen = reached > objectives * (1 + 1e-13) + _ENOUGH * lengths * slopes
        if not risen.any():
            break
        lengths[risen] /= 2
    return lengths
