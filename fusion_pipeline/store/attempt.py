"""A store in the making: its partitions, by one writer or several at once, into files that a killed run finds again."""

from __future__ import annotations

import getpass
import itertools
import json
import platform
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from fusion_pipeline.errors import IncompleteError, IntegrityError, StaleError, StorageError, printable
from fusion_pipeline.store.backend import Backend
from fusion_pipeline.store.identity import Recipe, canonical_json, differences, digest, short, slug, store_identity
from fusion_pipeline.store.layout import GroupEncoder
from fusion_pipeline.store.manifest import DIGEST, FileEntry, Manifest
from fusion_pipeline.store.presence import Presence, Watch
from fusion_pipeline.store.publication import ATTEMPTS, Publication

POLL_SECONDS = 0.5
"""How often a writer that waits for another one looks."""

_PROTOCOL = 2
_ATTEMPT, _DONE, _CLAIMS, _WRITERS, _PARTS = "attempt.json", "done", "claims", "writers", "parts"


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
        The chunk files that it wrote, by their path in the group.
    part : str
        Folder of the attempt that holds them: no two writers ever write into one.
    made : mapping
        With what it was computed: an attempt may be finished on another machine than it was begun on.
    told : mapping
        What else was measured, or is worth knowing, of these rows alone.
    """

    samples: tuple[str, ...]
    bad: Mapping[int, int]
    files: Mapping[str, FileEntry]
    part: str
    made: Mapping[str, Any] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return the record as JSON, with a digest of itself."""
        fields = {
            "samples": list(self.samples),
            "bad": {str(row): code for row, code in self.bad.items()},
            "files": {name: entry.to_json() for name, entry in self.files.items()},
            "part": self.part,
            "made": dict(self.made),
            "told": dict(self.told),
        }
        return canonical_json({**fields, DIGEST: digest(fields)})

    @classmethod
    def from_bytes(cls, content: bytes) -> PartitionRecord:
        """Parse a record; raises ValueError, KeyError, TypeError or AttributeError if it is none, or damaged."""
        fields = json.loads(content)
        if fields.pop(DIGEST) != digest(fields):
            raise ValueError("the record is damaged")
        return cls(
            samples=tuple(str(sample) for sample in fields["samples"]),
            bad={int(row): int(code) for row, code in fields["bad"].items()},
            files={str(name): FileEntry.from_json(entry) for name, entry in fields["files"].items()},
            part=str(fields["part"]),
            made=dict(fields["made"]),
            told=dict(fields["told"]),
        )


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
        self._generations: dict[int, int] = {}
        self._presence = Presence(backend, f"{folder}/{_WRITERS}")
        self._watch = Watch(backend, f"{folder}/{_WRITERS}")

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
            folder = f"{folder}-{slug(_user())}"
        if (
            not backend.create(f"{folder}/{_ATTEMPT}", description)
            and backend.read(f"{folder}/{_ATTEMPT}") != description
        ):
            backend.write(f"{folder}/{_ATTEMPT}", description)
        attempt = cls(backend, dataset, folder, name, recipe, encoder)
        attempt._resume()
        return attempt

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return self._dataset

    def records(self) -> Iterator[tuple[int, PartitionRecord]]:
        """Yield the number and the record of each finished partition that is known by now."""
        for partition, found in sorted(self._records.items()):
            for record in list(found.values()):
                yield partition, record

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
        for generation in itertools.count(self._generations.get(partition, 0)):
            path = f"{self.folder}/{_CLAIMS}/{partition}-{generation}"
            self._generations[partition] = generation
            if self._backend.create(path, self._presence.nonce.encode()):
                return True
            holder = (self._backend.read(path) or b"").decode("ascii", "replace")
            if holder == self._presence.nonce:
                return True
            if self._watch.lives(holder):
                return False
            self._look_for_any(partition)  # of a dead writer there may be the finished work
        raise AssertionError("unreachable")

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
        found = (nonce for nonce in self._watch.writers() if nonce != self._presence.nonce)
        return [self._watch.describe(nonce) for nonce in found if self._watch.lives(nonce)]

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
        part = f"{_PARTS}/{partition}-{uuid.uuid4().hex[:12]}"
        files = {name: FileEntry.of(data) for name, data in content.items()}
        record = PartitionRecord(tuple(samples), dict(bad), files, part, dict(made or {}), dict(told or {}))
        try:
            self._backend.write_all({f"{self.folder}/{part}/{name}": data for name, data in content.items()})
            self._keep(partition, record)
        except StorageError:
            if self._backend.failing or self._is_there():
                raise
            # Who published the store removed the attempt meanwhile: nothing is lost but this partition.

    def adopt(
        self,
        partition: int,
        samples: Sequence[str],
        bad: Mapping[int, int],
        files: Mapping[str, FileEntry],
        source: str,
        told: Mapping[str, Any] | None = None,
    ) -> None:
        """Take over a partition that lies in a published store.

        Parameters
        ----------
        partition : int
        samples, bad, told
            As in `write`.
        files : mapping of str to FileEntry
            Its chunk files, which were checked.
        source : str
            The folder of the store's group.
        """
        part = f"{_PARTS}/{partition}-{uuid.uuid4().hex[:12]}"
        self._backend.copy_all({f"{self.folder}/{part}/{name}": f"{source}/{name}" for name in files})
        self._keep(partition, PartitionRecord(tuple(samples), dict(bad), dict(files), part, {}, dict(told or {})))

    def read(self, partition: int, record: PartitionRecord, name: str) -> np.ndarray:
        """Return the rows of one array of a finished partition.

        Raises
        ------
        IntegrityError
            If its file is not what was recorded.
        """
        return read_part(self._backend, self.folder, record, self._encoder, partition, name)

    def records_in(self, folder: str) -> Iterator[tuple[int, PartitionRecord]]:
        """Yield what another attempt at such a store has finished; its files are checked when they are read."""
        for name in self._backend.list(f"{folder}/{_DONE}"):
            record = self._parse(self._backend.read(f"{folder}/{_DONE}/{name}"))
            if record is not None and (number := name.partition("-")[0]).isdecimal():
                yield int(number), record

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
            sources.update({name: f"{self.folder}/{record.part}/{name}" for name in record.files})
        manifest = Manifest(
            kind=kind,
            name=self.name,
            identity=store_identity(self.recipe, dataset_digest),
            attempt=uuid.uuid4().hex,
            rows=self._encoder.rows,
            partition_rows=self._encoder.partition_rows,
            files=files,
            made={**made, **_made_otherwise(made, records), **_told(records), **_who_and_when()},
        )
        publication = Publication(self._backend, self._dataset, manifest)
        result = publication.run(self.folder, self._presence.nonce, content, sources, replaces)
        self._remove()
        return result

    def close(self) -> None:
        """Leave the attempt to others, or to a later run."""
        self._presence.leave()

    def discard(self) -> None:
        """Leave the attempt, and remove it if nobody else is at work on it: its store is published already."""
        if self.others():
            self._presence.leave()
        else:
            self._remove()

    def _remove(self) -> None:
        self._presence.leave()
        try:
            self._backend.remove(self.folder)
        except StorageError:  # the store is published: what cannot be tidied up now is litter, no failure
            return

    def _resume(self) -> None:
        """Keep the partitions whose record can be read and whose files are what it says; anything else is redone."""
        self._remove_interrupted_publications()
        names = self._backend.list(f"{self.folder}/{_DONE}")
        for name, record in zip(names, self._backend.map(self._intact_record, names), strict=True):
            if record is None:
                self._backend.remove_file(f"{self.folder}/{_DONE}/{name}")
            else:
                self._records.setdefault(int(name.partition("-")[0]), {})[record.samples] = record

    def _remove_interrupted_publications(self) -> None:
        for uuid_, stated in Publication.markers(self._backend, self.folder):
            if self._watch.is_surely_dead(stated.writer):
                Publication.undo(self._backend, stated.store, uuid_)
                self._backend.remove_file(Publication.marker(self.folder, uuid_))

    def _intact_record(self, name: str) -> PartitionRecord | None:
        record = self._parse(self._backend.read(f"{self.folder}/{_DONE}/{name}"))
        number = name.partition("-")[0]
        if record is None or not number.isdecimal() or int(number) >= self._encoder.partitions:
            return None
        if set(record.files) != self._encoder.partition_files(int(number)):
            return None
        for file, entry in record.files.items():
            content = self._backend.read(f"{self.folder}/{record.part}/{file}", at_most=entry.length)
            if content is None or FileEntry.of(content) != entry:
                return None
        return record

    def _look(self, partition: int, samples: tuple[str, ...]) -> PartitionRecord | None:
        """Look whether another writer has finished a partition meanwhile."""
        record = self._parse(self._backend.read(self._done(partition, samples)))
        if record is None or record.samples != samples:
            return None
        self._records.setdefault(partition, {})[samples] = record
        return record

    def _look_for_any(self, partition: int) -> None:
        for name in self._backend.list(f"{self.folder}/{_DONE}"):
            if name.startswith(f"{partition}-") and (record := self._intact_record(name)) is not None:
                self._records.setdefault(partition, {})[record.samples] = record

    def _keep(self, partition: int, record: PartitionRecord) -> None:
        """Record a partition, or keep the record of who was faster."""
        path = self._done(partition, record.samples)
        if not self._backend.create(path, record.to_bytes()):
            earlier = self._look(partition, record.samples)
            if earlier is None:  # damaged
                self._backend.write(path, record.to_bytes())
            record = earlier or record
        if self._is_there():
            self._records.setdefault(partition, {})[record.samples] = record
        else:
            self._backend.remove(self.folder)  # what was just written has made it anew

    def _is_there(self) -> bool:
        self.gone = self.gone or self._backend.length(f"{self.folder}/{_ATTEMPT}") is None
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
        return f"{self.folder}/{_DONE}/{partition}-{short(digest(list(samples)))}.json"

    @staticmethod
    def _parse(content: bytes | None) -> PartitionRecord | None:
        try:
            return None if content is None else PartitionRecord.from_bytes(content)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None


