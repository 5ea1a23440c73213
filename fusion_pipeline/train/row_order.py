"""A matrix and labels become the share of the row order that the matrix gives away.

Rows often stand in the order of their classes, so a column that counts them, a file's number or time, tells the class
of every test row: a perfect score that means nothing. No rule about which rows were fitted on can find that. But the
order of rows *within* a class tells nothing about photographs, so whatever knows it has seen the row's number.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

TOLD = 0.9
"""From this on, a matrix is taken to hold the row's number: neighbours may look alike, but not so regularly."""

# Of thousands of columns one or the other follows so few rows by chance.
_FEWEST = 40

# Columns are looked at in blocks of so many values, lest a float64 copy of all of them is made.
_BLOCK = 1 << 22


def row_order(matrix: NDArray[np.floating], labels: IntArray) -> float:
    """Return how well the best column tells the place of a row in its class.

    Parameters
    ----------
    matrix : ndarray (n, d), any float
    labels : ndarray (n,), int64

    Returns
    -------
    float
        The largest absolute correlation, 0 to 1, of the ranks of a column with the row numbers, both about their means
        in each class. 0 where classes have so few rows (40 in all beyond one of each) that chance might do it.

    Examples
    --------
    >>> labels = np.repeat([0, 1], 30)
    >>> row_order(np.arange(60.0)[:, None] ** 3, labels)
    1.0
    >>> row_order(np.random.default_rng(0).normal(size=(60, 5)), labels) < 0.4
    True
    """
    if len(labels) - len(np.unique(labels)) < _FEWEST:
        return 0.0
    columns = max(1, _BLOCK // max(1, len(matrix)))
    best = 0.0
    numbers = _ranks(np.arange(len(labels), dtype=np.float64)[:, None], labels)
    for start in range(0, matrix.shape[1], columns):
        ranks = _ranks(matrix[:, start : start + columns], labels)
        lengths = np.linalg.norm(ranks, axis=0) * np.linalg.norm(numbers)
        told = np.abs(numbers[:, 0] @ ranks) / np.maximum(lengths, np.finfo(np.float64).tiny)
        best = max(best, float(told.max(initial=0.0)))
    return round(min(1.0, best), 6)


def _ranks(columns: NDArray[np.floating], labels: IntArray) -> FloatArray:
    """Return the rank of each value in its class, about the mean rank; equal values share their mean rank."""
    ranks = np.empty(columns.shape, dtype=np.float64)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        ranks[rows] = _mean_ranks(columns[rows])
    return ranks


def _mean_ranks(values: NDArray[np.floating]) -> FloatArray:
    n = len(values)
    order = np.argsort(values, axis=0, kind="stable")
    ascending = np.take_along_axis(values, order, axis=0)
    starts = np.vstack([np.ones((1, values.shape[1]), bool), ascending[1:] != ascending[:-1]])
    ends = np.vstack([starts[1:], np.ones((1, values.shape[1]), bool)])
    places = np.arange(n)[:, None]
    first = np.maximum.accumulate(np.where(starts, places, 0), axis=0)
    last = np.minimum.accumulate(np.where(ends, places, n)[::-1], axis=0)[::-1]
    ranks = np.empty(values.shape, dtype=np.float64)
    np.put_along_axis(ranks, order, (first + last) / 2, axis=0)
    return ranks - (n - 1) / 2
