"""The images of one partition into the rows of every store that needs them, each file opened and decoded once."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from fusion_pipeline.errors import UnusableDataError, printable
from fusion_pipeline.extract.producers import Prepared, Producer
from fusion_pipeline.images.decode import DecodeBudget, Decoded, Reason, decode, read_file
from fusion_pipeline.store import layout

_BATCHES_AHEAD = 2


@dataclass
class Meter:
    """What a run counted: files opened, and seconds by stage.

    Parameters
    ----------
    opens : int
        Image files opened.
    seconds : dict of str to float
        Seconds of work: ``"read"``, ``"decode"`` and ``"resize"`` summed over threads, ``"wait"`` for them in the main
        thread, each producer's computation by its name, and ``"write"``.
    images : dict of str to int
        Images that went through each of these.
    """

    opens: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    images: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def book(self, stage: str, since: float, images: int = 1) -> float:
        """Book the seconds since a time of `time.perf_counter` under a stage; return the time now."""
        now = time.perf_counter()
        self.seconds[stage] += now - since
        self.images[stage] += images
        return now


Taken = tuple[str, Mapping[str, np.ndarray]]
"""Where a row was found that somebody computed before, and the row by array."""


@dataclass(frozen=True)
class Task:
    """What one store needs of the images.

    Parameters
    ----------
    producer : Producer
        Who makes its rows.
    dtypes : mapping of str to str
        The dtype of each array that it makes.
    take : callable
        The sha256 of an image into the row that a store made alike has of it; None if none has.
    """

    producer: Producer
    dtypes: Mapping[str, str]
    take: Callable[[str], Taken | None] = lambda _sha256: None


@dataclass(frozen=True)
class Loaded:
    """One image, as the decoding threads hand it over.

    Parameters
    ----------
    sha256 : str
        Of its file; empty if that cannot be read.
    reason : Reason
        Whether it is an image.
    prepared : mapping
        What each producer's network takes in, by the producer's preparation; only what somebody needs.
    taken : mapping of int to tuple
        The rows that were found instead, by the position of the task.
    meter : Meter
        What it cost.
    """

    sha256: str
    reason: Reason
    prepared: Mapping[Hashable, Prepared]
    taken: Mapping[int, Taken]
    meter: Meter


@dataclass(frozen=True)
class PartitionRows:
    """What one pass over the images of a partition gave.

    Parameters
    ----------
    sha256 : tuple of str
        Of each file, hexadecimal; empty for an unreadable one.
    bad : mapping of int to Reason
        Rows without an image, by row number in the store.
    arrays : tuple of mapping
        The rows by array name, for each task in the order given; empty where a bad row made them useless.
    reused : tuple of mapping of str to int
        For each task, the number of rows that were found instead of computed, by where they were found.
    """

    sha256: tuple[str, ...]
    bad: Mapping[int, Reason]
    arrays: tuple[Mapping[str, np.ndarray], ...]
    reused: tuple[Mapping[str, int], ...] = ()


class ImageLoader:
    """Reads, hashes, decodes and prepares images in threads, a few batches ahead of who computes.

    Parameters
    ----------
    workers : int
        Decoding threads: Pillow decodes and resizes without holding the interpreter's lock.
    batch_size : int
        Images in a batch.
    budget : DecodeBudget
        What an image may cost.
    progress : callable
        Called with the number of images done.
    meter : Meter
        Where it books what it does.
    """

    def __init__(
        self,
        *,
        workers: int,
        batch_size: int,
        budget: DecodeBudget,
        progress: Callable[[int], object],
        meter: Meter,
    ) -> None:
        self.meter = meter
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        self._batch_size = batch_size
        self._budget = budget
        self._progress = progress

    def __enter__(self) -> ImageLoader:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def batches(self, paths: Sequence[bytes], tasks: Sequence[Task], *, check: bool) -> Iterator[list[Loaded]]:
        """Yield the images in batches, in order.

        Parameters
        ----------
        paths : sequence of bytes
            Absolute paths.
        tasks : sequence of Task
            Who needs them; an image that none of them needs is only read and hashed.
        check : bool
            Whether to decode all the same, to find bad files.

        Yields
        ------
        list of Loaded
        """
        chunks = [paths[start : start + self._batch_size] for start in range(0, len(paths), self._batch_size)]
        pending: list[list[Future[Loaded]]] = []
        for chunk in [*chunks, *[[]] * _BATCHES_AHEAD]:
            pending.append([self._pool.submit(self._load, path, tasks, check) for path in chunk])
            if len(pending) > _BATCHES_AHEAD and (futures := pending.pop(0)):
                yield self._collect(futures)

    def _collect(self, futures: Sequence[Future[Loaded]]) -> list[Loaded]:
        start = time.perf_counter()
        batch = [future.result() for future in futures]
        self.meter.book("wait", start, len(batch))
        for loaded in batch:
            self.meter.opens += loaded.meter.opens
            for stage, seconds in loaded.meter.seconds.items():
                self.meter.seconds[stage] += seconds
                self.meter.images[stage] += 1
        self._progress(len(batch))
        return batch

    def _load(self, path: bytes, tasks: Sequence[Task], check: bool) -> Loaded:
        meter = Meter(opens=1)
        start = time.perf_counter()
        raw = read_file(path, self._budget)
        start = meter.book("read", start)
        if raw.content is None:
            return Loaded(raw.sha256, raw.reason, {}, {}, meter)
        found = {number: task.take(raw.sha256) for number, task in enumerate(tasks)}
        taken = {number: row for number, row in found.items() if row is not None}
        needed = {task.producer.preparation: task.producer for i, task in enumerate(tasks) if i not in taken}
        # Who has a row of an image has decoded it.
        if not needed and (taken or not check):
            return Loaded(raw.sha256, Reason.OK, {}, taken, meter)
        decoded = self._decode(path, raw.content)
        start = meter.book("decode", start)
        if decoded.image is None:
            return Loaded(raw.sha256, decoded.reason, {}, {}, meter)
        prepared = {key: producer.prepare(decoded.image) for key, producer in needed.items()}
        meter.book("resize", start)
        return Loaded(raw.sha256, Reason.OK, prepared, taken, meter)

    def _decode(self, path: bytes, content: bytes) -> Decoded:
        try:
            return decode(content, self._budget)
        except MemoryError:
            # Not the image's fault, and gone on a larger machine: it must not become a row of the store.
            raise UnusableDataError(
                f"No memory left to decode image '{printable(path)}'. "
                "Use fewer --workers, a smaller --batch-size, or a smaller --max-megapixels."
            ) from None


def compute_partition(
    loader: ImageLoader,
    paths: Sequence[bytes],
    first_row: int,
    tasks: Sequence[Task],
    *,
    stop_on_bad: bool,
) -> PartitionRows:
    """Compute the rows of one partition for several stores in a single pass over its images.

    Of an image that occurs twice, and of one whose row a store made alike has, nothing is computed. A bad image keeps
    its place in its batch, as zeros, so that the batches and with them the last bits of every other row are the same
    whatever is decided about it; its own rows are NaN (zero for integers).

    Parameters
    ----------
    loader : ImageLoader
        Where images come from.
    paths : sequence of bytes
        Absolute path of each row's image.
    first_row : int
        Row number of the first one.
    tasks : sequence of Task
        Whose rows to make; with none, the files are only hashed (and decoded, to find bad ones, if `stop_on_bad`).
    stop_on_bad : bool
        Whether a bad image makes the partition useless, so that nothing more is computed once one is found.

    Returns
    -------
    PartitionRows

    Raises
    ------
    UnusableDataError
        If a computed row is not finite, or overflows its dtype.
    """
    sha256: list[str] = []
    bad: dict[int, Reason] = {}
    makers = [_RowMaker(number, task, len(paths)) for number, task in enumerate(tasks)]
    for batch in loader.batches(paths, tasks, check=stop_on_bad):
        first = len(sha256)
        sha256 += (loaded.sha256 for loaded in batch)
        bad.update({first_row + first + i: item.reason for i, item in enumerate(batch) if item.reason is not Reason.OK})
        if stop_on_bad and bad:
            continue
        for maker in makers:
            maker.add(loader.meter, batch, first, paths[first : first + len(batch)])
    if stop_on_bad and bad:
        return PartitionRows(tuple(sha256), bad, ())
    status = np.array([bad.get(first_row + i, Reason.OK) for i in range(len(paths))], dtype=np.uint8)
    arrays = tuple({**maker.rows(), layout.STATUS: status} for maker in makers)
    return PartitionRows(tuple(sha256), bad, arrays, tuple(maker.reused for maker in makers))


class _RowMaker:
    """The rows of one partition of one store, batch by batch."""

    def __init__(self, number: int, task: Task, rows: int) -> None:
        self.reused: dict[str, int] = defaultdict(int)
        self._number = number
        self._task = task
        self._length = rows
        self._arrays: dict[str, np.ndarray] = {}
        self._first: dict[str, int] = {}
        self._blank: list[int] = []

    def add(self, meter: Meter, batch: Sequence[Loaded], first: int, paths: Sequence[bytes]) -> None:
        """Make the rows from position `first` on."""
        missing: list[int] = []
        for offset, item in enumerate(batch):
            if self._number in item.taken:
                source, row = item.taken[self._number]
                self._put(first + offset, row)
                self.reused[source] += 1
            elif item.reason is Reason.OK and item.sha256 in self._first:
                continue  # its like is in this partition, or in this very batch
            else:
                missing.append(offset)
                if item.reason is Reason.OK:
                    self._first[item.sha256] = first + offset
        rows = [first + offset for offset in missing]
        if any(batch[offset].reason is Reason.OK for offset in missing):
            self._compute(meter, [batch[offset] for offset in missing], rows, [paths[offset] for offset in missing])
        else:  # nothing but bad images: no network needs to see them
            self._blank += rows
        self._copy_twins(batch, first, set(missing))

    def rows(self) -> Mapping[str, np.ndarray]:
        """Return the finished rows by array name."""
        if self._blank and not self._arrays:
            template = self._task.producer.compute(
                tuple(array[np.newaxis] for array in self._task.producer.prepare(Image.new("RGB", (64, 64))))
            )
            for name, values in template.items():
                self._array(name, values.astype(self._task.dtypes[name]))
        for values in self._arrays.values():
            values[self._blank] = np.nan if np.issubdtype(values.dtype, np.floating) else 0
        return self._arrays

    def _compute(self, meter: Meter, batch: Sequence[Loaded], rows: Sequence[int], paths: Sequence[bytes]) -> None:
        started = time.perf_counter()
        computed = _compute(self._task.producer, batch)
        meter.book(self._task.producer.name, started, len(batch))
        good = np.array([item.reason is Reason.OK for item in batch])
        for name, values in computed.items():
            stored = _store_dtype(name, values, self._task.dtypes[name], good, paths)
            self._array(name, stored)[rows] = stored

    def _copy_twins(self, batch: Sequence[Loaded], first: int, computed: set[int]) -> None:
        for offset, item in enumerate(batch):
            if offset not in computed and self._number not in item.taken:
                for values in self._arrays.values():
                    values[first + offset] = values[self._first[item.sha256]]
                self.reused["this store"] += 1

    def _put(self, row: int, values: Mapping[str, np.ndarray]) -> None:
        for name, value in values.items():
            if name in self._task.dtypes and name != layout.STATUS:
                self._array(name, value[np.newaxis])[row] = value

    def _array(self, name: str, like: np.ndarray) -> np.ndarray:
        if name not in self._arrays:
            self._arrays[name] = np.empty((self._length, *like.shape[1:]), like.dtype)
        return self._arrays[name]


def _compute(producer: Producer, batch: Sequence[Loaded]) -> Mapping[str, np.ndarray]:
    prepared = [loaded.prepared.get(producer.preparation) for loaded in batch]
    template = next(arrays for arrays in prepared if arrays is not None)
    zeros = tuple(np.zeros_like(array) for array in template)
    filled = [zeros if arrays is None else arrays for arrays in prepared]
    return producer.compute(tuple(np.stack(column) for column in zip(*filled, strict=True)))


def _store_dtype(name: str, values: np.ndarray, dtype: str, good: np.ndarray, paths: Sequence[bytes]) -> np.ndarray:
    """Convert rows to the dtype of their array; blank the bad ones, refuse good ones that would not be finite."""
    if np.issubdtype(np.dtype(dtype), np.integer):
        stored = values.astype(dtype, copy=True)
        stored[~good] = 0
        return stored
    with np.errstate(over="ignore"):
        stored = values.astype(dtype)
    finite = np.isfinite(stored).reshape(len(stored), -1).all(axis=1)
    if (good & ~finite).any():
        row = int(np.argmax(good & ~finite))
        reason = (
            "overflow float16; use --dtype float32 --anew"
            if np.isfinite(values[row]).all()
            else "are not finite numbers"
        )
        raise UnusableDataError(f"Array '{name}': the values of image '{printable(os.fsdecode(paths[row]))}' {reason}.")
    stored[~good] = np.nan
    return stored
