"""The index of a data set, as a store that an extraction ends with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fusion_pipeline.extract import producers
from fusion_pipeline.extract.preparation import Preparation, Squares
from fusion_pipeline.extract.targets import Target
from fusion_pipeline.images.decode import DecodeBudget
from fusion_pipeline.images.index import ImageFolder
from fusion_pipeline.images.thumbnails import THUMBNAIL_SIZES
from fusion_pipeline.store.identity import Recipe
from fusion_pipeline.store.layout import CLASS_NAMES, ArraySpec, index_arrays


class IndexTarget(Target):
    """The index store of a data set: who each row is, and its thumbnails.

    Parameters
    ----------
    folder : ImageFolder
        The images.
    budget : DecodeBudget
        What an image may cost.
    """

    name = "index"
    kind = "index"

    def __init__(self, folder: ImageFolder, budget: DecodeBudget) -> None:
        super().__init__(budget)
        self._folder = folder
        self._producer = producers.ThumbnailProducer()

    @property
    def recipe(self) -> Recipe:
        """How the index is made, whatever the images."""
        return producers.index_recipe(self._budget)

    @property
    def producer(self) -> producers.Producer:
        """Who makes its thumbnails."""
        return self._producer

    @property
    def preparation(self) -> Preparation:
        """What makes its thumbnails."""
        return Squares()

    def specs(self, folder: ImageFolder) -> tuple[ArraySpec, ...]:
        """Return the arrays of an index."""
        return index_arrays(len(folder), sum(map(len, folder.paths)), THUMBNAIL_SIZES)

    def attributes(self) -> Mapping[str, Any]:
        """Return the class names."""
        return {CLASS_NAMES: list(self._folder.class_names)}

    def whole_arrays(self, sha256: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Return paths, labels and the files' sha256."""
        return producers.path_arrays(self._folder.paths, sha256, self._folder.labels)
