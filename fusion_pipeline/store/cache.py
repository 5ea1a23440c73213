"""A cache folder into its data sets and their published stores."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fusion_pipeline.errors import FormatError, FusionError, IncompleteError, StaleError, printable
from fusion_pipeline.store.backend import LocalBackend
from fusion_pipeline.store.identity import canonical_json
from fusion_pipeline.store.reader import Store
from fusion_pipeline.store.writer import ATTEMPTS, MANIFEST

CURRENT = "current.json"
"""File of a data set that names its current index and stores; a hint that no store depends on."""


class Cache:
    """A home of stores, by data set and backbone.

    Parameters
    ----------
    location : str or Path
        Its folder. Nothing is made before something is written.

    Raises
    ------
    FormatError
        If there is something else at `location`; it stays untouched.

    Examples
    --------
    >>> import tempfile
    >>> list(Cache(tempfile.mkdtemp()))
    []
    """

    def __init__(self, location: str | Path) -> None:
        self.backend = LocalBackend(location)
        _refuse_other_folders(self.backend)

    @property
    def location(self) -> str:
        """Where the cache is."""
        return str(self.backend)

    def __iter__(self) -> Iterator[str]:
        for name in self.backend.list(""):
            if _is_dataset(self.backend, name):
                yield name

    def __contains__(self, name: str) -> bool:
        return _is_dataset(self.backend, name)

    def __getitem__(self, name: str) -> DatasetStores:
        """Return the stores of one data set.

        Raises
        ------
        IncompleteError
            If the cache has none of it.
        """
        if name not in self:
            known = ", ".join(f"'{printable(other)}'" for other in self) or "nothing yet"
            raise IncompleteError(
                f"Cache '{printable(self.location)}' has no data set '{printable(name)}' (it has {known}). "
                "Run 'fusion extract' first, or check --cache and --dataset."
            )
        return DatasetStores(self, name)

    def __repr__(self) -> str:
        return f"Cache({self.location!r})"


class DatasetStores:
    """The published stores of one data set, of every version of its images.

    Parameters
    ----------
    cache : Cache
        The cache.
    name : str
        Name of the data set.
    """

    def __init__(self, cache: Cache, name: str) -> None:
        self.cache = cache
        self.name = name

    def stores(self) -> tuple[Store, ...]:
        """Return all published stores, the newest first.

        Raises
        ------
        IntegrityError, FormatError, RefusedError
            If the manifest of one of them cannot be read; `survey` goes on.
        """
        return _newest_first(Store(self.cache.backend, self.name, folder) for folder in self._folders())

    def survey(self) -> Iterator[tuple[str, Store | FusionError]]:
        """Yield the folder of each published store, and the store, or why it cannot be opened; the newest first."""
        unreadable: list[tuple[str, FusionError]] = []
        found: list[Store] = []
        for folder in self._folders():
            try:
                found.append(Store(self.cache.backend, self.name, folder))
            except FusionError as error:
                unreadable.append((folder, error))
        yield from ((store.folder, store) for store in _newest_first(found))
        yield from unreadable

    def indexes(self) -> tuple[Store, ...]:
        """Return the index stores, one per version of the images, the newest first."""
        return tuple(store for store in self.stores() if store.manifest.kind == "index")

    def index(self, key: str | None = None) -> Store:
        """Return the index of the current version of the images, or the one whose key begins with `key`.

        Current is the version that the last extraction saw, or the newest one where none has said so.

        Raises
        ------
        IncompleteError
            If there is none.
        """
        latest = key or self._current()["index"]
        for store in self.indexes():
            if latest is None or store.folder == latest or _hex(store.manifest.key).startswith(_hex(latest)):
                return store
        wanted = "index" if key is None else f"index '{printable(key)}'"
        instead = "Run 'fusion extract' again to finish it." if key is None else "'fusion cache ls' shows the keys."
        raise IncompleteError(
            f"Data set '{printable(self.name)}' has no finished {wanted} in cache "
            f"'{printable(self.cache.location)}'. {instead}"
        )

    def mark_current(self, index: Store, stores: Sequence[Store] = ()) -> None:
        """Make a version the current one, and stores those of their backbones, durably.

        Parameters
        ----------
        index : Store
            The index of the version.
        stores : sequence of Store
            Backbones' stores. Of others, what was current stays.

        Raises
        ------
        StorageError
            If the cache cannot be written.
        """
        before = self._current()
        now = {
            "index": index.folder,
            "stores": {**before["stores"], **{store.name: store.folder for store in stores}},
        }
        if now != before:
            self.cache.backend.write(f"{self.name}/{CURRENT}", canonical_json(now))

    def _folders(self) -> Iterator[str]:
        for folder in self.cache.backend.list(self.name):
            if folder != ATTEMPTS and self.cache.backend.exists(f"{self.name}/{folder}/{MANIFEST}"):
                yield folder

    def _current(self) -> dict[str, Any]:
        """Return the folders of the index and of each backbone's store that the last extraction saw, as far as known.

        ``index`` is None and ``stores`` empty where nothing is known or nothing is there any more.
        """
        content = self.cache.backend.read(f"{self.name}/{CURRENT}")
        try:
            stated = dict(json.loads(content or b"{}"))
            stores = dict(stated.get("stores", {}))
        except (ValueError, TypeError, RecursionError):
            stated, stores = {}, {}
        folders = set(self.cache.backend.list(self.name))

        def is_there(folder: object) -> bool:
            known = isinstance(folder, str) and folder in folders
            return known and self.cache.backend.exists(f"{self.name}/{folder}/{MANIFEST}")

        index = stated.get("index")
        return {
            "index": index if is_there(index) else None,
            "stores": {name: folder for name, folder in stores.items() if is_there(folder)},
        }

    def backbones(self, index: Store | None = None) -> tuple[str, ...]:
        """Return the sorted names of the backbones that have a store for a version (the current one by default)."""
        version = (index or self.index()).manifest.dataset
        return tuple(sorted({s.name for s in self.stores() if s.is_backbone and s.manifest.dataset == version}))

    def __getitem__(self, backbone: str) -> Store:
        """Return a backbone's store for the current version of the images."""
        return self.store(backbone)

    def store(self, backbone: str, index: Store | None = None) -> Store:
        """Return the store of a backbone for one version of the images.

        Of several stores of one backbone, made with other weights or options, it is the one that was last extracted,
        or found to be there; where that is not known, the newest.

        Parameters
        ----------
        backbone : str
            Name of the backbone, or of a store's folder where one backbone has several stores.
        index : Store, optional
            The version; the current one by default.

        Raises
        ------
        IncompleteError
            If the backbone has no store (exit code 10).
        StaleError
            If it has one, but of another version of the images (exit code 14).
        """
        index = index or self.index()
        named = [store for store in self.stores() if store.is_backbone and backbone in (store.name, store.folder)]
        fitting = [store for store in named if store.manifest.dataset == index.manifest.dataset]
        if fitting:
            current = self._current()["stores"].get(backbone)
            return next((store for store in fitting if store.folder == current), fitting[0])
        again = f"Run 'fusion extract --backbone {printable(backbone)}' with the same --data and --cache"
        if not named:
            near = difflib.get_close_matches(backbone, self.backbones(index), n=1, cutoff=0.8)
            hint = f"Did you mean '{printable(near[0])}'? If not: " if near else ""
            raise IncompleteError(
                f"Data set '{printable(self.name)}' has no finished store of backbone '{printable(backbone)}' in cache "
                f"'{printable(self.cache.location)}'. {hint}{again} to make it."
            )
        raise StaleError(
            f"Store '{named[0].folder}' belongs to another version of the images of '{printable(self.name)}' "
            f"({named[0].rows:,} images) than index '{index.folder}' ({index.rows:,} images). "
            f"{again} for the images as they are now."
        )


