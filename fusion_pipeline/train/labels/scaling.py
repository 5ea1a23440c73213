"""Blocks of columns become alike in spread, so that one penalty serves all of them.

The features of a backbone are standardised column by column. What stands for labels is not: most ImageNet classes are
named for a few images only, and dividing such a column by its tiny deviation would let these images shout. A block of
labels is shifted to mean 0 and divided by one number, which keeps its geometry, so that its variances sum to a given
share of those of the features. The share says how much the penalty trusts labels; inner folds choose it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.train.experts import Standardiser


@dataclass(frozen=True)
class BlockScaling:
    """Standardises the columns of a first block, and scales each further block as one.

    Attributes
    ----------
    sizes : tuple of int
        Number of columns of each block.
    share : float
        Sum of the variances of each further block, over that of the first.

    Examples
    --------
    >>> rows = np.array([[1.0, 0.0, 5.0], [3.0, 1.0, 5.0]])
    >>> BlockScaling((1, 2), 0.25)(rows)(rows)
    array([[-1. , -0.5,  0. ],
           [ 1. ,  0.5,  0. ]])
    """

    sizes: tuple[int, ...]
    share: float

    def __call__(self, features: NDArray[np.floating]) -> Standardiser:
        """Return what makes the blocks of `features` (n, sum of `sizes`) alike, and does the same to other rows."""
        if features.shape[1] != sum(self.sizes):
            raise ValueError(f"Blocks of {self.sizes} columns do not make {features.shape[1]}.")
        first, *others = np.split(np.asarray(features, dtype=np.float64), np.cumsum(self.sizes)[:-1], axis=1)
        standardiser = Standardiser.fit(first)
        total = float(standardiser(first).var(axis=0).sum())
        means, scales = [standardiser.mean], [standardiser.scale]
        for block in others:
            spread = float(block.var(axis=0).sum())
            # A block that never varies tells nothing, and is left as it is, as a constant column is.
            scale = np.sqrt(spread / (self.share * total)) if spread > 0 and total > 0 else 1.0
            means.append(block.mean(axis=0))
            scales.append(np.full(block.shape[1], scale))
        return Standardiser(np.concatenate(means), np.concatenate(scales))
