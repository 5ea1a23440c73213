"""The sha256 of an image into its row of a store, wherever a store made in the same way has it already."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Protocol

import numpy as np

from fusion_pipeline.errors import DeniedError, FusionError
from fusion_pipeline.store.cache import Cache
from fusion_pipeline.store.identity import Recipe, recipe_of
from fusion_pipeline.store.layout import GroupEncoder
from fusion_pipeline.store.making.attempt import Attempt
from fusion_pipeline.store.making.record import PartitionRecord, parse_record, read_part
from fusion_pipeline.store.making.unfinished import DONE, attempts_alike, describe_attempt
from fusion_pipeline.store.reader import Store
from fusion_pipeline.store.storage.backend import Backend

_CHUNKS_KEPT = 8


class Source(Protocol):
    """Something that holds rows of finished partitions."""

    name: str
    """What a manifest calls it."""

    def read(self, partition: int, array: str) -> np.ndarray:
        """Return the rows of one array in one partition, checked; a FusionError if that cannot be."""
        ...


class _Part:
    """The rows of one partition, by the sha256 of their images; no two are equal."""

    def __init__(self, source: Source, partition: int, samples: Sequence[str]) -> None:
        self.source = source
        self.partition = partition
        self.samples = samples


class PublishedRows:
    """The rows of a published store.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        self.name = store.manifest_digest
        self._store = store
        # To open an array takes a look at all of its partitions: not once for each of them.
        self._array = cache(store.array)

    def read(self, partition: int, array: str) -> np.ndarray:
        """Return the rows of one array in one partition; see `Source`."""
        rows = self._store.manifest.partition_rows
        return np.asarray(self._array(array)[partition * rows : (partition + 1) * rows])


class AttemptRows:
    """The rows of one finished partition of the attempt at hand.

    Parameters
    ----------
    attempt : Attempt
    record : PartitionRecord
    """

    name = "this store"

    def __init__(self, attempt: Attempt, record: PartitionRecord) -> None:
        self._attempt = attempt
        self._record = record

    def read(self, partition: int, array: str) -> np.ndarray:
        """Return the rows of one array; see `Source`."""
        return self._attempt.read(partition, self._record, array)


class FreshRows:
    """The rows of one partition that are on their way to the storage.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        The rows by array.
    """

    name = "this store"

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays = arrays

    def read(self, partition: int, array: str) -> np.ndarray:  # noqa: ARG002 - it is one partition
        """Return the rows of one array; see `Source`."""
        return self._arrays[array]


class _LeftRows:
    """The rows of a finished partition of another attempt."""

    name = "an unfinished store"

    def __init__(self, backend: Backend, folder: str, record: PartitionRecord, encoder: GroupEncoder) -> None:
        self._backend = backend
        self._folder = folder
        self._record = record
        self._encoder = encoder

    def read(self, partition: int, array: str) -> np.ndarray:
        """Return the rows of one array; see `Source`."""
        return read_part(self._backend, self._folder, self._record, self._encoder, partition, array)


