"""A cache folder into its data sets and their published stores."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any

from fusion_pipeline.errors import FormatError, FusionError, IncompleteError, StaleError, printable
from fusion_pipeline.store.found import Found, newest_first
from fusion_pipeline.store.identity import canonical_json, digest
from fusion_pipeline.store.manifest import DIGEST
from fusion_pipeline.store.paths import ATTEMPTS, MANIFEST
from fusion_pipeline.store.reader import Store
from fusion_pipeline.store.storage.backend import Backend
from fusion_pipeline.store.storage.places import open_backend

CURRENT = "current.json"
"""File of a data set that names its current index and stores; a hint that no store depends on."""

_TRIES = 10


class Cache:
    """A home of stores, by data set and backbone.

    Parameters
    ----------
    location : str or Path
        Its folder, or ``s3://bucket/prefix`` (also ``gs://`` and ``az://``). Nothing is made before something is
        written.
    copy : str or Path, optional
        A folder for copies of what is read from a remote cache: every file is fetched once, and checked each time.
    single_writer : bool
        The caller vouches that nobody else writes there meanwhile: an object store that ignores conditions is taken.
    given_as : str
        How whoever reads the message gave the location, and gives another one if there is something else there.

    Raises
    ------
    FormatError
        If there is something else at `location`; it stays untouched.
    UsageError
        If nothing here speaks to such a place.
    StorageError
        If it cannot be reached.

    Examples
    --------
    >>> import tempfile
    >>> list(Cache(tempfile.mkdtemp()))
    []
    """

    def __init__(
        self,
        location: str | Path,
        *,
        copy: str | Path | None = None,
        single_writer: bool = False,
        given_as: str = "with --cache",
    ) -> None:
        self.backend = open_backend(location, single_writer=single_writer)
        self.copy = None if copy is None else open_backend(copy)
        self.single_writer = single_writer
        _refuse_other_folders(self.backend, given_as)

    @property
    def location(self) -> str:
        """Where the cache is."""
        return str(self.backend)

    def __iter__(self) -> Iterator[str]:
        for name in self.backend.entries("").folders:
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
        found = self.found()
        found.refuse(lambda _: True)
        return found.stores

    def survey(self) -> Iterator[tuple[str, Store | FusionError]]:
        """Yield the folder of each published store, and the store, or why it cannot be opened; the newest first."""
        found = self.found()
        yield from ((store.folder, store) for store in found.stores)
        yield from found.errors.items()

    def indexes(self) -> tuple[Store, ...]:
        """Return the index stores that can be opened, one per version of the images, the newest first."""
        return self.found().indexes

    def index(self, key: str | None = None) -> Store:
        """Return the index of the current version of the images, or the one whose key begins with `key`.

        Current is the version that the last extraction saw, or the newest one where none has said so.

        Raises
        ------
        IncompleteError
            If there is none.
        IntegrityError, FormatError, RefusedError
            If it may be one whose manifest cannot be read.
        """
        return self._index_of(self.found(), key)

    def _index_of(self, found: Found, key: str | None = None) -> Store:
        index = found.find_index(key)
        if index is not None:
            return index
        wanted = "index" if key is None else f"index '{printable(key)}'"
        instead = "Run 'fusion extract' again to finish it." if key is None else "'fusion cache ls' shows the keys."
        raise IncompleteError(
            f"Data set '{printable(self.name)}' has no finished {wanted} in cache "
            f"'{printable(self.cache.location)}'. {instead}"
        )

    def current(self) -> tuple[Store, ...]:
        """Return the current index, then the current store of each backbone of its version, by name.

        Raises
        ------
        IncompleteError
            If there is no index.
        IntegrityError, FormatError, RefusedError
            If one of them may be a store whose manifest cannot be read.
        """
        found = self.found()
        index = self._index_of(found)
        found.refuse_all(index)
        return (index, *found.of_version(index).values())

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
        marked = {store.name: store.folder for store in stores}
        for _ in range(_TRIES):  # others may mark theirs just now
            content = self._read_current()
            before = self._current(content)
            now = {"index": index.folder, "stores": {**before["stores"], **marked}}
            if now == before and self._is_whole(content):
                return
            replacement = canonical_json({**now, DIGEST: digest(now)})
            if self.cache.backend.swap(f"{self.name}/{CURRENT}", content, replacement):
                return
        self.cache.backend.write(f"{self.name}/{CURRENT}", replacement)

    def current_is_whole(self) -> bool:
        """Return whether the list of current stores is absent, or what was written and still true."""
        return self._is_whole(self._read_current())

    def _is_whole(self, content: bytes | None) -> bool:
        if content is None:
            return True
        try:
            stated = dict(json.loads(content))
            told = stated.pop(DIGEST, None)
            # Format 1.0 has no digest; what else stands there is then the damaged name of one.
            whole = told == digest(stated) if told is not None else len(stated) == 2
            named = {*dict(stated["stores"]).values(), stated["index"]} - {None}
        except (ValueError, TypeError, KeyError, RecursionError):
            return False
        return whole and named <= set(self.cache.backend.entries(self.name).folders)

    def forget_current(self) -> None:
        """Remove the list of current stores: the newest are current then."""
        self.cache.backend.remove_file(f"{self.name}/{CURRENT}")

    def open(self, folder: str) -> Store:
        """Return the store in a folder of the data set; IncompleteError if none is published there."""
        return Store(self.cache.backend, self.name, folder, self.cache.copy)

    def found(self) -> Found:
        """Open every store of the data set, as far as they can be read; a folder without a manifest is none."""

        def attempt(folder: str) -> Store | FusionError | None:
            try:
                return self.open(folder)
            except IncompleteError:
                return None
            except FusionError as error:
                return error

        folders = [folder for folder in self.cache.backend.entries(self.name).folders if folder != ATTEMPTS]
        # Parsing takes most of the time where reading takes none: threads would only wait for each other.
        results = map(attempt, folders) if self.cache.backend.is_local else self.cache.backend.map(attempt, folders)
        found = dict(zip(folders, results, strict=True))
        errors = {folder: error for folder, error in found.items() if isinstance(error, FusionError)}
        stores = newest_first(store for store in found.values() if isinstance(store, Store))
        current = self._current(self._read_current(), {*errors, *(store.folder for store in stores)})
        return Found(stores, errors, current["index"], current["stores"])

    def _read_current(self) -> bytes | None:
        return self.cache.backend.read(f"{self.name}/{CURRENT}")

    def _current(self, content: bytes | None, published: Set[str] | None = None) -> dict[str, Any]:
        """Return the folders of the index and of each backbone's store that the last extraction saw, as far as known.

        ``index`` is None and ``stores`` empty where nothing is known or nothing is there any more.
        """
        try:
            stated = dict(json.loads(content or b"{}"))
            if stated.pop(DIGEST, None) not in (None, digest(stated)):
                stated = {}
            stores = dict(stated.get("stores", {}))
        except (ValueError, TypeError, RecursionError):
            stated, stores = {}, {}
        folders = set(self.cache.backend.entries(self.name).folders) if published is None else published

        def is_there(folder: object) -> bool:
            known = isinstance(folder, str) and folder in folders
            return known and (published is not None or self.cache.backend.exists(f"{self.name}/{folder}/{MANIFEST}"))

        index = stated.get("index")
        return {
            "index": index if is_there(index) else None,
            "stores": {name: folder for name, folder in stores.items() if is_there(folder)},
        }

    def backbones(self, index: Store | None = None) -> tuple[str, ...]:
        """Return the sorted names of the backbones that have a store for a version (the current one by default).

        Raises
        ------
        IntegrityError, FormatError, RefusedError
            If one of them may be a store whose manifest cannot be read.
        """
        found = self.found()
        index = index or self._index_of(found)
        found.refuse_all(index)
        return tuple(found.of_version(index))

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
        IntegrityError, FormatError, RefusedError
            If it may be one whose manifest cannot be read.
        """
        found = self.found()
        index = index or self._index_of(found)
        if fitting := found.find(backbone, index):
            return fitting[0]
        named = found.named(backbone)
        again = f"Run 'fusion extract --backbone {printable(backbone)}' with the same --data and --cache"
        if not named:
            near = difflib.get_close_matches(backbone, found.of_version(index), n=1, cutoff=0.8)
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


