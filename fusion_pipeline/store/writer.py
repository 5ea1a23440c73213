"""Partitions of arrays into an attempt, and a complete attempt into a published store."""

from __future__ import annotations

import getpass
import json
import platform
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from fusion_pipeline.errors import BusyError, FormatError, IntegrityError, RefusedError, StorageError
from fusion_pipeline.store.backend import LocalBackend, Lock
from fusion_pipeline.store.identity import Recipe, canonical_json, digest, short, slug, store_identity
from fusion_pipeline.store.layout import GroupEncoder
from fusion_pipeline.store.manifest import FileEntry, Manifest

ATTEMPTS = "attempts"
MANIFEST = "manifest.json"


def store_folder(dataset: str, name: str, key: str) -> str:
    """Return the folder of a store, relative to the cache.

    Examples
    --------
    >>> store_folder("flowers17", "xception", "sha256:0123456789abcdef")
    'flowers17/xception-0123456789ab'
    """
    return f"{dataset}/{slug(name)}-{short(key)}"


@dataclass(frozen=True)
class PartitionRecord:
    """What a finished partition holds.

    Parameters
    ----------
    samples : tuple of str
        sha256 (hexadecimal) of the image of each row; empty for an unreadable file.
    bad : mapping of int to int
        Reason codes of the rows that could not be decoded, by row number in the store.
    files : mapping of str to FileEntry
        The chunk files that it wrote.
    made : mapping
        With what it was computed: an attempt may be finished on another machine than it was begun on.
    """

    samples: tuple[str, ...]
    bad: Mapping[int, int]
    files: Mapping[str, FileEntry]
    made: Mapping[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return the record as JSON."""
        return canonical_json(
            {
                "samples": list(self.samples),
                "bad": {str(row): code for row, code in self.bad.items()},
                "files": {name: entry.to_json() for name, entry in self.files.items()},
                "made": dict(self.made),
            }
        )

    @classmethod
    def from_bytes(cls, content: bytes) -> PartitionRecord:
        """Parse a record; raises ValueError, KeyError or TypeError if it is none."""
        fields = json.loads(content)
        return cls(
            samples=tuple(str(sample) for sample in fields["samples"]),
            bad={int(row): int(code) for row, code in fields["bad"].items()},
            files={str(name): FileEntry(**entry) for name, entry in fields["files"].items()},
            made=dict(fields["made"]),
        )


class Attempt:
    """A store in the making: partitions land here one by one, and a killed run finds them again.

    An attempt lies under ``<data set>/attempts/`` until it is complete. Its name carries the recipe, not the key: the
    key contains the sha256 of every image, which is known only after the single pass over the images.

    Use `Attempt.open`.
    """

    def __init__(
        self, backend: LocalBackend, folder: str, name: str, recipe: Recipe, encoder: GroupEncoder, lock: Lock
    ) -> None:
        self.name = name
        self._backend = backend
        self.folder = folder
        self._recipe = dict(recipe)
        self._encoder = encoder
        self._lock = lock
        self._records: dict[int, PartitionRecord] = {}

    @classmethod
    def open(cls, backend: LocalBackend, dataset: str, name: str, recipe: Recipe, encoder: GroupEncoder) -> Attempt:
        """Resume the attempt that a stopped run left, or begin one.

        Parameters
        ----------
        backend : LocalBackend
            The cache.
        dataset : str
            Name of the data set.
        name : str
            Name of the store: the backbone's, or ``"index"``.
        recipe : mapping
            What the store is made with; only an attempt with an equal recipe is resumed.
        encoder : GroupEncoder
            Its arrays.

        Returns
        -------
        Attempt
            With the partitions in it whose files still have the recorded sha256.
        """
        prefix = f"{slug(name)}-{short(digest(recipe))}-"
        description = canonical_json({"name": name, "recipe": dict(recipe), "partition_rows": encoder.partition_rows})
        for folder in _attempt_folders(backend, dataset, prefix):
            if backend.read(f"{folder}/attempt.json") != description:
                continue
            if (lock := backend.lock(f"{folder}/lock")) is None:
                continue
            # Its owner may have finished, and removed it, meanwhile; or was killed while publishing it.
            if not _finish_left(backend, folder) or backend.read(f"{folder}/attempt.json") != description:
                lock.release()
                continue
            attempt = cls(backend, folder, name, recipe, encoder, lock)
            attempt._resume()
            return attempt
        folder = f"{dataset}/{ATTEMPTS}/{prefix}{uuid.uuid4().hex[:8]}"
        return cls(backend, folder, name, recipe, encoder, _begin(backend, folder, description))

    def record(self, partition: int) -> PartitionRecord | None:
        """Return the record of a finished partition, or None if it has to be computed."""
        return self._records.get(partition)

    def write(
        self,
        partition: int,
        arrays: Mapping[str, np.ndarray],
        samples: Sequence[str],
        bad: Mapping[int, int],
        made: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the rows of one partition durably, then record them.

        Parameters
        ----------
        partition : int
            Its number.
        arrays : mapping of str to ndarray
            Its rows for every array with one row per sample.
        samples : sequence of str
            sha256 of the image of each row.
        bad : mapping of int to int
            Reason codes of bad rows, by row number in the store.
        made : mapping, optional
            Versions, device and whatever else it was computed with.

        Raises
        ------
        StorageError
            If the storage fails; what was finished before stays.
        """
        files = self._write_files(self._encoder.partition(partition, arrays))
        record = PartitionRecord(tuple(samples), dict(bad), files, dict(made or {}))
        self._backend.write(f"{self.folder}/done/{partition}.json", record.to_bytes())
        self._records[partition] = record

    def publish(
        self, *, kind: str, dataset_digest: str, arrays: Mapping[str, np.ndarray], made: Mapping[str, Any]
    ) -> tuple[Manifest, bool]:
        """Write what is not per sample and publish the store, unless somebody published the same one first.

        Parameters
        ----------
        kind : {"backbone", "index"}
            What the store holds.
        dataset_digest : str
            Digest of the data-set version.
        arrays : mapping of str to ndarray
            The arrays that do not have one row per sample.
        made : mapping
            Versions, device and whatever else is worth telling.

        Returns
        -------
        manifest : Manifest
            The published one: this attempt's, or the winner's.
        won : bool
            Whether it is this attempt's.
        """
        files = self._write_files(self._encoder.metadata())
        for array, values in arrays.items():
            files.update(self._write_files(self._encoder.whole(array, values)))
        for partition in range(self._encoder.partitions):
            files.update(self._records[partition].files)
        manifest = Manifest(
            kind=kind,
            name=self.name,
            identity=store_identity(self._recipe, dataset_digest),
            attempt=uuid.uuid4().hex,
            rows=self._encoder.rows,
            partition_rows=self._encoder.partition_rows,
            files=files,
            made={**made, **self._made_otherwise(made), **_who_and_when()},
        )
        self._backend.sweep(self.folder)
        self._backend.write(f"{self.folder}/{MANIFEST}", manifest.to_bytes())
        result = _finish_publication(self._backend, self.folder, manifest)
        self._lock.release()
        return result

    def close(self) -> None:
        """Leave the attempt to a later run."""
        self._lock.release()

    def discard(self) -> None:
        """Remove the attempt: its store is published already."""
        self._backend.remove(self.folder)
        self._lock.release()

    def _resume(self) -> None:
        """Keep the partitions whose record can be read and whose files are what it says; anything else is redone."""
        self._backend.sweep(self.folder)
        for name in self._backend.list(f"{self.folder}/done"):
            try:
                number = int(name.removesuffix(".json"))
                record = PartitionRecord.from_bytes(self._backend.read(f"{self.folder}/done/{name}") or b"")
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
            if number < self._encoder.partitions and self._is_intact(number, record):
                self._records[number] = record

    def _made_otherwise(self, made: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Return with what else partitions were computed, where that was not what finishes the attempt."""
        others = {canonical_json(dict(record.made)): dict(record.made) for record in self._records.values()}
        listed = [other for other in others.values() if any(made.get(key) != value for key, value in other.items())]
        return {"also_made_with": listed} if listed else {}

    def _is_intact(self, number: int, record: PartitionRecord) -> bool:
        if set(record.files) != self._encoder.partition_files(number):
            return False
        for name, entry in record.files.items():
            content = self._backend.read(f"{self.folder}/data/{name}")
            if content is None or FileEntry.of(content) != entry:
                return False
        return True

    def _write_files(self, files: Mapping[str, bytes]) -> dict[str, FileEntry]:
        for name, content in files.items():
            self._backend.write(f"{self.folder}/data/{name}", content)
        return {name: FileEntry.of(content) for name, content in files.items()}


def recover(backend: LocalBackend, dataset: str) -> None:
    """Finish the publications that a kill interrupted after their manifest was written.

    Parameters
    ----------
    backend : LocalBackend
        The cache.
    dataset : str
        Name of the data set.
    """
    for folder in _attempt_folders(backend, dataset, ""):
        lock = backend.lock(f"{folder}/lock") if backend.exists(f"{folder}/{MANIFEST}") else None
        if lock is None:
            continue
        try:
            _finish_left(backend, folder)
        finally:
            lock.release()


def read_manifest(backend: LocalBackend, folder: str) -> Manifest | None:
    """Return the manifest of the store in `folder`, or None if none is published there."""
    path = f"{folder}/{MANIFEST}"
    content = backend.read(path)
    return None if content is None else Manifest.from_bytes(content, str(backend.path(path)))


def _begin(backend: LocalBackend, folder: str, description: bytes) -> Lock:
    backend.write(f"{folder}/lock", b"")
    lock = backend.lock(f"{folder}/lock")
    if lock is None:
        raise BusyError(f"Attempt '{folder}' was taken by another process. Run the same command again.")
    backend.write(f"{folder}/attempt.json", description)
    return lock


def _finish_left(backend: LocalBackend, folder: str) -> bool:
    """Finish the publication that an attempt was killed in, under its lock; or take back that it was complete.

    Its files are hashed once more: somebody may have changed them between the kill and now. Returns False if its
    manifest cannot be understood: then it is left alone, for it may belong to a newer version.
    """
    content = backend.read(f"{folder}/{MANIFEST}")
    if content is None:
        return True
    try:
        manifest = Manifest.from_bytes(content, folder)
    except (FormatError, RefusedError):
        return False
    except IntegrityError:
        backend.remove_file(f"{folder}/{MANIFEST}")
        return True
    group = f"{store_folder(_dataset_of(folder), manifest.name, manifest.key)}/{ATTEMPTS}/{manifest.attempt}"
    place = group if backend.exists(group) else f"{folder}/data"
    files = ((backend.read(f"{place}/{name}"), entry) for name, entry in manifest.files.items())
    if all(content is not None and FileEntry.of(content) == entry for content, entry in files):
        _finish_publication(backend, folder, manifest)
    else:
        backend.remove_file(f"{folder}/{MANIFEST}")
    return True


def _dataset_of(attempt: str) -> str:
    return attempt.split("/", maxsplit=1)[0]


def _attempt_folders(backend: LocalBackend, dataset: str, prefix: str) -> Iterator[str]:
    for name in backend.list(f"{dataset}/{ATTEMPTS}"):
        if name.startswith(prefix):
            yield f"{dataset}/{ATTEMPTS}/{name}"


def _finish_publication(backend: LocalBackend, attempt: str, manifest: Manifest) -> tuple[Manifest, bool]:
    """Move the group beside its manifest-to-be, then publish; every step may be repeated after a kill."""
    folder = store_folder(_dataset_of(attempt), manifest.name, manifest.key)
    group = f"{folder}/{ATTEMPTS}/{manifest.attempt}"
    winner = read_manifest(backend, folder)
    if winner is None:
        backend.move(f"{attempt}/data", group)
        won = backend.create(f"{folder}/{MANIFEST}", manifest.to_bytes())
        winner = manifest if won else read_manifest(backend, folder)
    if winner is None:
        raise IntegrityError(f"Manifest of '{folder}' vanished while it was published. Run the same command again.")
    with suppress(StorageError):  # the store is published: what cannot be tidied up now is litter, no failure
        if winner.attempt != manifest.attempt:
            backend.remove(group)
        backend.remove(attempt)
    return winner, winner.attempt == manifest.attempt


def _who_and_when() -> dict[str, str]:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        user = "unknown"
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    return {"created": now, "host": platform.node(), "user": user}
