"""A data set of a cache becomes plain matrices in memory, its folds, and a clock for what is fitted on them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from fusion_pipeline import Cache
from fusion_pipeline.errors import IncompleteError
from fusion_pipeline.train.aligned import Aligned
from fusion_pipeline.train.folds import INNER_FOLDS, Split
from fusion_pipeline.train.grouping import find_groups
from fusion_pipeline.train.labels.vectors import read_label_vectors
from fusion_pipeline.train.run import choose_stores

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]
Fold = tuple[Ints, Ints]

THUMBNAILS = (32, 64)


@dataclass(frozen=True)
class Data:
    """One data set in memory: the stored numbers in float32, as scikit-learn and torch compute with them.

    Parameters
    ----------
    name : str
    features, imagenet : dict of str to ndarray (n, width)
        By backbone.
    thumbnails : dict of int to ndarray (n, size, size, 3), uint8
        By size.
    vectors : ndarray (1000, dimension) or None
        GloVe vectors of the ImageNet classes; None where there are none.
    labels, groups : ndarray (n,)
        Images of one group are near-duplicates.
    folds : sequence of (train, test)
        Those of ``fusion benchmark``.
    seed : int
    """

    name: str
    features: dict[str, Floats]
    imagenet: dict[str, Floats]
    thumbnails: dict[int, NDArray[np.uint8]]
    vectors: Floats | None
    labels: Ints
    groups: Ints
    folds: Sequence[Fold]
    seed: int

    @property
    def n_classes(self) -> int:
        """Classes are 0 to this number."""
        return int(self.labels.max()) + 1

    @property
    def feature_bytes(self) -> int:
        """All features in float32."""
        return sum(4 * matrix.size for matrix in self.features.values())

    def inner_folds(self, train: Ints, most: int = INNER_FOLDS) -> list[Fold]:
        """Split training rows again; the folds are positions in `train`."""
        labels, groups = self.labels[train], self.groups[train]
        number = max(2, min(most, int(np.bincount(labels).min())))
        splitter = StratifiedGroupKFold(number, shuffle=True, random_state=self.seed)
        return list(splitter.split(labels, labels, groups))


def read(cache: str, dataset: str | None, label_vectors: str | None, folds: int = 2, seed: int = 0) -> Data:
    """Read all that the rows need, once."""
    stores = Aligned.of(choose_stores(Cache(cache), dataset, ()))
    opened, groups = stores.open(), find_groups(stores, "duplicates")
    labels = opened.labels
    return Data(
        opened.stores[0].dataset,
        {name: opened.features(name).astype(np.float32) for name in opened.backbones},
        {name: opened.imagenet(name).astype(np.float32) for name in opened.backbones},
        {size: opened.thumbnails(size) for size in THUMBNAILS},
        _vectors(label_vectors),
        labels,
        np.arange(len(labels)) if groups is None else groups,
        Split(folds, seed).parts(labels, groups),
        seed,
    )


def _vectors(path: str | None) -> Floats | None:
    try:
        return read_label_vectors(path).matrix
    except IncompleteError:
        if path is not None:
            raise
        return None


class Clock:
    """Seconds of one row: those that ran, and those that all of it would take where only a part ran."""

    def __init__(self) -> None:
        self.ran = self.whole = 0.0

    @contextmanager
    def counting(self, times: float = 1.0) -> Iterator[None]:
        """Count what runs meanwhile as so many times its seconds."""
        started = time.perf_counter()
        yield
        seconds = time.perf_counter() - started
        self.ran += seconds
        self.whole += times * seconds