def _is_dataset(backend: Backend, name: str) -> bool:
    if not name or "/" in name or name.startswith("."):
        return False
    found = backend.entries(name)
    if MANIFEST in found.files:
        return False
    if ATTEMPTS in found.folders or CURRENT in found.files:
        return True
    # A store that lost its manifest is one as well: verifying finds it.
    return any(
        MANIFEST in inside.files
        or any(file.endswith(".json") for file in backend.entries(f"{name}/{folder}/{ATTEMPTS}").files)
        for folder in found.folders
        if (inside := backend.entries(f"{name}/{folder}"))
    )


def _refuse_other_folders(backend: Backend, given_as: str) -> None:
    """Refuse a place that holds something else, before anything is read from it or written into it."""
    where = printable(backend.location)
    if backend.is_local and backend.length("") is not None:
        raise FormatError(f"'{where}' is a file, not a cache. Give the folder of the cache {given_as}.")
    found = backend.entries("")
    names = [name for name in found.names if not name.startswith(".") and name != "README.md"]
    if MANIFEST in names:
        raise FormatError(f"'{where}' is a store inside a cache. Give the folder that holds its data sets {given_as}.")
    if ATTEMPTS in names or CURRENT in names or any(backend.length(f"{name}/{MANIFEST}") is not None for name in names):
        raise FormatError(f"'{where}' is a data set inside a cache. Give the folder above it {given_as}.")
    # An empty folder is nobody's, and may be all that a run left which was killed at its first step.
    foreign = [name for name in names if name in found.files or backend.list(name)]
    if foreign and not any(_is_dataset(backend, name) for name in names):
        raise FormatError(
            f"'{where}' is not a fusion cache: it holds '{printable(foreign[0])}' and no store. "
            f"Give a cache, or an empty or new folder, {given_as}."
        )
