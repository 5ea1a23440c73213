"""Features and ImageNet probabilities become what one expert sees of each row, and the expert that learns from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.train.concat_expert import fit_concat
from fusion_pipeline.train.experts import DEFAULT_ALPHAS, ExpertFit, Standardiser, fit_expert
from fusion_pipeline.train.labels.space import LabelSpace

IntArray = NDArray[np.int64]
Matrix = NDArray[np.floating]


@dataclass(frozen=True)
class ExpertView:
    """What one expert sees of some rows.

    Attributes
    ----------
    backbones : tuple of str
        Whose features.
    sizes : tuple of int
        Number of features of each of them.
    seen : ndarray (n, sum of sizes, and what stands for labels), any float
    space : LabelSpace or None
        What stands for labels.

    Examples
    --------
    >>> ExpertView.of_all({"a": np.array([[1.0, 2.0]]), "b": np.array([[3.0]])}).seen
    array([[1., 2., 3.]])
    """

    backbones: tuple[str, ...]
    sizes: tuple[int, ...]
    seen: Matrix
    space: LabelSpace | None = None

    @classmethod
    def of_one(
        cls, backbone: str, features: Matrix, space: LabelSpace | None = None, imagenet: Matrix | None = None
    ) -> ExpertView:
        """Return the view of one backbone's expert: its features and, with a label space, its ImageNet classes."""
        seen = features if space is None or imagenet is None else space(features, imagenet)
        return cls((backbone,), (features.shape[1],), seen, space)

    @classmethod
    def of_all(cls, features: Mapping[str, Matrix]) -> ExpertView:
        """Return the view of the expert on all features side by side; it sees no labels."""
        sizes = tuple(matrix.shape[1] for matrix in features.values())
        return cls(tuple(features), sizes, np.concatenate(list(features.values()), axis=1))

    def take(self, rows: IntArray) -> ExpertView:
        """Return the view of some rows."""
        return replace(self, seen=self.seen[rows])

    def fit(
        self,
        labels: IntArray,
        n_classes: int,
        seed: int,
        alphas: Sequence[float] = DEFAULT_ALPHAS,
        groups: IntArray | None = None,
    ) -> ExpertFit:
        """Fit the expert on these rows; parameters as of `fit_expert`."""
        if len(self.backbones) > 1:
            return fit_concat(self.seen, self.sizes, labels, n_classes, seed, alphas, groups)
        scalings = (Standardiser.fit,) if self.space is None else self.space.scalings(self.sizes[0])
        return fit_expert(self.seen, labels, n_classes, seed, alphas, scalings, groups)
