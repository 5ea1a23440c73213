"""A store in the making: its partitions, by one writer or several at once, into files that a killed run finds again."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from fusion_pipeline.errors import IncompleteError, StorageError, printable
from fusion_pipeline.store.identity import Recipe, canonical_json, digest, short, slug, store_identity
from fusion_pipeline.store.layout import GroupEncoder
from fusion_pipeline.store.making.leases import Lease, Leases
from fusion_pipeline.store.making.provenance import made_otherwise, told, user, who_and_when
from fusion_pipeline.store.making.publication import Publication
from fusion_pipeline.store.making.record import PARTS, PartitionRecord, parse_record, part_path, read_part
from fusion_pipeline.store.making.unfinished import ATTEMPT, DONE
from fusion_pipeline.store.manifest import FileEntry, Manifest
from fusion_pipeline.store.paths import ATTEMPTS
from fusion_pipeline.store.storage.backend import Backend

POLL_SECONDS = 0.5
"""How often a writer that waits for another one looks."""

_PROTOCOL = 2


class Attempt:
    """A store in the making: partitions land here one by one, and a killed run finds them again.

    An attempt lies under ``<data set>/attempts/`` until its store is published. Its name carries the recipe and the
    listing, not the key: the key contains the sha256 of every image, which is known only after the pass over the
    images. All who make the same store from the same listing share one attempt: leases tell which partitions others
    compute just now, and the first record of a partition is everybody's.

    Use `Attempt.open`.
    """

    def __init__(
        self, backend: Backend, dataset: str, folder: str, name: str, recipe: Recipe, encoder: GroupEncoder
    ) -> None:
        self.name = name
        self.folder = folder
        self.gone = False
        """Whether another writer published the store, and removed the attempt."""
        self._backend = backend
        self._dataset = dataset
        self.recipe = dict(recipe)
        self._encoder = encoder
        self._records: dict[int, dict[tuple[str, ...], PartitionRecord]] = {}
        self._leases = Leases(backend, folder)

    @classmethod
    def open(
        cls, backend: Backend, dataset: str, name: str, recipe: Recipe, encoder: GroupEncoder, listing: str = ""
    ) -> Attempt:
        """Join the attempt at a store, resume the one that a stopped run left, or begin one.

        Parameters
        ----------
        backend : Backend
            The cache.
        dataset : str
            Name of the data set.
        name : str
            Name of the store: the backbone's, or ``"index"``.
        recipe : mapping
            What the store is made with; only an attempt with an equal recipe is gone on with.
        encoder : GroupEncoder
            Its arrays.
        listing : str
            Tells one list of samples from another.

        Returns
        -------
        Attempt
            With the partitions in it whose files still have the recorded sha256.
        """
        description = canonical_json(
            {
                "listing": listing,
                "name": name,
                "partition_rows": encoder.partition_rows,
                "protocol": _PROTOCOL,
                "recipe": dict(recipe),
                "rows": encoder.rows,
            }
        )
        folder = _folder(dataset, name, recipe, description)
        if not backend.may_write(folder):  # another member's, whose umask shares it for reading
            folder = f"{folder}-{slug(user())}"
        place = f"{folder}/{ATTEMPT}"
        if not backend.create(place, description) and backend.read(place) != description:
            backend.write(place, description)
        attempt = cls(backend, dataset, folder, name, recipe, encoder)
        try:
            attempt._resume()
        except BaseException:
            attempt.close()
            raise
        return attempt

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return self._dataset

    def records(self) -> Iterator[tuple[int, PartitionRecord]]:
        """Yield the number and the record of each finished partition that is known by now."""
        for partition, found in sorted(self._records.items()):
            yield from ((partition, record) for record in list(found.values()))

    def has(self, partition: int) -> bool:
        """Return whether a partition is done, for these images or for others."""
        return bool(self._records.get(partition))

    def record(self, partition: int, samples: Sequence[str]) -> PartitionRecord | None:
        """Return the record of a partition that is done for these images, by whomever."""
        found = self._records.get(partition, {}).get(tuple(samples))
        return found or self._look(partition, tuple(samples))

    def claim(self, partition: int) -> bool:
        """Take the lease of a partition; False if a living writer holds it, or the attempt is gone."""
        if self.gone or not self._is_there():
            return False
        took = self._leases.take(partition)
        if took is Lease.FROM_THE_DEAD:
            self._look_for_any(partition)  # of a dead writer there may be the finished work
        # Whoever removed the attempt right before the lease was taken has published the store.
        return took is not Lease.HELD and self._is_there()

    def wait(self, partition: int, samples: Sequence[str]) -> bool:
        """Wait for whoever holds the lease of a partition.

        Returns
        -------
        bool
            True if the partition is done, or the attempt gone; False if the lease is ours, and the work too.
        """
        while True:
            mine = self.claim(partition)
            if self.gone or self.record(partition, samples) is not None:
                return True
            if mine:
                return False
            time.sleep(POLL_SECONDS)

    def others(self) -> list[str]:
        """Return who else is at work on it, for people."""
        return self._leases.others()

    def write(
        self,
        partition: int,
        arrays: Mapping[str, np.ndarray],
        samples: Sequence[str],
        bad: Mapping[int, int],
        made: Mapping[str, Any] | None = None,
        told: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the rows of one partition durably, then record them, unless somebody did so first.

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
        made, told : mapping, optional
            See `PartitionRecord`.

        Raises
        ------
        StorageError
            If the storage fails; what was finished before stays.
        """
        content = self._encoder.partition(partition, arrays)
        part = f"{PARTS}/{partition}-{uuid.uuid4().hex[:12]}"

        @cache
        def record() -> PartitionRecord:  # hashing takes as long as writing
            files = {name: FileEntry.of(data) for name, data in content.items()}
            return PartitionRecord(tuple(samples), dict(bad), files, part, dict(made or {}), dict(told or {}))

        with self._despite_removal():
            made_it = self._backend.write_recorded(
                {part_path(self.folder, part, name): data for name, data in content.items()},
                self._done(partition, samples),
                lambda: record().to_bytes(),
            )
            self._keep(partition, record(), made_it=made_it)

    def adopt(self, partition: int, record: PartitionRecord, source: str) -> None:
        """Take over a partition that lies in a published store, unless that was repaired and collected meanwhile.

        Parameters
        ----------
        partition : int
        record : PartitionRecord
            What it holds; its files were checked. Here they get another `part`.
        source : str
            The folder of the store's group.
        """
        record = replace(record, part=f"{PARTS}/{partition}-{uuid.uuid4().hex[:12]}")
        with self._despite_removal(), suppress(FileNotFoundError):
            self._backend.copy_all({record.path(self.folder, name): f"{source}/{name}" for name in record.files})
            made_it = self._backend.create(self._done(partition, record.samples), record.to_bytes())
            self._keep(partition, record, made_it=made_it)

    def read(self, partition: int, record: PartitionRecord, name: str) -> np.ndarray:
        """Return the rows of one array of a finished partition.

        Raises
        ------
        IntegrityError
            If its file is not what was recorded.
        """
        return read_part(self._backend, self.folder, record, self._encoder, partition, name)

    def publish(
        self,
        *,
        kind: str,
        dataset_digest: str,
        samples: Sequence[str],
        arrays: Mapping[str, np.ndarray],
        made: Mapping[str, Any],
        replaces: bytes | None = None,
    ) -> tuple[Manifest, bool]:
        """Write what is not per sample and publish the store, unless somebody published the same one first.

        Parameters
        ----------
        kind : {"backbone", "index"}
            What the store holds.
        dataset_digest : str
            Digest of the data-set version.
        samples : sequence of str
            sha256 of the image of each row of the store.
        arrays : mapping of str to ndarray
            The arrays that do not have one row per sample.
        made : mapping
            Versions, device and whatever else is worth telling.
        replaces : bytes, optional
            The manifest of a damaged store that this one takes the place of.

        Returns
        -------
        manifest : Manifest
            The published one: this attempt's, or the winner's.
        won : bool
            Whether it is this attempt's.
        """
        records = self._all_records(samples)
        content = dict(self._encoder.metadata())
        for array, values in arrays.items():
            content.update(self._encoder.whole(array, values))
        files = {name: FileEntry.of(data) for name, data in content.items()}
        sources: dict[str, str] = {}
        for record in records:
            files.update(record.files)
            sources.update({name: record.path(self.folder, name) for name in record.files})
        manifest = Manifest(
            kind=kind,
            name=self.name,
            identity=store_identity(self.recipe, dataset_digest),
            attempt=uuid.uuid4().hex,
            rows=self._encoder.rows,
            partition_rows=self._encoder.partition_rows,
            files=files,
            made={**made, **made_otherwise(made, records), **told(records), **who_and_when()},
        )
        publication = Publication(self._backend, self._dataset, manifest)
        result = publication.run(self.folder, self._leases.nonce, content, sources, replaces)
        self._remove()
        return result

    def close(self) -> None:
        """Leave the attempt to others, or to a later run."""
        self._leases.leave()

    def discard(self) -> None:
        """Leave the attempt, and remove it if nobody else is at work on it: its store is published already."""
        if self.others():
            self._leases.leave()
        else:
            self._remove()

    def _remove(self) -> None:
        self._leases.leave()
        with suppress(StorageError):  # the store is published: what cannot be tidied up now is litter, no failure
            self._backend.remove(self.folder)

    def _resume(self) -> None:
        """Keep the partitions whose record can be read and whose files are what it says; anything else is redone."""
        self._settle_interrupted_publications()
        names = self._backend.list(f"{self.folder}/{DONE}")
        for name, record in zip(names, self._backend.map(self._intact_record, names), strict=True):
            if record is None:
                self._backend.remove_file(f"{self.folder}/{DONE}/{name}")
            else:
                self._records.setdefault(int(name.partition("-")[0]), {})[record.samples] = record

    def _settle_interrupted_publications(self) -> None:
        for uuid_, stated in Publication.markers(self._backend, self.folder):
            if self._leases.is_surely_dead(stated.writer):
                Publication.settle(self._backend, stated.store, uuid_)
                self._backend.remove_file(Publication.marker(self.folder, uuid_))

    def _intact_record(self, name: str) -> PartitionRecord | None:
        record = parse_record(self._backend.read(f"{self.folder}/{DONE}/{name}"))
        number = name.partition("-")[0]
        if record is None or not number.isdecimal() or int(number) >= self._encoder.partitions:
            return None
        if set(record.files) != self._encoder.partition_files(int(number)):
            return None
        for file, entry in record.files.items():
            content = self._backend.read(record.path(self.folder, file), at_most=entry.length)
            if content is None or not entry.matches(content):
                return None
        return record

    def _look(self, partition: int, samples: tuple[str, ...]) -> PartitionRecord | None:
        """Look whether another writer has finished a partition meanwhile."""
        record = parse_record(self._backend.read(self._done(partition, samples)))
        if record is None or record.samples != samples or set(record.files) != self._encoder.partition_files(partition):
            return None
        record = replace(record, samples=samples)  # equal, and in memory once for all stores of a run
        self._records.setdefault(partition, {})[samples] = record
        return record

    def _look_for_any(self, partition: int) -> None:
        for name in self._backend.list(f"{self.folder}/{DONE}"):
            if name.startswith(f"{partition}-") and (record := self._intact_record(name)) is not None:
                self._records.setdefault(partition, {})[record.samples] = record

    def _keep(self, partition: int, record: PartitionRecord, *, made_it: bool) -> None:
        """Keep the record of a partition, or that of who was faster."""
        if not made_it:
            earlier = self._look(partition, record.samples)
            if earlier is None:  # damaged
                self._backend.write(self._done(partition, record.samples), record.to_bytes())
            record = earlier or record
        if self._is_there():
            self._records.setdefault(partition, {})[record.samples] = record
        else:
            self._backend.remove(self.folder)  # what was just written has made it anew

    @contextmanager
    def _despite_removal(self) -> Iterator[None]:
        """Pass over what fails because another writer published the store: nothing is lost but one partition."""
        try:
            yield
        except StorageError:
            if self._backend.failing or self._is_there():
                raise

    def _is_there(self) -> bool:
        self.gone = self.gone or self._backend.length(f"{self.folder}/{ATTEMPT}") is None
        return not self.gone

    def _all_records(self, samples: Sequence[str]) -> list[PartitionRecord]:
        rows = self._encoder.partition_rows
        records = [
            self.record(partition, samples[partition * rows : (partition + 1) * rows])
            for partition in range(self._encoder.partitions)
        ]
        missing = [str(number) for number, record in enumerate(records) if record is None]
        if missing:
            raise IncompleteError(
                f"Attempt '{printable(self._backend.where(self.folder))}' lacks partitions {', '.join(missing)}. "
                "Run the same command again to go on."
            )
        return [record for record in records if record is not None]

    def _done(self, partition: int, samples: Sequence[str]) -> str:
        return f"{self.folder}/{DONE}/{partition}-{short(digest(list(samples)))}.json"


def _folder(dataset: str, name: str, recipe: Recipe, description: bytes) -> str:
    listed = short(digest(description.decode()))[:8]
    return f"{dataset}/{ATTEMPTS}/{slug(name)}-{short(digest(recipe))}-{listed}"
