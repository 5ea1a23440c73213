"""Features become points in the plane that keep neighbours together: Figure 6 of the paper, E to I."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

FloatArray = NDArray[np.float64]

PERPLEXITY = 30
"""The paper's, as far as there are images enough."""

# Up to here every pair of images is looked at, which takes seconds; beyond, neighbours are.
_EXACT = 600

_FEWEST = 4


def project(features: NDArray[np.floating], seed: int = 0) -> FloatArray:
    """Return the t-SNE projection of features, the same bytes for the same features and seed.

    It starts from the first two principal components, and runs on one thread: sums in another order would drift apart.

    Parameters
    ----------
    features : ndarray (n, n_features), any float
    seed : int
        Of what is left to chance.

    Returns
    -------
    ndarray (n, 2), float64
        Of fewer than 4 images, which have no neighbourhoods, the principal components themselves.

    Examples
    --------
    >>> features = np.random.default_rng(0).normal(size=(20, 5))
    >>> points = project(features)
    >>> points.shape, bool((points == project(features)).all())
    ((20, 2), True)
    """
    values = features.astype(np.float64)
    with threadpool_limits(1):
        start = _principal_components(values)
        if len(values) < _FEWEST or not start.any():
            return start
        projection = TSNE(
            perplexity=min(PERPLEXITY, (len(values) - 1) / 3),
            # As scikit-learn scales a start of its own.
            init=(start / start[:, 0].std() * 1e-4).astype(np.float32),
            learning_rate="auto",
            method="exact" if len(values) <= _EXACT else "barnes_hut",
            random_state=seed,
        )
        points: FloatArray = projection.fit_transform(values).astype(np.float64)
    return points


def _principal_components(values: FloatArray) -> FloatArray:
    """Return the first two components, (n, 2): zeros where there are fewer; signs are fixed by the largest value."""
    left, lengths, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    found = (left * lengths)[:, :2]
    found = np.pad(found, ((0, 0), (0, 2 - found.shape[1])))
    largest = np.take_along_axis(found, np.abs(found).argmax(axis=0)[None], axis=0)
    return np.where(largest < 0, -found, found)
