"""A symmetric positive definite matrix becomes the map from slopes to the coefficients that would level them.

It is factored once, and serves every step of a search until the curvature of the loss has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fusion_pipeline.train.solvers.blas import RealArray

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

    solve: Callable[[RealArray], RealArray]
    look: Callable[[RealArray, RealArray], RealArray]

    def __call__(self, slopes: RealArray) -> RealArray:
        """Return the coefficients (size, n_outputs) of slopes (size, n_outputs)."""
        return self.solve(slopes)


def roots_of(weights: RealArray) -> RealArray:
    """Return the square roots (n,) of rows' weights (n,), none of them nearly zero beside the others."""
    return np.asarray(np.sqrt(np.maximum(weights, LEAST_WEIGHT * weights.mean())))


def raised(penalty: float, diagonal: RealArray) -> float:
    """Return the penalty, but no less than rounding is likely to take from a matrix (n, n) with this diagonal."""
    rounding = float(np.finfo(diagonal.dtype).eps) * float(np.sqrt(len(diagonal)))
    return max(penalty, rounding * float(diagonal.max()))
