"""Matrix products by the BLAS that SciPy's factorisations run on, in float64 or float32.

NumPy's wheels and SciPy's each bring a BLAS with threads of its own, which spin for a while on the processors that the
other's need: on two processors a triangular solve after a product by NumPy takes twice as long, and a product by NumPy
after the solve too. A search alternates between them, so it takes all from one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor
from scipy.linalg.blas import get_blas_funcs

from fusion_pipeline.train.solvers.gram import FloatArray

RealArray = NDArray[np.floating[Any]]
"""float64, or float32 while a search is far from its optimum."""


def double(array: RealArray) -> FloatArray:
    """Return the array in float64: itself, if that is what it is."""
    return np.asarray(array, dtype=np.float64)


def product(left: RealArray, right: RealArray) -> RealArray:
    """Return left @ right, in C order.

    Parameters
    ----------
    left : ndarray (n, k)
        In C order, or the transpose of such a matrix: others are copied.
    right : ndarray (k, m)
        Of the same type.

    Examples
    --------
    >>> product(np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]]))
    array([[11.]])
    """
    # BLAS goes by columns: it is given both transposed, and so is what it returns.
    (first, turned_first), (second, turned_second) = _by_columns(right.T), _by_columns(left.T)
    multiply = get_blas_funcs("gemm", (first, second))
    return np.asarray(multiply(1.0, first, second, trans_a=turned_first, trans_b=turned_second).T)


def _by_columns(matrix: RealArray) -> tuple[RealArray, bool]:
    return (matrix, False) if matrix.flags.f_contiguous else (matrix.T, True)


def inner(left: RealArray, right: RealArray) -> float:
    """Return the sum of the products of all entries of two arrays of one shape and type.

    Examples
    --------
    >>> inner(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]))
    11.0
    """
    return float(get_blas_funcs("dot", (left, right))(left.ravel(), right.ravel()))


def scatter(rows: RealArray, roots: RealArray, slab: int) -> RealArray:
    """Return the lower triangle of X' D^2 X, in LAPACK's order, without a second copy of the rows.

    Parameters
    ----------
    rows : ndarray (n, k)
        X.
    roots : ndarray (n,)
        The diagonal of D.
    slab : int
        How many rows are multiplied with their roots at a time.
    """
    found = np.zeros((rows.shape[1], rows.shape[1]), dtype=rows.dtype, order="F")
    update = get_blas_funcs("syrk", (found,))
    for start in range(0, len(rows), slab):
        weighted = rows[start : start + slab] * roots[start : start + slab, None]
        found = update(1.0, weighted.T, beta=1.0, c=found, lower=1, overwrite_c=1)
    return found


def solver(matrix: RealArray) -> Callable[[RealArray], RealArray]:
    """Return the map from B to matrix^-1 B; the lower triangle of `matrix`, in LAPACK's order, is overwritten.

    B and what becomes of it are in C order. LAPACK's own solver takes longer: it has no blocks.
    """
    factor, _ = cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)
    halve = get_blas_funcs("trsm", (factor,))

    def solve(sides: RealArray) -> RealArray:
        half = halve(1.0, factor, np.array(sides, order="F"), lower=1, overwrite_b=1)
        return np.ascontiguousarray(halve(1.0, factor, half, lower=1, trans_a=1, overwrite_b=1))

    return solve
