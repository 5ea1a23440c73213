"""A damaged store into what of it is still good, and a new attempt that lacks only the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fusion_pipeline.errors import BrokenFileError, FormatError, FusionError, IntegrityError, StorageError
from fusion_pipeline.store import layout
from fusion_pipeline.store.cache import Cache, DatasetStores
from fusion_pipeline.store.care.verify import lost_manifests, verify
from fusion_pipeline.store.identity import digest_bytes
from fusion_pipeline.store.layout import GroupEncoder
from fusion_pipeline.store.making.attempt import Attempt
from fusion_pipeline.store.making.provenance import made_with, told_of_store
from fusion_pipeline.store.making.record import PartitionRecord
from fusion_pipeline.store.manifest import FileEntry, Manifest, NewerFormatError
from fusion_pipeline.store.paths import ATTEMPTS, MANIFEST, group_folder, manifest_copy
from fusion_pipeline.store.reader import Store


@dataclass(frozen=True)
class DamagedStore:
    """A published store some of whose files are not what was published.

    Parameters
    ----------
    manifest : bytes
        The file that names it, to be replaced.
    store : Store or None
        The store, if its manifest can be read.
    damaged : frozenset of str
        Its damaged files.
    """

    manifest: bytes
    store: Store | None
    damaged: frozenset[str]

    @property
    def digest(self) -> str:
        """Digest of the manifest."""
        return digest_bytes(self.manifest)

    @classmethod
    def find(cls, cache: Cache, folder: str, before: DamagedStore | None = None) -> DamagedStore | None:
        """Read the store in a folder whole; return None if none is published there, or it is good.

        Parameters
        ----------
        cache : Cache
        folder : str
            Relative to the cache.
        before : DamagedStore, optional
            What an earlier look found: the same manifest is not looked into again.

        Raises
        ------
        FormatError
            If another version wrote it.
        StorageError
            If the storage does not answer, or denies access.
        """
        content = cache.backend.read(f"{folder}/{MANIFEST}")
        if content is None:
            return None
        if before is not None and before.manifest == content:
            return before
        dataset, _, name = folder.partition("/")
        try:
            store = Store(cache.backend, dataset, name)
        except NewerFormatError:
            raise
        except (IntegrityError, FormatError):
            return cls(content, None, frozenset())
        damaged = frozenset(item.file for item in verify(store))
        return cls(content, store, damaged) if damaged else None

    def hand_over(self, attempt: Attempt, encoder: GroupEncoder) -> None:
        """Let an attempt take over the partitions none of whose files are damaged.

        Whose rows they are says the index; where that is damaged or missing, everything is computed again.

        Raises
        ------
        StorageError
            If the storage does not answer, or denies access: what is good is not computed again.
        """
        store = self.store
        if store is None or store.manifest.partition_rows != encoder.partition_rows:
            return
        try:
            samples, status = store.sample_sha256, self._status(store, encoder)
        except FusionError as error:
            if isinstance(error, StorageError) and not isinstance(error, BrokenFileError):
                raise
            return
        files, rows = store.manifest.files, encoder.partition_rows
        for partition in range(encoder.partitions):
            own = encoder.partition_files(partition)
            if own & self.damaged or not own <= set(files) or attempt.has(partition) or partition not in status:
                continue
            start = partition * rows
            bad = {start + int(row): int(status[partition][row]) for row in np.flatnonzero(status[partition])}
            entries = {name: self._entry(store, name) for name in own}
            record = _record_of(store, samples[start : start + rows], bad, entries)
            attempt.adopt(partition, record, store.file("").rstrip("/"))

    def _entry(self, store: Store, name: str) -> FileEntry:
        """Return the sums of a file: those of the manifest, unless some of them contradict each other."""
        return FileEntry.of(store.content(name)) if MANIFEST in self.damaged else store.manifest.files[name]

    def _status(self, store: Store, encoder: GroupEncoder) -> dict[int, np.ndarray]:
        """Return the reason codes of each partition whose chunk of them is good."""
        found: dict[int, np.ndarray] = {}
        for partition in range(encoder.partitions):
            file = f"{layout.STATUS}/c/{partition}"
            if file not in self.damaged and (content := store.backend.read(store.file(file))) is not None:
                found[partition] = encoder.rows_of(layout.STATUS, partition, content)
        return found


def _record_of(
    store: Store, samples: Sequence[str], bad: Mapping[int, int], files: Mapping[str, FileEntry]
) -> PartitionRecord:
    """Return the record of a partition of a store, which says where its rows come from."""
    made = store.manifest.made
    told = told_of_store(made, store.manifest_digest, len(samples))
    return PartitionRecord(tuple(samples), bad, files, "", made_with(made), told)


def restore_manifests(stores: DatasetStores) -> list[str]:
    """Restore damaged and lost manifests from their second copies, and the copies from good manifests.

    Parameters
    ----------
    stores : DatasetStores
        The data set.

    Returns
    -------
    list of str
        What was restored, or taken away: paths relative to the cache.
    """
    backend, name = stores.cache.backend, stores.name
    restored: list[str] = []
    lost = lost_manifests(stores)
    for folder, found in [*stores.survey(), *((folder, None) for folder in lost)]:
        place = f"{name}/{folder}"
        if isinstance(found, Store):
            copy = manifest_copy(place, found.manifest.attempt)
            if found.manifest.minor >= 1 and backend.read(copy) != found.manifest_bytes:
                backend.write(copy, found.manifest_bytes)
                restored.append(copy)
        elif (found is None or _is_damage(found)) and _restore_manifest(stores, folder):
            restored.append(f"{place}/{MANIFEST}")
    if not stores.current_is_whole():
        stores.forget_current()
        restored.append(f"{name}/current.json")
    return restored


def _restore_manifest(stores: DatasetStores, folder: str) -> bool:
    """Restore a manifest from its copy, unless it can be read by now: somebody published or restored it meanwhile."""
    backend, path = stores.cache.backend, f"{stores.name}/{folder}/{MANIFEST}"
    before = backend.read(path)
    try:
        stores.open(folder)
    except FusionError as error:
        content = _good_copy(stores, folder) if before is None or _is_damage(error) else None
        return content is not None and backend.swap(path, before, content)
    return False


def _is_damage(error: FusionError) -> bool:
    """Return whether a manifest cannot be read because it is not the file that was written."""
    return isinstance(error, IntegrityError | FormatError) and not isinstance(error, NewerFormatError)


def _good_copy(stores: DatasetStores, folder: str) -> bytes | None:
    """Return the newest second copy of a store's manifest that is whole, and whose group is there."""
    backend, place = stores.cache.backend, f"{stores.name}/{folder}"
    good: list[tuple[str, bytes]] = []
    for file in backend.entries(f"{place}/{ATTEMPTS}").files:
        content = backend.read(f"{place}/{ATTEMPTS}/{file}")
        try:
            manifest = Manifest.from_bytes(content or b"", file)
        except FusionError:
            continue
        if file == f"{manifest.attempt}.json" and backend.exists(group_folder(place, manifest.attempt)):
            good.append((manifest.created, content or b""))
    return max(good)[1] if good else None
