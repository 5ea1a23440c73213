"""The records in an attempt's folder into those of its partitions that are finished, whoever made them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from fusion_pipeline.store.identity import digest, short
from fusion_pipeline.store.layout import GroupEncoder
from fusion_pipeline.store.making.record import PartitionRecord, parse_record
from fusion_pipeline.store.making.unfinished import DONE
from fusion_pipeline.store.storage.backend import Backend

_Key = tuple[int, tuple[str, ...]]


class FinishedPartitions:
    """The finished partitions of an attempt, each by its number and the sha256 of its samples.

    What lies there at first is compared with its record: a part that a crash damaged is made again, not published.
    What others finish later is taken at its word, for they have just written it.

    Parameters
    ----------
    backend : Backend
        The cache.
    folder : str
        Of the attempt.
    encoder : GroupEncoder
        The store's arrays.
    when_asked : bool
        Whether a partition is compared only when somebody asks for it, as suits who makes a few of many.
    """

    def __init__(self, backend: Backend, folder: str, encoder: GroupEncoder, *, when_asked: bool = False) -> None:
        self._backend = backend
        self._folder = folder
        self._encoder = encoder
        self._when_asked = when_asked
        self._records: dict[int, dict[tuple[str, ...], PartitionRecord]] = {}
        self._not_compared: dict[_Key, str] = {}

    def load(self) -> None:
        """Keep the partitions whose record can be read and whose files are what it says; anything else is redone."""
        names = self._backend.list(f"{self._folder}/{DONE}")
        judge = self._stated if self._when_asked else self._intact
        for name, record in zip(names, self._backend.map(judge, names), strict=True):
            if record is None:
                self._remove(name)
                continue
            partition = _number(name)
            self.add(partition, record)
            if self._when_asked:
                self._not_compared[partition, record.samples] = name

    def __iter__(self) -> Iterator[tuple[int, PartitionRecord]]:
        """Yield the number and the record of each that is known by now."""
        for partition, found in sorted(self._records.items()):
            yield from ((partition, record) for record in list(found.values()))

    def has(self, partition: int) -> bool:
        """Return whether a partition is done, for whatever samples."""
        for samples in list(self._records.get(partition, ())):
            self._compare(partition, samples)
        return bool(self._records.get(partition))

    def find(self, partition: int, samples: Sequence[str]) -> PartitionRecord | None:
        """Return the record of a partition that is done for these samples, by whomever."""
        self._compare(partition, tuple(samples))
        return self._records.get(partition, {}).get(tuple(samples)) or self.look(partition, samples)

    def look(self, partition: int, samples: Sequence[str]) -> PartitionRecord | None:
        """Look whether another writer has finished a partition meanwhile."""
        shared = tuple(samples)
        record = parse_record(self._backend.read(self.place(partition, samples)))
        if record is None or record.samples != shared or set(record.files) != self._encoder.partition_files(partition):
            return None
        record = replace(record, samples=shared)  # equal, and in memory once for all stores of a run
        self.add(partition, record)
        return record

    def look_for_any(self, partition: int) -> None:
        """Find what a dead writer finished, for whatever samples, and compare it."""
        for name in self._backend.list(f"{self._folder}/{DONE}"):
            if name.startswith(f"{partition}-") and (record := self._intact(name)) is not None:
                self.add(partition, record)

    def add(self, partition: int, record: PartitionRecord) -> None:
        """Know of one more."""
        self._records.setdefault(partition, {})[record.samples] = record

    def place(self, partition: int, samples: Sequence[str]) -> str:
        """Return the path of a record, relative to the cache."""
        return f"{self._folder}/{DONE}/{partition}-{short(digest(list(samples)))}.json"

    def _compare(self, partition: int, samples: tuple[str, ...]) -> None:
        name = self._not_compared.pop((partition, samples), None)
        if name is not None and self._intact(name) is None:
            del self._records[partition][samples]
            self._remove(name)

    def _stated(self, name: str) -> PartitionRecord | None:
        """Return a record, if it can be one of this store."""
        record, number = parse_record(self._backend.read(f"{self._folder}/{DONE}/{name}")), name.partition("-")[0]
        if record is None or not number.isdecimal() or int(number) >= self._encoder.partitions:
            return None
        return record if set(record.files) == self._encoder.partition_files(int(number)) else None

    def _intact(self, name: str) -> PartitionRecord | None:
        """Return a record, if the files are what it says."""
        record = self._stated(name)
        if record is None:
            return None
        for file, entry in record.files.items():
            content = self._backend.read(record.path(self._folder, file), at_most=entry.length)
            if content is None or not entry.matches(content):
                return None
        return record

    def _remove(self, name: str) -> None:
        self._backend.remove_file(f"{self._folder}/{DONE}/{name}")


def _number(name: str) -> int:
    return int(name.partition("-")[0])
