"""A symmetric positive definite matrix becomes the map from slopes to the coefficients that would level them.

It is factored once, and serves every step of a search until the curvature of the loss has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor
from scipy.linalg.blas import dtrsm

from fusion_pipeline.train.solvers.gram import FloatArray

LEAST_WEIGHT = 1e-3
"""Rows that matter less than this share of the average row still count as much: a preconditioner divides by them."""


@dataclass(frozen=True)
class Preconditioner:
    """A map from slopes to the coefficients (X' diag(weights) X + penalty I)^-1 slopes.

    Attributes
    ----------
    solve : callable
        The map.
    look : callable
        From slopes, and what `solve` made of them, to the values of the latter: often cheaper than `Space.values`.
    """

    solve: Callable[[FloatArray], FloatArray]
    look: Callable[[FloatArray, FloatArray], FloatArray]

    def __call__(self, slopes: FloatArray) -> FloatArray:
        """Return the coefficients (size, n_outputs) of slopes (size, n_outputs)."""
        return self.solve(slopes)


def solver(matrix: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """Return the map from B to matrix^-1 B; the lower triangle of `matrix`, in LAPACK's order, is overwritten.

    B keeps its order in memory: LAPACK's own solver would hand back columns where everything else goes by rows.
    """
    factor, _ = cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)

    def solve(sides: FloatArray) -> FloatArray:
        half = dtrsm(1.0, factor, sides.T, side=1, lower=1, trans_a=1)
        return np.asarray(dtrsm(1.0, factor, half, side=1, lower=1, overwrite_b=1).T)

    return solve


def roots_of(weights: FloatArray) -> FloatArray:
    """Return the square roots (n,) of rows' weights (n,), none of them nearly zero beside the others."""
    return np.asarray(np.sqrt(np.maximum(weights, LEAST_WEIGHT * weights.mean())))
