"""The features of one or more backbones become the inner products of all rows, once for all training parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Columns that are float64 at a time: enough for BLAS to run at full speed, little beside the features.
SLAB = 512

# More where products are float32: each slab adds n x n of them to the sum.
_SINGLE_SLAB = 2048

# Rows whose products are computed at a time, with all rows before them: no second n x n numbers are ever needed.
_TILE = 512


@dataclass(frozen=True)
class Gram:
    """Inner products of all rows of one block of features, or of several side by side.

    They are kept around the mean c of some rows: with z = x - c it holds z_i . z_j, z_i . c and c . c, from which
    x_i . x_j follows. Centring on any training part then takes away small numbers from small numbers, and loses no
    digits where columns lie far from zero. What follows does not depend on c, but for its last digits.

    Attributes
    ----------
    blocks : tuple of ndarray (n, n_features of the block), any float
        As given, not copied; only primal weights are computed from them.
    scales : tuple of float
        What each block is multiplied with.
    shifted : ndarray (n, n), float64
        z_i . z_j.
    offsets : ndarray (n,), float64
        z_i . c.
    constant : float
        c . c.

    Examples
    --------
    >>> gram = Gram.of([np.array([[3.0, 0.0], [1.0, 2.0], [2.0, 4.0]], np.float16)])
    >>> gram.take(np.array([0, 1]), np.array([2]), centred=False)
    (array([[9., 3.],
           [3., 5.]]), array([[ 6., 10.]]))
    >>> gram.take(np.array([0, 1]), np.array([2]), centred=True)[1]
    array([[-3.,  3.]])
    """

    blocks: tuple[NDArray[np.floating], ...]
    scales: tuple[float, ...]
    shifted: FloatArray
    offsets: FloatArray
    constant: float

    @classmethod
    def of(
        cls,
        blocks: Sequence[NDArray[np.floating]],
        scales: Sequence[float] | None = None,
        around: IntArray | None = None,
        *,
        single: bool = False,
    ) -> Gram:
        """Return the inner products of all rows of `blocks`; beside n x n numbers it needs n x 512 for a while.

        Parameters
        ----------
        blocks : sequence of ndarray (n, n_features of the block), any float
        scales : sequence of float, optional
            What each block is multiplied with; 1 without it. One Gram of scaled blocks takes less memory than one of
            each, but serves only the training part whose scales they are.
        around : ndarray of int64, optional
            The rows whose mean is c; by default all. With those of a training part, other rows change no bit of it.
        single : bool
            Whether products are summed in float32 over some columns, and in float64 over all: twice as fast, for errors
            of less than a 1e-6th of the rows' squared norms.
        """
        n, factors = len(blocks[0]), (1.0,) * len(blocks) if scales is None else tuple(scales)
        products, offsets, constant = np.zeros((n, n)), np.zeros(n), 0.0
        width, kind = (_SINGLE_SLAB, np.float32) if single else (SLAB, np.float64)
        for block, scale in zip(blocks, factors, strict=True):
            for start in range(0, block.shape[1], width):
                columns = _widened(block[:, start : start + width], kind)
                columns *= scale
                mean = (columns if around is None else columns[around]).mean(axis=0, dtype=np.float64).astype(kind)
                columns -= mean
                _add_products(columns, products)
                offsets += columns @ mean
                constant += float(mean @ mean)
        _mirror(products)
        return cls(tuple(blocks), factors, products, offsets, constant)

    def take(self, train: IntArray, held_out: IntArray, *, centred: bool) -> tuple[FloatArray, FloatArray]:
        """Return the inner products of training rows, (n, n), and of held-out with training rows, (m, n).

        Parameters
        ----------
        train : ndarray (n,), int64
            Row numbers.
        held_out : ndarray (m,), int64
            Row numbers.
        centred : bool
            Whether the mean of the training rows is taken from all rows first.
        """
        return inner_products([self], [1.0], train, held_out, centred=centred)

    def mean_square(self, train: IntArray) -> float:
        """Return the mean squared norm of the training rows around their own mean."""
        share = np.bincount(train, minlength=len(self.shifted)) / len(train)
        return float(self.shifted[train, train].mean() - share @ self.shifted @ share)


def inner_products(
    grams: Sequence[Gram], scales: Sequence[float], train: IntArray, held_out: IntArray, *, centred: bool
) -> tuple[FloatArray, FloatArray]:
    """Return the inner products (n, n) and (m, n) of rows whose blocks, each Gram's scaled, stand side by side.

    The parameters are those of `Gram.take`, and one scale for each Gram. Products add up over blocks, and so does
    what centring takes from them, so that it is done once.
    """
    inner, cross = np.zeros((len(train), len(train))), np.zeros((len(held_out), len(train)))
    for gram, scale in zip(grams, scales, strict=True):
        for products, rows in ((inner, train), (cross, held_out)):
            for start in range(0, len(rows), _TILE):
                found = gram.shifted[np.ix_(rows[start : start + _TILE], train)]
                found *= scale**2
                products[start : start + _TILE] += found
            if not centred:
                products += scale**2 * (gram.offsets[train] + gram.constant)  # noqa: PLW2901 - in place
                products += scale**2 * gram.offsets[rows, None]  # noqa: PLW2901 - in place
    if centred:
        _centre(inner, cross)
    return inner, cross


def _centre(inner: FloatArray, cross: FloatArray) -> None:
    """Turn products of rows z into those of z - m, m the mean of the training rows: (n, n) and (m, n), in place.

    A row z meets a training row z_j as z . z_j - z . m - z_j . m + m . m.
    """
    mean = inner.mean(axis=0)
    cross -= cross.mean(axis=1, keepdims=True) - mean.mean()
    cross -= mean
    inner -= mean[:, None] - mean.mean()
    inner -= mean


def _widened(block: NDArray[np.floating], kind: type) -> NDArray[Any]:
    """Return a new array of the block's numbers in a wider type, in C order."""
    # NumPy takes more than twice as long over one half after the other as to look them up among all that there are.
    return _halves(kind)[block.view(np.uint16)] if block.dtype == np.float16 else block.astype(kind, order="C")


@cache
def _halves(kind: type) -> NDArray[Any]:
    return np.arange(2**16, dtype=np.uint16).view(np.float16).astype(kind)


def _add_products(columns: NDArray[Any], products: FloatArray) -> None:
    """Add the inner products of the rows to the lower triangle, tile by tile, of which none is computed in vain."""
    for first in range(0, len(columns), _TILE):
        last = first + _TILE
        rows = columns[first:last]
        products[first:last, :first] += rows @ columns[:first].T
        products[first:last, first:last] += rows @ rows.T  # which NumPy does in half the time


def _mirror(products: FloatArray) -> None:
    """Copy the lower triangle into the upper one, block by block."""
    for start in range(0, len(products), SLAB):
        stop = start + SLAB
        products[start:stop, stop:] = products[stop:, start:stop].T
        square = products[start:stop, start:stop]
        square[...] = np.tril(square) + np.tril(square, -1).T