def _newest_first(stores: Iterable[Store]) -> tuple[Store, ...]:
    return tuple(sorted(stores, key=lambda store: (store.manifest.created, store.folder), reverse=True))


def _hex(key: str) -> str:
    return key.removeprefix("sha256:")


def _is_dataset(backend: LocalBackend, name: str) -> bool:
    if not name or "/" in name or name.startswith("."):
        return False
    folders = backend.list(name)
    if MANIFEST in folders:
        return False
    return ATTEMPTS in folders or any(backend.exists(f"{name}/{folder}/{MANIFEST}") for folder in folders)


def _refuse_other_folders(backend: LocalBackend) -> None:
    """Refuse a place that holds something else, before anything is read from it or written into it."""
    root = backend.root
    where = printable(str(root))
    if root.exists() and not root.is_dir():
        raise FormatError(f"'{where}' is a file, not a cache. Give the folder of the cache with --cache.")
    names = [name for name in backend.list("") if not name.startswith(".") and name != "README.md"]
    if MANIFEST in names:
        raise FormatError(
            f"'{where}' is a store inside a cache. Give the folder that holds its data sets with --cache."
        )
    if ATTEMPTS in names or any(backend.exists(f"{name}/{MANIFEST}") for name in names):
        raise FormatError(f"'{where}' is a data set inside a cache. Give the folder above it with --cache.")
    # An empty folder is nobody's, and may be all that a run left which was killed at its first step.
    foreign = [name for name in names if not (root / name).is_dir() or backend.list(name)]
    if foreign and not any(_is_dataset(backend, name) for name in names):
        raise FormatError(
            f"'{where}' is not a fusion cache: it holds '{printable(foreign[0])}' and no store. "
            "Give a cache, or an empty or new folder, with --cache."
        )
