"""The index of a data set, as a store that an extraction ends with."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fusion_pipeline.extract import producers
from fusion_pipeline.extract.loading.preparation import Preparation, Squares
from fusion_pipeline.extract.targets import Target
from fusion_pipeline.images.decode import DecodeBudget
from fusion_pipeline.images.listing import ImageListing
from fusion_pipeline.images.thumbnails import THUMBNAIL_SIZES
from fusion_pipeline.store.identity import Recipe
from fusion_pipeline.store.layout import CLASS_NAMES, COLUMN_NAMES, ArraySpec, index_arrays


class IndexTarget(Target):
    """The index store of a data set: who each row is, and its thumbnails.

    Parameters
    ----------
    folder : ImageListing
        The images.
    budget : DecodeBudget
        What an image may cost.
    """

    name = "index"
    kind = "index"

    def __init__(self, folder: ImageListing, budget: DecodeBudget) -> None:
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

    def specs(self, folder: ImageListing) -> tuple[ArraySpec, ...]:
        """Return the arrays of an index."""
        return index_arrays(len(folder), sum(map(len, folder.paths)), THUMBNAIL_SIZES, folder.columns)

    def attributes(self) -> Mapping[str, Any]:
        """Return the class names, and those of splits and groups."""
        names = {COLUMN_NAMES[column]: _distinct(texts) for column, texts in self._folder.columns.items()}
        return {CLASS_NAMES: list(self._folder.class_names), **names}

    def whole_arrays(self, sha256: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Return paths, labels and the files' sha256, and splits and groups."""
        columns = {column: _positions(texts) for column, texts in self._folder.columns.items()}
        return {**producers.path_arrays(self._folder.paths, sha256, self._folder.labels), **columns}


def _distinct(texts: Sequence[str]) -> list[str]:
    return sorted(set(texts), key=os.fsencode)


def _positions(texts: Sequence[str]) -> np.ndarray:
    position = {text: number for number, text in enumerate(_distinct(texts))}
    return np.array([position[text] for text in texts], dtype=np.int32)