def read_part(
    backend: Backend, folder: str, record: PartitionRecord, encoder: GroupEncoder, partition: int, name: str
) -> np.ndarray:
    """Return the rows of one array of a finished partition of the attempt in a folder.

    Raises
    ------
    IntegrityError
        If its file is not what was recorded.
    """
    file = next((file for file in record.files if file.startswith(f"{name}/")), name)
    path = f"{folder}/{record.part}/{file}"
    content = backend.read(path)
    if content is None or FileEntry.of(content) != record.files.get(file):
        raise IntegrityError(f"File '{printable(backend.where(path))}' is damaged. Run the same command again.")
    return encoder.rows_of(name, partition, content)


def attempts_alike(backend: Backend, attempt: Attempt) -> Iterator[str]:
    """Yield the folders of the other attempts in the same data set whose recipe is the same."""
    for folder in attempt_folders(backend, attempt.dataset):
        if folder != attempt.folder and describe_attempt(backend, folder).get("recipe") == attempt.recipe:
            yield folder


def describe_attempt(backend: Backend, folder: str) -> dict[str, Any]:
    """Return what the attempt in a folder is to become; nothing if that cannot be read."""
    return _description(backend.read(f"{folder}/{_ATTEMPT}"))


def attempt_folders(backend: Backend, dataset: str) -> Iterator[str]:
    """Yield the folders of all attempts of a data set."""
    for name in backend.entries(f"{dataset}/{ATTEMPTS}").folders:
        yield f"{dataset}/{ATTEMPTS}/{name}"


