"""The recipe of a store, the images and a cache into how much of the store is there, before an image is opened."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from fusion_pipeline.errors import DeniedError, FusionError
from fusion_pipeline.extract.source import find_index_of
from fusion_pipeline.extract.targets import find_store, rows_not_alike
from fusion_pipeline.images.listing import ImageListing
from fusion_pipeline.store import Cache, Store
from fusion_pipeline.store.identity import Recipe, digest, recipe_of, store_identity
from fusion_pipeline.store.layout import GroupEncoder
from fusion_pipeline.store.making.known import made_alike, readable_stores
from fusion_pipeline.store.making.unfinished import attempts_alike, finished_rows, refuse_other_recipe
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
        Rows that a run which was stopped, or is under way, has written.
    reusable : int
        Rows of images with these names, in published stores made alike.
    unlike : int
        Rows that no store made alike can have: what the choice of an engine goes by.
    store : Store or None
        The published one.
    """

    state: State
    left: int
    unfinished: int = 0
    reusable: int = 0
    unlike: int = 0
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
    anew : bool
        Whether what a stopped run left that was made otherwise is no reason to stop.
    """

    def __init__(self, cache: Cache, folder: ImageListing, *, anew: bool = False) -> None:
        self._cache = cache
        self._folder = folder
        self._anew = anew
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
            If a stopped run left one that was made otherwise, unless `anew`.
        """
        if recipe.get("weights") == ANY_WEIGHTS:
            return self._look_up_unweighted(recipe)
        if self._index is not None:
            key = digest(store_identity(recipe, self._index.manifest.dataset))
            if (store := find_store(self._cache, store_folder(self._folder.name, name, key))) is not None:
                return Outlook(State.PUBLISHED, 0, store=store)
        if not self._anew:
            refuse_other_recipe(self._cache.backend, self._folder.name, name, recipe)
        return self._look_for_rows(recipe)

    def _look_for_rows(self, recipe: Recipe) -> Outlook:
        rows, alike = len(self._folder), made_alike(self._published, recipe)
        unfinished = min(self._unfinished(recipe), rows)
        reusable = self._reusable([store for store in alike if store.dataset == self._folder.name])
        # Which rows the two have in common is not known without the images' hashes.
        left = rows - max(unfinished, reusable)
        state = State.PARTLY if left < rows else State.MISSING
        return Outlook(state, left, unfinished, reusable, rows_not_alike(rows, alike))

    def _look_up_unweighted(self, recipe: Recipe) -> Outlook:
        version = None if self._index is None else self._index.manifest.dataset
        for store in self._published:
            same = {**recipe_of(store.identity), "weights": ANY_WEIGHTS} == dict(recipe)
            if same and store.dataset == self._folder.name and store.manifest.dataset == version:
                return Outlook(State.UNKNOWN, len(self._folder), unlike=len(self._folder))
        return Outlook(State.MISSING, len(self._folder), unlike=len(self._folder))

    def _unfinished(self, recipe: Recipe) -> int:
        """Return the rows of the attempt that has most of them."""
        backend, most = self._cache.backend, 0
        for folder in attempts_alike(backend, self._folder.name, recipe):
            with suppress(DeniedError):  # another member's, who keeps it private
                most = max(most, finished_rows(backend, folder))
        return most

    def _reusable(self, alike: Sequence[Store]) -> int:
        """Return how many of the images have a namesake with a good row in stores made alike."""
        known: set[bytes] = set()
        for store in alike:
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
