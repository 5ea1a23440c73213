"""Stores, a split and a fold become the rows that train and those that are tested, the same wherever they are asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.train.aligned import Aligned
from fusion_pipeline.train.folds import Fold, Split

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """One training part of the usable images; small enough to travel with every task.

    Attributes
    ----------
    aligned : Aligned
    split : Split
    fold : int or None
        Which part is tested; None where all rows train.
    grouping : str
        One of `fusion_pipeline.train.grouping.GROUPINGS`.
    """

    aligned: Aligned
    split: Split
    fold: int | None
    grouping: str = "none"

    @property
    def name(self) -> str:
        """What messages call this part.

        Examples
        --------
        >>> Part(Aligned((), ()), Split(2, 7), 0).name, Part(Aligned((), ()), Split(holdout="0.5"), 0).name
        ('seed 7, fold 1 of 2', 'seed 0, holdout 0.5')
        """
        if self.fold is None:
            return "all rows"
        split = self.split
        what = f"holdout {split.holdout}" if split.holdout else f"fold {self.fold + 1} of {split.folds}"
        return f"seed {split.seed}, {what}"

    def rows(self, labels: IntArray, groups: IntArray | None) -> Fold:
        """Return the training and the test rows among the usable ones, whose `labels` and `groups` are given."""
        if self.fold is None:
            return np.arange(len(labels)), np.empty(0, dtype=np.int64)
        return self.split.parts(labels, groups)[self.fold]
