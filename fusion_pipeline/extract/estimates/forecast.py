"""The recipe of a store, the images and a cache into how much of the store is there, before an image is opened."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from fusion_pipeline.errors import DeniedError, FusionError
from fusion_pipeline.extract.options import Options
from fusion_pipeline.extract.source import find_index_of
from fusion_pipeline.extract.targets import find_store, rows_not_alike
from fusion_pipeline.images.listing import ImageListing
from fusion_pipeline.store import Cache, Store
from fusion_pipeline.store.identity import Recipe, digest, recipe_of, store_identity
from fusion_pipeline.store.layout import GroupEncoder
from fusion_pipeline.store.making.known import made_alike, readable_stores
from fusion_pipeline.store.making.unfinished import (
    attempts_alike,
    describe_attempt,
    finished_rows,
    refuse_other_recipe,
    rows_made_with,
)
from fusion_pipeline.store.paths import store_folder

ANY_WEIGHTS = ""
"""What the recipe of a backbone has in place of a sha256 as long as its weights are not at hand."""


class State(enum.StrEnum):
    """How far a store is, for images with the names that they have."""

    PUBLISHED = "published"
    PARTLY = "partly done"
    MISSING = "to be computed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Outlook:
    """What a cache has of a store.

    Parameters
    ----------
    state : State
        Unknown where the weights are not at hand and a store is published that may have been made with them.
    left : int
        Rows to compute, as far as the images' names tell.
    unfinished : int
        Rows that a run which was stopped, or is under way, has written for this list of images.
    reusable : int
        Rows that such runs have written for another list, or of images with these names in published stores.
    unlike : int
        Rows that no store of the data set that was made alike can have: what the choice of an engine goes by.
    made : tuple of mapping
        With what a run that was stopped, or is under way, has made rows: who goes on with it takes the same.
    store : Store or None
        The published one.
    """

    state: State
    left: int
    unfinished: int = 0
    reusable: int = 0
    unlike: int = 0
    made: tuple[Mapping[str, Any], ...] = ()
    store: Store | None = None


@dataclass(frozen=True)
class PlannedArray:
    """One array of a store that is to be made, or is there.

    Parameters
    ----------
    name : str
    shape : tuple of int
    dtype : str
    stored_bytes : int
        Length of its chunk files: the last chunk has the full shape too.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    stored_bytes: int

    @property
    def n_bytes(self) -> int:
        """Length of its values in bytes.

        Examples
        --------
        >>> PlannedArray("features", (1360, 2048), "float16", 6_291_468).n_bytes
        5570560
        """
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


class Forecaster:
    """Looks up stores in a cache, and only reads there.

    Parameters
    ----------
    cache : Cache
    folder : ImageListing
        The images.
    options : Options
        How the run would go.
    """

    def __init__(self, cache: Cache, folder: ImageListing, options: Options) -> None:
        self._cache = cache
        self._folder = folder
        self._options = options
        self._index = find_index_of(cache, folder)
        self._published = readable_stores(cache)

    def look_up(self, name: str, recipe: Recipe) -> Outlook:
        """Return what the cache has of a store.

        Parameters
        ----------
        name : str
            The store's name.
        recipe : mapping
            How it is made; with `ANY_WEIGHTS` it is at best unknown.

        Raises
        ------
        IntegrityError
            If it is published, and files of it are missing or cut short.
        StaleError
            If a stopped run left one that was made otherwise, unless the options allow that.
        """
        if recipe.get("weights") == ANY_WEIGHTS:
            return self._look_up_unweighted(recipe)
        if self._index is not None:
            key = digest(store_identity(recipe, self._index.manifest.dataset))
            if (store := find_store(self._cache, store_folder(self._folder.name, name, key))) is not None:
                return Outlook(State.PUBLISHED, 0, store=store)
        if not self._options.anew:
            refuse_other_recipe(self._cache.backend, self._folder.name, name, recipe)
        return self._look_for_rows(recipe)

    def _look_for_rows(self, recipe: Recipe) -> Outlook:
        rows, alike = len(self._folder), made_alike(self._published, recipe)
        unfinished, made, elsewhere = self._in_attempts(recipe)
        reusable = max(min(elsewhere, rows), self._in_stores(alike))
        # Which rows these have in common is not known without the images' hashes.
        left = rows - max(unfinished, reusable)
        state = State.PARTLY if left < rows else State.MISSING
        return Outlook(state, left, unfinished, reusable, rows_not_alike(rows, alike, self._folder.name), made)

    def _look_up_unweighted(self, recipe: Recipe) -> Outlook:
        version = None if self._index is None else self._index.manifest.dataset
        for store in self._published:
            same = {**recipe_of(store.identity), "weights": ANY_WEIGHTS} == dict(recipe)
            if same and store.dataset == self._folder.name and store.manifest.dataset == version:
                return Outlook(State.UNKNOWN, len(self._folder), unlike=len(self._folder))
        return Outlook(State.MISSING, len(self._folder), unlike=len(self._folder))

    def _in_attempts(self, recipe: Recipe) -> tuple[int, tuple[Mapping[str, Any], ...], int]:
        """Return the rows of the attempt that would be gone on with, what made them, and the rows of the next best."""
        backend, own, most = self._cache.backend, 0, 0
        made: list[Mapping[str, Any]] = []
        for folder in attempts_alike(backend, self._folder.name, recipe):
            with suppress(DeniedError):  # another member's, who keeps it private
                rows = finished_rows(backend, folder)
                if self._goes_on_with(describe_attempt(backend, folder)):
                    own = max(own, rows)
                    made += rows_made_with(backend, folder)
                else:
                    most = max(most, rows)
        return own, tuple(made), most

    def _goes_on_with(self, stated: Mapping[str, Any]) -> bool:
        now = (self._folder.listing, len(self._folder), self._options.partition_rows)
        return (stated.get("listing"), stated.get("rows"), stated.get("partition_rows")) == now

    def _in_stores(self, alike: Sequence[Store]) -> int:
        """Return how many of the images have a namesake with a good row in stores made alike."""
        known: set[bytes] = set()
        for store in alike:
            if store.dataset != self._folder.name:
                continue
            with suppress(FusionError):  # its rows are computed then
                known.update(path for path, code in zip(store.sample_paths, store.status, strict=True) if not code)
        return len(known.intersection(self._folder.paths))


def planned_arrays(encoder: GroupEncoder) -> tuple[PlannedArray, ...]:
    """Return the arrays of a store that is to be made."""
    return tuple(
        PlannedArray(name, spec.shape(encoder.rows), spec.dtype, encoder.stored_bytes(name))
        for name, spec in encoder.specs.items()
    )


def published_arrays(store: Store) -> tuple[PlannedArray, ...]:
    """Return the arrays of a published store.

    Raises
    ------
    IntegrityError, RefusedError
        If one of them is not what was published.
    """
    files = {name: entry.length for name, entry in store.manifest.files.items()}
    return tuple(_published_array(store, name, files) for name in store.array_names)


def _published_array(store: Store, name: str, files: Mapping[str, int]) -> PlannedArray:
    array = store.array(name)
    stored = sum(length for file, length in files.items() if file.startswith(f"{name}/c/"))
    return PlannedArray(name, array.shape, str(array.dtype), stored)
