"""The stores of several backbones for one version of the images become matrices whose rows are the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.errors import StaleError, UnusableDataError, UsageError, printable
from fusion_pipeline.store import layout
from fusion_pipeline.store.reader import Store, StoreRef
from fusion_pipeline.train.experts import first_not_finite

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Aligned:
    """Names the stores of K backbones whose row i is the same image; tasks carry this, never arrays.

    Attributes
    ----------
    backbones : tuple of str
        In the order of the experts.
    refs : tuple of StoreRef
        One per backbone, each with the digest of its manifest.
    """

    backbones: tuple[str, ...]
    refs: tuple[StoreRef, ...]

    @classmethod
    def of(cls, stores: Sequence[Store]) -> Aligned:
        """Return the record of `stores`, in their order.

        Raises
        ------
        UsageError
            If there is no store, or two of one backbone.
        StaleError
            If two stores belong to different versions of the images.
        """
        if not stores:
            raise UsageError("There is no store to train from. Run 'fusion extract' first, or name a backbone.")
        backbones = tuple(store.name for store in stores)
        for name in backbones:
            if backbones.count(name) > 1:
                raise UsageError(f"Backbone '{printable(name)}' was given {backbones.count(name)} times. Name it once.")
        for store in stores[1:]:
            _check_same_version(stores[0], store)
        return cls(backbones, tuple(store.ref for store in stores))

    def open(self) -> AlignedStores:
        """Open the stores for reading."""
        return AlignedStores(self.backbones, tuple(Store.open(ref) for ref in self.refs))


def _check_same_version(first: Store, other: Store) -> None:
    versions = [str(store.identity["dataset"]) for store in (first, other)]
    if versions[0] == versions[1] and first.rows == other.rows:
        return
    raise StaleError(
        f"Stores '{printable(first.name)}' ({first.rows} rows of {versions[0]}) and '{printable(other.name)}' "
        f"({other.rows} rows of {versions[1]}) belong to different versions of the images. "
        "Run 'fusion extract' again for the older one."
    )


@dataclass(frozen=True)
class AlignedStores:
    """Opened stores, seen through the rows that are usable in all of them.

    Attributes
    ----------
    backbones : tuple of str
    stores : tuple of Store
    """

    backbones: tuple[str, ...]
    stores: tuple[Store, ...]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in the order of the labels."""
        return self.stores[0].class_names

    @cached_property
    def usable_rows(self) -> IntArray:
        """Rows (m,) int64 that every store and the index could decode."""
        good = self.stores[0].index.status == 0
        for store in self.stores:
            good = good & (store.status == 0)
        return np.flatnonzero(good)

    @cached_property
    def labels(self) -> IntArray:
        """Labels (m,) int64 of the usable rows."""
        return np.asarray(self.stores[0].labels[self.usable_rows], dtype=np.int64)

    @property
    def sample_ids(self) -> tuple[str, ...]:
        """Sample ids of the usable rows."""
        names = self.stores[0].sample_ids
        return tuple(names[row] for row in self.usable_rows)

    @property
    def groups(self) -> IntArray | None:
        """Group numbers (m,) int64 of the usable rows, as the data set's manifest names them; None if it does not.

        A row without a group is one for itself.
        """
        named = self.stores[0].index.groups
        if named is None:
            return None
        own = [named[row] or f"\0{row}" for row in self.usable_rows]
        return np.asarray(np.unique(own, return_inverse=True)[1], dtype=np.int64)

    def features(self, backbone: str) -> NDArray[np.floating]:
        """Return the features (m, n_features) of the usable rows, in the dtype of the store.

        Raises
        ------
        UnusableDataError
            If a value is NaN or infinite, naming the backbone and the image.
        """
        store = self.stores[self.backbones.index(backbone)]
        features = store.read(layout.FEATURES)[self.usable_rows]
        row = first_not_finite(features)
        if row is not None:
            raise UnusableDataError(
                f"Features of '{printable(backbone)}' for image '{printable(self.sample_ids[row])}' are not finite. "
                "Run 'fusion cache verify', then extract this backbone again."
            )
        return features

    def imagenet(self, backbone: str) -> NDArray[np.floating]:
        """Return the ImageNet probabilities (m, n_imagenet_classes) of the usable rows, in the dtype of the store.

        Raises
        ------
        IncompleteError
            If the backbone knows no ImageNet classes.
        """
        return self.stores[self.backbones.index(backbone)].read(layout.PROBABILITIES)[self.usable_rows]

    @property
    def imagenet_classes(self) -> int:
        """Number of ImageNet classes, as the first backbone knows them."""
        return int(self.stores[0].probabilities.shape[1])

    def fetch(self, thumbnail_size: int | None = None, *, imagenet: bool = False) -> None:
        """Fetch what tasks will read into the place for copies, if there is one, lest every task fetches it.

        Parameters
        ----------
        thumbnail_size : int, optional
            Of the thumbnails that gates look at.
        imagenet : bool
            Whether experts look at ImageNet probabilities.
        """
        for store in self.stores:
            store.fetch(layout.FEATURES)
            if imagenet:
                store.fetch(layout.PROBABILITIES)
        if thumbnail_size is not None:
            self.stores[0].index.fetch(layout.THUMBNAILS.format(size=thumbnail_size))

    def thumbnails(self, size: int) -> NDArray[np.uint8]:
        """Return the thumbnails (m, size, size, 3), uint8, of the usable rows."""
        return self.stores[0].index.read(layout.THUMBNAILS.format(size=size))[self.usable_rows]
