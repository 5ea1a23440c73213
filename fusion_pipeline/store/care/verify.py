"""Published stores into the list of their damage: every file that is not what was published, by name."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from fusion_pipeline.errors import BrokenFileError, FusionError, RefusedError, StorageError, UsageError, printable
from fusion_pipeline.store.cache import CURRENT, DatasetStores
from fusion_pipeline.store.making.unfinished import announced
from fusion_pipeline.store.manifest import FileEntry, NewerFormatError
from fusion_pipeline.store.metadata import ArrayMetadata
from fusion_pipeline.store.paths import ATTEMPTS, MANIFEST, manifest_copy
from fusion_pipeline.store.reader import Store
from fusion_pipeline.store.storage.backend import Backend

NEWER = "newer"
"""The kind of what is not damaged, but was written by a newer version."""


@dataclass(frozen=True)
class Damage:
    """One file of a store that is not what was published.

    Parameters
    ----------
    file : str
        Its path relative to the Zarr group; of the manifest, its copy or the list of current stores, its name.
    kind : {"missing", "length", "content", "rows", "newer"}
        What is wrong with it. What a newer version wrote is not damaged, but cannot be verified either.
    """

    file: str
    kind: str


@dataclass(frozen=True)
class Subset:
    """One of n parts of all files, so that a large cache is read a part at a time.

    Examples
    --------
    >>> sum(Subset(k, 3).has("features/c/7/0") for k in (1, 2, 3))
    1
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Subset:
        """Parse ``"k/n"``.

        Raises
        ------
        UsageError
            If it is not one of n parts.
        """
        number, _, of = text.partition("/")
        if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
            raise UsageError(f"'{text}' is not a part such as 2/7: the second of seven.")
        return cls(int(number), int(of))

    def has(self, file: str) -> bool:
        """Return whether a file is in this part."""
        return zlib.crc32(file.encode()) % self.of == self.number - 1


ALL = Subset(1, 1)


@dataclass(frozen=True)
class Report:
    """What verifying one store showed.

    Parameters
    ----------
    dataset, folder : str
        Where it is; the folder is empty for what belongs to the data set as a whole.
    store : Store or None
        The store, if its manifest can be read.
    damage : sequence of Damage
    reason : str
        Why it cannot be read, where that is so.
    """

    dataset: str
    folder: str
    store: Store | None
    damage: Sequence[Damage]
    reason: str = ""

    def where(self, item: Damage) -> str:
        """Return where a damaged file lies, relative to the cache."""
        folder = "/".join(part for part in (self.dataset, self.folder) if part)
        if self.store is None or item.file == MANIFEST or item.file.startswith(f"{ATTEMPTS}/"):
            return f"{folder}/{item.file}"
        return self.store.file(item.file)


def verify_dataset(stores: DatasetStores, *, read: bool = True, subset: Subset = ALL) -> Iterator[Report]:
    """Yield a report on every store of a data set, and on what belongs to none of them.

    Parameters
    ----------
    stores : DatasetStores
        The data set.
    read, subset
        As `verify` has them.

    Yields
    ------
    Report
        The newest store first; then the stores whose manifest is damaged, or lost; then the list of the current ones,
        if it is damaged.

    Raises
    ------
    StorageError
        If the storage does not answer, or denies access: what cannot be seen is not damaged.
    """
    backend = stores.cache.backend
    for folder, found in stores.survey():
        if isinstance(found, StorageError) and not isinstance(found, BrokenFileError):
            raise found
        if isinstance(found, FusionError):
            kind = NEWER if isinstance(found, NewerFormatError) else "content"
            yield Report(stores.name, folder, None, [Damage(MANIFEST, kind)], str(found))
        else:
            yield Report(stores.name, folder, found, list(verify(found, read=read, subset=subset)))
    for folder in lost_manifests(stores):
        where = printable(backend.where(f"{stores.name}/{folder}"))
        reason = f"'{where}' lost its manifest, or was just to get it. 'fusion cache repair' restores it from its copy."
        yield Report(stores.name, folder, None, [Damage(MANIFEST, "missing")], reason)
    if not stores.current_is_whole():
        reason = "The list of the current stores is damaged, or names one that is not there; training takes the newest."
        yield Report(stores.name, "", None, [Damage(CURRENT, "content")], reason)


