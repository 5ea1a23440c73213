"""The images of one partition into the rows of every store that needs them."""

from __future__ import annotations

import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from fusion_pipeline.errors import UnusableDataError, printable
from fusion_pipeline.extract.loading.loader import Job, Loaded, Task
from fusion_pipeline.extract.loading.preparation import Prepared
from fusion_pipeline.extract.meter import Meter
from fusion_pipeline.extract.producers import Producer
from fusion_pipeline.images.decode import Reason
from fusion_pipeline.store import layout


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


def compute_partition(
    meter: Meter,
    job: Job,
    batches: Iterable[Sequence[Loaded]],
    first_row: int,
    *,
    stop_on_bad: bool,
    hash_only: bool = False,
) -> PartitionRows:
    """Compute the rows of one partition for several stores in a single pass over its images.

    Of an image that occurs twice, and of one whose row a store made alike has, nothing is computed. A bad image keeps
    its place in its batch, as zeros, so that the batches and with them the last bits of every other row are the same
    whatever is decided about it; its own rows are NaN (zero for integers).

    Parameters
    ----------
    meter : Meter
        Where the networks' seconds are booked.
    job : Job
        The images and the tasks; with none, the files are only hashed (and decoded, to find bad ones, if it says so).
    batches : iterable of sequence of Loaded
        The images, in order.
    first_row : int
        Row number of the first one.
    stop_on_bad : bool
        Whether a bad image makes the partition useless, so that nothing more is computed once one is found.
    hash_only : bool
        Whether it is useless from the start.

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
    makers = [] if hash_only else [_RowMaker(number, task, job.paths) for number, task in enumerate(job.tasks)]
    for batch in batches:
        first = len(sha256)
        sha256 += (loaded.sha256 for loaded in batch)
        bad.update({first_row + first + i: item.reason for i, item in enumerate(batch) if item.reason is not Reason.OK})
        if not (stop_on_bad and bad):
            for maker in makers:
                maker.add(batch, first)
    if stop_on_bad and bad:
        return PartitionRows(tuple(sha256), bad, ())
    status = np.array([bad.get(first_row + i, Reason.OK) for i in range(len(sha256))], dtype=np.uint8)
    arrays = tuple({**maker.rows(meter), layout.STATUS: status} for maker in makers)
    return PartitionRows(tuple(sha256), bad, arrays, tuple(maker.reused for maker in makers))


class _Waiting(NamedTuple):
    """An image that is to be computed, and its row."""

    row: int
    item: Loaded


class _Running(NamedTuple):
    """Rows that a network is at, which of them have an image, and what they will be."""

    rows: list[int]
    good: np.ndarray
    result: Callable[[], Mapping[str, np.ndarray]]


class _RowMaker:
    """The rows of one partition of one store, batch by batch."""

    def __init__(self, number: int, task: Task, paths: Sequence[bytes]) -> None:
        self.reused: dict[str, int] = defaultdict(int)
        self._number = number
        self._task = task
        self._paths = paths
        self._spent = dict(task.producer.seconds)
        self._computed = 0
        self._arrays: dict[str, np.ndarray] = {}
        self._first: dict[str, int] = {}
        self._twins: dict[int, int] = {}
        self._blank: list[int] = []
        self._waiting: list[_Waiting] = []
        self._running: deque[_Running] = deque()

    def add(self, batch: Sequence[Loaded], first: int) -> None:
        """Take on the rows from position `first` on; networks begin as soon as they have a batch of theirs."""
        for row, item in enumerate(batch, first):
            # Looked for again: the partition before this one may have had the image, while this one was loading.
            taken = item.taken.get(self._number) or (self._task.take(item.sha256) if item.sha256 else None)
            if item.reason is Reason.OK and taken is not None:
                self._put(row, taken[1])
                self.reused[taken[0]] += 1
            elif item.reason is Reason.OK and item.sha256 in self._first:
                self._twins[row] = self._first[item.sha256]
                self.reused["this store"] += 1
            else:
                if item.reason is Reason.OK:
                    self._first[item.sha256] = row
                self._waiting.append(_Waiting(row, item))
        size = self._task.producer.batch_size or len(self._waiting)
        while size and len(self._waiting) >= size:
            self._launch(size)
            self._settle(all_but=1)  # the one before, while this one is computed

    def rows(self, meter: Meter) -> Mapping[str, np.ndarray]:
        """Return the finished rows by array name."""
        if self._waiting:
            self._launch(len(self._waiting))
        self._settle(all_but=0)
        if self._blank and not self._arrays:
            for name, values in _like_nothing(self._task.producer).items():
                self._array(name, values.astype(self._task.dtypes[name]))
        for values in self._arrays.values():
            values[self._blank] = np.nan if np.issubdtype(values.dtype, np.floating) else 0
            values[list(self._twins)] = values[list(self._twins.values())]
        spent = {stage: now - self._spent.get(stage, 0.0) for stage, now in self._task.producer.seconds.items()}
        meter.book_engine(self._task.producer.name, spent, self._computed)
        return self._arrays

    def _launch(self, size: int) -> None:
        """Let the network begin with the first of those that wait."""
        rows = [row for row, _ in self._waiting[:size]]
        good = np.array([item.reason is Reason.OK for _, item in self._waiting[:size]])
        batch = self._stacked(size)
        # The pixels were copied: their memory is needed for images to come.
        del self._waiting[:size]
        if batch is None:  # nothing but bad images: no network needs to see them
            self._blank += rows
            return
        self._running.append(_Running(rows, good, self._task.producer.launch(batch)))
        self._computed += len(rows)

    def _stacked(self, size: int) -> Prepared | None:
        """Return the first of those that wait as one batch, with zeros for bad images; None if all are bad."""
        prepared = [item.prepared(self._task.producer.preparation) for _, item in self._waiting[:size]]
        template = next((arrays for arrays in prepared if arrays is not None), None)
        if template is None:
            return None
        zeros = tuple(np.zeros_like(array) for array in template)
        columns = zip(*(zeros if arrays is None else arrays for arrays in prepared), strict=True)
        return tuple(map(np.stack, columns))

    def _settle(self, all_but: int) -> None:
        """Wait for the networks, but for the last batches, and keep what they give."""
        while len(self._running) > all_but:
            rows, good, result = self._running.popleft()
            paths = [self._paths[row] for row in rows]
            for name, values in result().items():
                stored = _store_dtype(name, values, self._task.dtypes[name], good, paths)
                self._array(name, stored)[rows] = stored

    def _put(self, row: int, values: Mapping[str, np.ndarray]) -> None:
        for name, value in values.items():
            if name in self._task.dtypes and name != layout.STATUS:
                self._array(name, value[np.newaxis])[row] = value

    def _array(self, name: str, like: np.ndarray) -> np.ndarray:
        if name not in self._arrays:
            self._arrays[name] = np.empty((len(self._paths), *like.shape[1:]), like.dtype)
        return self._arrays[name]


def _like_nothing(producer: Producer) -> Mapping[str, np.ndarray]:
    """Return one row of a producer, for its shape."""
    return producer.launch(tuple(array[np.newaxis] for array in producer.preparation(Image.new("RGB", (64, 64)))))()


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
