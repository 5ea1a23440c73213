"""A training part becomes principal component scores of its rows and of held-out ones.

With a part that is centred on its training rows these are scikit-learn's ``PCA`` scores, but for signs: no held-out row
has a say in the components.
"""

from __future__ import annotations

from fusion_pipeline.train.solvers.eigenbasis import Eigenbasis
from fusion_pipeline.train.solvers.gram import FloatArray
from fusion_pipeline.train.solvers.parts import Part

COMPONENTS = 1000
"""The paper's number."""

# The exact decomposition takes time with the cube of the size, and is the faster one for small parts.
_SMALL = 2000


def pca_scores(part: Part, seed: int, components: int = COMPONENTS) -> tuple[FloatArray, FloatArray]:
    """Return the scores of training rows (n, k) and held-out rows (m, k), float64.

    Parameters
    ----------
    part : Part
        Centred.
    seed : int
        Of the randomised search that is used for large parts; see `Eigenbasis`.
    components : int
        k is the least of this, n - 1, and the number of directions in which training rows vary.

    Returns
    -------
    tuple of ndarray
        Components come from the greatest variance to the least. In each, the training row furthest from zero has a
        positive score.

    Examples
    --------
    >>> import numpy as np
    >>> from fusion_pipeline.train.solvers.rows import hold
    >>> rows = hold([np.array([[0.0, 0.0, 1.0], [2.0, 0.0, 1.0], [5.0, 3.0, 1.0]])])
    >>> pca_scores(rows.part(np.array([0, 1]), np.array([2])), seed=0)[1].round(6)
    array([[-4.]])
    """
    wanted = min(components, part.n - 1)
    if part.size <= _SMALL or 2 * wanted > part.size:
        basis = Eigenbasis.exact(part, wanted)
    else:
        basis = Eigenbasis.randomised(part, wanted, seed)
    return basis.scores, part.held_out(basis.axes)
