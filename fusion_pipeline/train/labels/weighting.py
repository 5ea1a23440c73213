"""ImageNet probabilities become the weights of their top T classes, and these a mean of label vectors (Eq. 8)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from fusion_pipeline.errors import UnusableDataError, UsageError

FloatArray = NDArray[np.float64]

# Rows at a time: the masks and counts of 1000 classes then take a few megabytes, however many rows there are.
_ROWS = 1024


def top_weights(probabilities: NDArray[np.floating], top: int) -> csr_array:
    """Return q: the `top` largest probabilities of each row, divided by their sum.

    Parameters
    ----------
    probabilities : ndarray (n, m), any float
        Softmax over m classes, or any positive multiple of it.
    top : int
        T of Eq. 8, from 1 to m. Of equal probabilities the classes of lower index come first.

    Returns
    -------
    csr_array (n, m), float64
        `top` stored values in each row, which are not negative and sum to 1.

    Raises
    ------
    UsageError
        If `top` is not from 1 to m.
    UnusableDataError
        If a row has a value that is negative or not finite, or is all zeros.

    Examples
    --------
    >>> top_weights(np.array([[0.5, 0.1, 0.3, 0.1]]), 3).toarray().round(3)
    array([[0.556, 0.111, 0.333, 0.   ]])
    """
    n, m = probabilities.shape
    check_top(top, m)
    parts = [_chosen(probabilities[start : start + _ROWS], start, top) for start in range(0, n, _ROWS)]
    columns = np.concatenate([found for found, _ in parts]) if parts else np.empty((0, top), dtype=np.int64)
    weights = np.concatenate([values for _, values in parts]) if parts else np.empty((0, top))
    return csr_array((weights.ravel(), columns.ravel(), np.arange(n + 1) * top), shape=(n, m))


def weighted_vectors(probabilities: NDArray[np.floating], vectors: NDArray[np.floating], top: int) -> FloatArray:
    """Return the confidence-weighted mean of the label vectors of each row's `top` classes (Eq. 8).

    Parameters
    ----------
    probabilities : ndarray (n, m), any float
    vectors : ndarray (m, dimension), any float
        V, one vector per class.
    top : int
        T; 1 gives the vector of the most probable class, m the product of `probabilities` and `vectors`.

    Returns
    -------
    ndarray (n, dimension), float64

    Raises
    ------
    UsageError, UnusableDataError
        As of `top_weights`.

    Examples
    --------
    >>> weighted_vectors(np.array([[0.6, 0.3, 0.1]]), np.array([[3.0, 0.0], [0.0, 3.0], [9.0, 9.0]]), 2)
    array([[2., 1.]])
    """
    return np.asarray(top_weights(probabilities, top) @ np.asarray(vectors, dtype=np.float64))


def check_top(top: int, n_classes: int) -> None:
    """Refuse a `top` that is no whole number from 1 to `n_classes`, as a UsageError."""
    if isinstance(top, bool) or not isinstance(top, int | np.integer) or not 1 <= top <= n_classes:
        raise UsageError(f"top={top!r} was given. A whole number from 1 to {n_classes} is needed.")


def _chosen(probabilities: NDArray[np.floating], start: int, top: int) -> tuple[NDArray[np.int64], FloatArray]:
    """Return columns and weights, each (rows, top), of some rows that begin with number `start`."""
    exact = np.asarray(probabilities, dtype=np.float64)
    _check(exact, start)
    rows = np.arange(len(exact))[:, None]
    least = exact[rows, np.argpartition(-exact, top - 1, axis=1)[:, top - 1 : top]]
    above, equal = exact > least, exact == least
    wanted = top - above.sum(axis=1, keepdims=True)
    # argpartition chooses freely among equals; counting them from the left makes the choice theirs who come first.
    chosen = above | (equal & (np.cumsum(equal, axis=1, dtype=np.int32) <= wanted))
    columns = np.nonzero(chosen)[1].reshape(-1, top)
    values = exact[rows, columns]
    # The largest first becomes 1: sums of very small numbers would lose digits.
    values = values / values.max(axis=1, keepdims=True)
    return columns, values / values.sum(axis=1, keepdims=True)


def _check(probabilities: FloatArray, start: int) -> None:
    fine = np.isfinite(probabilities).all(axis=1) & (probabilities >= 0).all(axis=1) & (probabilities > 0).any(axis=1)
    if not fine.all():
        row = start + int(np.flatnonzero(~fine)[0])
        raise UnusableDataError(
            f"ImageNet probabilities of row {row} are no distribution. Extract this backbone again, or drop the row."
        )
