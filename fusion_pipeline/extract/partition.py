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


@dataclass(frozen=True)
class Loaded:
    """One image, as the decoding threads hand it over."""

    sha256: str
    reason: Reason
    prepared: Mapping[Hashable, Prepared]
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
    arrays : mapping of int to mapping
        The rows by array name, for each producer in the order given; empty where a bad row made them useless.
    """

    sha256: tuple[str, ...]
    bad: Mapping[int, Reason]
    arrays: tuple[Mapping[str, np.ndarray], ...]


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

    def batches(self, paths: Sequence[bytes], producers: Sequence[Producer], *, check: bool) -> Iterator[list[Loaded]]:
        """Yield the images in batches, in order.

        Parameters
        ----------
        paths : sequence of bytes
            Absolute paths.
        producers : sequence of Producer
            Who needs them; with none, files are only read and hashed.
        check : bool
            Whether to decode all the same, to find bad files.

        Yields
        ------
        list of Loaded
        """
        shared = {producer.preparation: producer for producer in producers}
        chunks = [paths[start : start + self._batch_size] for start in range(0, len(paths), self._batch_size)]
        pending: list[list[Future[Loaded]]] = []
        for chunk in [*chunks, *[[]] * _BATCHES_AHEAD]:
            pending.append([self._pool.submit(self._load, path, shared, check) for path in chunk])
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

    def _load(self, path: bytes, shared: Mapping[Hashable, Producer], check: bool) -> Loaded:
        meter = Meter(opens=1)
        start = time.perf_counter()
        raw = read_file(path, self._budget)
        start = meter.book("read", start)
        if raw.content is None or not (shared or check):
            return Loaded(raw.sha256, raw.reason, {}, meter)
        decoded = self._decode(path, raw.content)
        start = meter.book("decode", start)
        if decoded.image is None:
            return Loaded(raw.sha256, decoded.reason, {}, meter)
        prepared = {key: producer.prepare(decoded.image) for key, producer in shared.items()}
        meter.book("resize", start)
        return Loaded(raw.sha256, Reason.OK, prepared, meter)

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
    producers: Sequence[Producer],
    dtypes: Sequence[Mapping[str, str]],
    *,
    stop_on_bad: bool,
) -> PartitionRows:
    """Compute the rows of one partition for several stores in a single pass over its images.

    A bad image keeps its place in its batch, as zeros, so that the batches and with them the last bits of every other
    row are the same whatever is decided about it; its own rows are NaN (zero for integers).

    Parameters
    ----------
    loader : ImageLoader
        Where images come from.
    paths : sequence of bytes
        Absolute path of each row's image.
    first_row : int
        Row number of the first one.
    producers : sequence of Producer
        Who makes rows; with none, the files are only hashed (and decoded, to find bad ones, if `stop_on_bad`).
    dtypes : sequence of mapping
        For each producer, the dtype of each of its arrays.
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
    pieces: list[list[Mapping[str, np.ndarray]]] = [[] for _ in producers]
    for batch in loader.batches(paths, producers, check=stop_on_bad):
        start = first_row + len(sha256)
        sha256 += (loaded.sha256 for loaded in batch)
        bad.update({start + i: loaded.reason for i, loaded in enumerate(batch) if loaded.reason is not Reason.OK})
        if stop_on_bad and bad:
            continue
        for producer, dtype, rows in zip(producers, dtypes, pieces, strict=True):
            started = time.perf_counter()
            computed = _compute(producer, batch)
            loader.meter.book(producer.name, started, len(batch))
            good = np.array([loaded.reason is Reason.OK for loaded in batch])
            names = paths[start - first_row : start - first_row + len(batch)]
            rows.append({name: _store_dtype(name, v, dtype[name], good, names) for name, v in computed.items()})
    if stop_on_bad and bad:
        return PartitionRows(tuple(sha256), bad, ())
    status = np.array([bad.get(first_row + i, Reason.OK) for i in range(len(paths))], dtype=np.uint8)
    return PartitionRows(tuple(sha256), bad, tuple({**_joined(rows), layout.STATUS: status} for rows in pieces))


def _compute(producer: Producer, batch: Sequence[Loaded]) -> Mapping[str, np.ndarray]:
    prepared = [loaded.prepared.get(producer.preparation) for loaded in batch]
    template = next((arrays for arrays in prepared if arrays is not None), None)
    if template is None:
        template = producer.prepare(Image.new("RGB", (64, 64)))  # a whole batch of bad images
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
        reason = "overflow float16; use --dtype float32" if np.isfinite(values[row]).all() else "are not finite numbers"
        raise UnusableDataError(f"Array '{name}': the values of image '{printable(os.fsdecode(paths[row]))}' {reason}.")
    stored[~good] = np.nan
    return stored


def _joined(rows: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([piece[name] for piece in rows]) for name in rows[0]} if rows else {}
