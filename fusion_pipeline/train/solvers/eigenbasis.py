"""A training part becomes its principal axes: exactly, or those with the most variance by a randomised search.

The randomised search is subspace iteration (Halko, Martinsson and Tropp, 2011, algorithm 4.4) on X X' or X' X.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh, qr

from fusion_pipeline.train.solvers.blas import double
from fusion_pipeline.train.solvers.gram import FloatArray
from fusion_pipeline.train.solvers.parts import Part

# Below this share of the largest eigenvalue a direction is rounding noise.
_NOISE = 1e-13

# More directions than asked for, as a share of them, and how often they are turned towards the leading ones.
_OVERSAMPLING, _TURNS = 0.1, 3


@dataclass(frozen=True)
class Eigenbasis:
    """Orthonormal axes of the space of the rows.

    Attributes
    ----------
    variances : ndarray (r,), float64
        Sums of squares of the training rows along each axis, from the greatest; none is rounding noise.
    axes : ndarray (part.size, r), float64
        As coefficients (see `Space`): the part's values of them are the training rows' scores.
    scores : ndarray (n, r), float64
        Of the training rows. Each column's greatest absolute value, the first of equals, is positive.

    Examples
    --------
    >>> from fusion_pipeline.train.solvers.rows import hold
    >>> part = hold([np.array([[3.0, 4.0], [-3.0, -4.0], [0.0, 0.0]])]).part(np.arange(3))
    >>> basis = Eigenbasis.exact(part)
    >>> basis.variances.round(6), basis.scores.round(6).ravel()
    (array([50.]), array([ 5., -5.,  0.]))
    """

    variances: FloatArray
    axes: FloatArray
    scores: FloatArray

    @classmethod
    def exact(cls, part: Part, components: int | None = None) -> Eigenbasis:
        """Return the leading axes, or all of them, by an eigendecomposition."""
        first = 0 if components is None else max(part.size - components, 0)
        found = eigh(part.scatter(), subset_by_index=[first, part.size - 1], overwrite_a=True, check_finite=False)
        return cls._of(part, *found)

    @classmethod
    def randomised(cls, part: Part, components: int, seed: int) -> Eigenbasis:
        """Return nearly the leading axes, which hold nearly as much variance; the same ones for the same seed."""
        width = min(part.size, components + 10 + int(_OVERSAMPLING * components))
        scatter = part.scatter()
        basis = np.random.default_rng(seed).standard_normal((part.size, width))
        for _ in range(_TURNS):
            basis, _ = qr(scatter @ basis, mode="economic", overwrite_a=True, check_finite=False)
        values, inner = eigh(basis.T @ (scatter @ basis), overwrite_a=True, check_finite=False)
        return cls._of(part, values[-components:], basis @ inner[:, -components:])

    @classmethod
    def _of(cls, part: Part, values: FloatArray, vectors: FloatArray) -> Eigenbasis:
        kept = np.flatnonzero(values > _NOISE * max(float(values[-1]), np.finfo(np.float64).tiny))[::-1]
        axes = part.axes(values[kept], vectors[:, kept])
        scores = double(part.values(axes))
        greatest = np.abs(scores).argmax(axis=0)
        signs = np.where(scores[greatest, np.arange(len(kept))] < 0.0, -1.0, 1.0)
        return cls(values[kept], axes * signs, scores * signs)