def living_writers(backend: Backend, folder: str, watch: Watch | None = None) -> bool:
    """Return whether somebody may be at work on an attempt."""
    watch = watch or Watch(backend, f"{folder}/{_WRITERS}")
    return any(watch.lives(nonce) for nonce in watch.writers())


def refuse_other_recipe(backend: Backend, dataset: str, name: str, recipe: Recipe) -> None:
    """Refuse to begin a store whose like a stopped run left unfinished, made otherwise.

    Raises
    ------
    StaleError
        If there is such an attempt and nobody is at work on it; the message shows what differs.
    """
    for folder in attempt_folders(backend, dataset):
        before, now = describe_attempt(backend, folder), _without_budget(recipe)
        if before.get("name") != name or _without_budget(before.get("recipe", recipe)) == now:
            continue
        if any(True for _ in backend.list(f"{folder}/{_DONE}")) and not living_writers(backend, folder):
            listed = "; ".join(differences(before["recipe"], now))
            raise StaleError(
                f"An unfinished extraction of '{printable(name)}' was made otherwise than this one: {printable(listed)}. "
                "Run it as before to finish it, or add --anew to leave it and begin another one."
            )


def _without_budget(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe but for what an image may cost: who is told to allow more must be able to."""
    return {key: value for key, value in recipe.items() if key != "budget"}


def tidy_published(backend: Backend, dataset: str) -> None:
    """Remove the attempts whose store was published right before a kill."""
    for folder in attempt_folders(backend, dataset):
        published = [Publication.is_published(backend, *marker) for marker in Publication.markers(backend, folder)]
        if any(published) and not living_writers(backend, folder) and backend.may_write(folder):
            backend.remove(folder)


def _folder(dataset: str, name: str, recipe: Recipe, description: bytes) -> str:
    listed = short(digest(description.decode()))[:8]
    return f"{dataset}/{ATTEMPTS}/{slug(name)}-{short(digest(recipe))}-{listed}"


def _description(content: bytes | None) -> dict[str, Any]:
    try:
        stated = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        return {}
    return stated if isinstance(stated, dict) else {}


def _made_otherwise(made: Mapping[str, Any], records: Sequence[PartitionRecord]) -> dict[str, list[Any]]:
    """Return with what else partitions were computed, where that was not what finishes the attempt."""
    others = {canonical_json(dict(record.made)): dict(record.made) for record in records}
    listed = [other for other in others.values() if any(made.get(key) != value for key, value in other.items())]
    return {"also_made_with": listed} if listed else {}


def _told(records: Sequence[PartitionRecord]) -> dict[str, Any]:
    """Return what the partitions tell, as one: the greatest deviation, and the sum of the rows taken over."""
    deviations = [float(record.told["softmax_deviation"]) for record in records if "softmax_deviation" in record.told]
    sources: dict[str, int] = {}
    for record in records:
        for source, rows in record.told.get("reused", {}).items():
            sources[source] = sources.get(source, 0) + int(rows)
    found: dict[str, Any] = {"softmax_deviation": max(deviations)} if deviations else {}
    return {**found, "reused_from": sources} if sources else found


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        return "unknown"


def _who_and_when() -> dict[str, str]:
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    return {"created": now, "host": platform.node(), "user": _user()}