class KnownRows:
    """Rows by the content of their image; safe for threads.

    Parameters
    ----------
    arrays : iterable of str
        The arrays with one row per sample.
    """

    def __init__(self, arrays: Iterable[str]) -> None:
        self._arrays = tuple(arrays)
        # An image costs one entry and nothing else: whoever asks for it looks through the partition.
        self._parts: dict[str, _Part] = {}
        self._chunks: OrderedDict[_Part, Mapping[str, np.ndarray] | None] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._parts)

    def add(self, source: Source, partition: int, samples: Sequence[str], is_good: Callable[[int], bool]) -> None:
        """Add the good rows of a partition, but for images that are known from something that lasts.

        Parameters
        ----------
        source : Source
        partition : int
        samples : sequence of str
            sha256 of the image of each of its rows; empty for an unreadable file.
        is_good : callable
            Given the position of a row in the partition, whether it has an image.
        """
        good = [sha256 if is_good(offset) else "" for offset, sha256 in enumerate(samples)]
        part = _Part(source, partition, samples if all(good) else good)
        for sha256 in filter(None, good):
            known = self._parts.get(sha256)
            if known is None or isinstance(known.source, FreshRows):
                self._parts[sha256] = part

    def take(self, sha256: str) -> tuple[str, Mapping[str, np.ndarray]] | None:
        """Return what holds the row of an image, and the row by array; None if nothing does, or it is damaged."""
        part = self._parts.get(sha256)
        if part is None:
            return None
        chunk = self._chunk(part)
        if chunk is None:
            return None
        offset = part.samples.index(sha256)
        return part.source.name, {name: values[offset] for name, values in chunk.items()}

    def _chunk(self, part: _Part) -> Mapping[str, np.ndarray] | None:
        with self._lock:
            if part not in self._chunks:
                try:
                    self._chunks[part] = {name: part.source.read(part.partition, name) for name in self._arrays}
                except FusionError:  # it is computed instead; whoever reads that store will be told
                    self._chunks[part] = None
                while len(self._chunks) > _CHUNKS_KEPT:
                    self._chunks.popitem(last=False)
            self._chunks.move_to_end(part)
            return self._chunks[part]


def readable_stores(cache: Cache) -> list[Store]:
    """Return the published stores of all data sets, the newest of each first, but for those that cannot be read."""
    return [store for name in cache for _, store in cache[name].survey() if isinstance(store, Store)]


def made_alike(stores: Iterable[Store], recipe: Recipe) -> list[Store]:
    """Return the stores that were made by a recipe, in their order."""
    wanted = dict(recipe)
    return [store for store in stores if recipe_of(store.identity) == wanted]


def add_published(known: KnownRows, store: Store) -> None:
    """Add the rows of a published store, as far as it and its index can be read."""
    try:
        samples, status = store.sample_sha256, store.status
    except FusionError:
        return
    rows, source = store.manifest.partition_rows, PublishedRows(store)
    for partition, start in enumerate(range(0, store.rows, rows)):
        bad = {int(row): int(status[row]) for row in range(start, min(start + rows, store.rows)) if status[row]}
        known.add(source, partition, samples[start : start + rows], _not_in(bad, start))


def add_unfinished(known: KnownRows, backend: Backend, attempt: Attempt, encoder: GroupEncoder) -> None:
    """Add the rows of other attempts at such a store: of a run that was stopped before images were added, say."""
    for folder in attempts_alike(backend, attempt.dataset, attempt.recipe):
        if folder != attempt.folder:
            with suppress(DeniedError):  # another member's, who keeps it private
                _add_left(known, backend, folder, encoder)


def _add_left(known: KnownRows, backend: Backend, folder: str, encoder: GroupEncoder) -> None:
    stated = describe_attempt(backend, folder)
    try:
        like = GroupEncoder(encoder.specs.values(), int(stated["rows"]), int(stated["partition_rows"]))
    except (KeyError, TypeError, ValueError):
        return
    for partition, record in _records_in(backend, folder):
        start = partition * like.partition_rows
        if len(record.samples) == min(like.partition_rows, like.rows - start):
            source = _LeftRows(backend, folder, record, like)
            known.add(source, partition, record.samples, _not_in(record.bad, start))


def _records_in(backend: Backend, folder: str) -> Iterator[tuple[int, PartitionRecord]]:
    """Yield what another attempt has finished; its files are checked when they are read."""
    for name in backend.list(f"{folder}/{DONE}"):
        record, number = parse_record(backend.read(f"{folder}/{DONE}/{name}")), name.partition("-")[0]
        if record is not None and number.isdecimal():
            yield int(number), record


def add_record(known: KnownRows, attempt: Attempt, partition: int, record: PartitionRecord, start: int) -> None:
    """Add the rows of a finished partition that begins at row `start`."""
    known.add(AttemptRows(attempt, record), partition, record.samples, _not_in(record.bad, start))


def _not_in(bad: Mapping[int, int], start: int) -> Callable[[int], bool]:
    return lambda offset: start + offset not in bad