def verify(store: Store, *, read: bool = True, subset: Subset = ALL) -> Iterator[Damage]:
    """Yield the files of a store that are missing or not what the manifest says.

    A chunk that an array needs and the manifest does not name is missing too. If the two sums of a file contradict each
    other, the manifest is damaged, once.

    Parameters
    ----------
    store : Store
        A published store.
    read : bool
        Whether to read and hash every file; without it only their presence and lengths are looked at.
    subset : Subset
        Which part of the files to read.

    Yields
    ------
    Damage
        In the order of the file names.

    Raises
    ------
    StorageError
        If the storage does not answer, or denies access.
    """
    yield from _verify_copy(store, subset)
    prefix = store.file("")
    lengths = {file.path.removeprefix(prefix): file.length for file in store.backend.walk(prefix.rstrip("/"))}
    names = [name for name in sorted(store.manifest.files) if subset.has(name)]
    seen: set[Damage] = set()
    for found in store.backend.map(lambda name: list(_verify_file(store, name, lengths, read=read)), names):
        yield from (item for item in found if item.file != MANIFEST or item not in seen)
        seen.update(item for item in found if item.file == MANIFEST)


def lost_manifests(stores: DatasetStores) -> list[str]:
    """Return the folders of stores whose manifest is gone, or whose writer died right before it was written.

    A group that nobody announced is one whose manifest and its copy are both gone, or a store of format 1.0 that had no
    copy. What a writer that died had announced, and had not come as far as the copy with, is merely unfinished.
    """
    backend, name = stores.cache.backend, stores.name
    suspects = {
        folder: backend.entries(f"{name}/{folder}/{ATTEMPTS}")
        for folder in backend.entries(name).folders
        if folder != ATTEMPTS and backend.length(f"{name}/{folder}/{MANIFEST}") is None
    }
    if not any(found.names for found in suspects.values()):
        return []
    # Whoever publishes announces it before anything else, and takes that back after the manifest. Asked in this order,
    # a store that was on its way at the first look is still announced, or has its manifest by the last one.
    told = announced(backend, name)
    living = {group for group, may_live in told.items() if may_live}
    return [
        folder
        for folder, found in suspects.items()
        if ({file.removesuffix(".json") for file in found.files} - living or set(found.folders) - set(told))
        and backend.length(f"{name}/{folder}/{MANIFEST}") is None
    ]


def _verify_copy(store: Store, subset: Subset) -> Iterator[Damage]:
    """Compare the manifest's second copy with it; stores of format 1.0 have none."""
    folder = f"{store.dataset}/{store.folder}"
    path = manifest_copy(folder, store.manifest.attempt)
    name = path.removeprefix(f"{folder}/")
    if store.manifest.minor < 1 or not subset.has(name):
        return
    content = _readable(store.backend, path)
    if content != store.manifest_bytes:
        yield Damage(name, "missing" if content is None else "content")


def _verify_file(store: Store, name: str, lengths: Mapping[str, int], *, read: bool) -> Iterator[Damage]:
    entry = store.manifest.files[name]
    if name not in lengths:
        yield Damage(name, "missing")
    elif lengths[name] != entry.length:
        yield Damage(name, "length")
    elif read:
        content = _readable(store.backend, store.file(name), entry.length)
        if content is None:
            yield Damage(name, "missing")
        elif not entry.matches(content):
            yield Damage(name, "content")
        elif not entry.agrees_with(content):
            yield Damage(MANIFEST, "content")
        elif name.endswith("/zarr.json"):
            yield from _unnamed_chunks(name.removesuffix("/zarr.json"), content, store.manifest.files)


def _readable(backend: Backend, path: str, at_most: int | None = None) -> bytes | None:
    """Return the content of a file; None also for one that its disk cannot give, or that is a link or a pipe.

    A storage that does not answer, or denies access, tells nothing of the file: that ends the verifying.
    """
    with suppress(BrokenFileError, RefusedError):
        return backend.read(path, at_most)
    return None


def _unnamed_chunks(array: str, metadata: bytes, files: Mapping[str, FileEntry]) -> Iterator[Damage]:
    name = f"{array}/zarr.json"
    try:
        stated = ArrayMetadata.parse(array, metadata, name)
    except FusionError:
        yield Damage(name, "content")
        return
    if stated.n_chunks > len(files):
        yield Damage(name, "content")
        return
    yield from (Damage(chunk, "missing") for chunk in sorted(stated.chunk_files() - set(files)))
