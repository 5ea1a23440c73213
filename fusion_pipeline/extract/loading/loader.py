"""The images of one partition after another into batches, each file opened and decoded once, ahead of who computes."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from fusion_pipeline.errors import ClusterError, UnusableDataError, printable
from fusion_pipeline.extract.loading.decoders import Decoder
from fusion_pipeline.extract.loading.preparation import Preparation, Prepared, PreparedImage
from fusion_pipeline.extract.meter import Meter
from fusion_pipeline.extract.producers import Producer
from fusion_pipeline.images.decode import DecodeBudget, Place, Reason, place_name, read_file

LOADED_AT_ONCE = 32
"""Images in a batch of the loader, where nobody says otherwise."""

_BATCHES_AHEAD = 2
_BYTES_AHEAD = 1 << 30  # a thousand images for five networks
_NO_IMAGE = PreparedImage(Reason.OK)

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


@dataclass(frozen=True, eq=False)
class Job:
    """The images of one partition, and who needs them.

    Parameters
    ----------
    number : int
        Of the partition.
    places : sequence of bytes or Member
        Where they are read from: absolute paths, or parts of files.
    tasks : sequence of Task
        Who needs them; an image that none of them needs is only read and hashed.
    check : bool
        Whether to decode all the same, to find bad files.
    """

    number: int
    places: Sequence[Place]
    tasks: Sequence[Task] = ()
    check: bool = False

    @property
    def paths(self) -> list[bytes]:
        """What to call its images in a message."""
        return [place_name(place) for place in self.places]


@dataclass(frozen=True)
class Loaded:
    """One image, as the decoding threads hand it over.

    Parameters
    ----------
    sha256 : str
        Of its file; empty if that cannot be read.
    reason : Reason
        Whether it is an image.
    image : PreparedImage
        What it was prepared into; who drops it gives its memory back.
    ways : tuple of Preparation
        The preparations that somebody needed, in the order of the image's arrays.
    taken : mapping of int to tuple
        The rows that were found instead, by the position of the task.
    meter : Meter
        What it cost.
    """

    sha256: str
    reason: Reason
    image: PreparedImage
    ways: tuple[Preparation, ...]
    taken: Mapping[int, Taken]
    meter: Meter

    def prepared(self, preparation: Preparation) -> Prepared | None:
        """Return what a producer's network takes in; None for a bad image, or if nobody needed it."""
        return dict(zip(self.ways, self.image.arrays, strict=False)).get(preparation)


class ImageLoader:
    """Reads, hashes, decodes and prepares images ahead of who computes.

    While a network is at a batch, its next one is loaded: as many images as the largest batch has, as far as a
    partition has them and 1 GiB of pixels holds them, and a few batches of the loader at least.

    Parameters
    ----------
    workers : int
        Threads or processes that decode.
    batch_size : int
        Images in a batch.
    budget : DecodeBudget
        What an image may cost.
    decoder : Decoder
        Decodes and prepares; the loader closes it.
    progress : callable
        Called with the number of images done.
    meter : Meter
        Where it books what it does.
    by_turns : bool
        Whether to decode only while somebody waits for images: for networks on the processors that decode.

    Attributes
    ----------
    threads : int
        How many read; they decode as well, unless processes do.
    """

    def __init__(
        self,
        *,
        workers: int,
        batch_size: int,
        budget: DecodeBudget,
        decoder: Decoder,
        progress: Callable[[int], object],
        meter: Meter,
        by_turns: bool = False,
    ) -> None:
        self.meter = meter
        self.threads = workers * decoder.threads_per_worker
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="decode")
        self._least_ahead = max(_BATCHES_AHEAD * batch_size, 2 * self.threads)
        self._batch_size = batch_size
        self._budget = budget
        self._decoder = decoder
        self._progress = progress
        self._by_turns = by_turns
        self._our_turn = threading.Event()
        self._our_turn.set()

    def __enter__(self) -> ImageLoader:
        return self

    def __exit__(self, *_: object) -> None:
        self._our_turn.set()  # or those who wait for theirs would never end
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._decoder.close()

    def partitions(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Iterator[list[Loaded]]]]:
        """Yield each job and its images in batches, in order; the next job is asked for before this one is done.

        Parameters
        ----------
        jobs : iterable of Job

        Yields
        ------
        job : Job
        batches : iterator of list of Loaded
            To be used up before the next job is asked for.
        """
        for job, batches in itertools.groupby(self._batches(jobs), key=itemgetter(0)):
            yield job, map(itemgetter(1), batches)

    def _batches(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, list[Loaded]]]:
        pending: deque[tuple[Job, list[Future[Loaded]]]] = deque()
        images = 0
        for job in jobs:
            ahead = self._ahead_of(job)
            for places in self._chunks(job.places):
                pending.append((job, self._begin(job, places)))
                images += len(places)
                while images - len(pending[0][1]) >= ahead:
                    first, futures = pending.popleft()
                    images -= len(futures)
                    yield first, self._collect(futures)
        for job, futures in pending:
            yield job, self._collect(futures)

    def _ahead_of(self, job: Job) -> int:
        """Return how many images are loaded while others are computed, and have room made for all of them."""
        largest = max((min(task.producer.batch_size, len(job.places)) for task in job.tasks), default=0)
        one = sum({way: way.n_bytes for way in (task.producer.preparation for task in job.tasks)}.values())
        ahead = max(self._least_ahead, min(largest, _BYTES_AHEAD // max(one, 1)))
        if job.tasks:
            self._decoder.make_room(2 * (ahead + self._batch_size))  # those ahead, and those that wait for a network
        return ahead

    def _chunks(self, places: Sequence[Place]) -> Iterator[Sequence[Place]]:
        for start in range(0, len(places), self._batch_size):
            yield places[start : start + self._batch_size]

    def _begin(self, job: Job, places: Sequence[Place]) -> list[Future[Loaded]]:
        return [self._pool.submit(self._load, place, job) for place in places]

    def _collect(self, futures: Sequence[Future[Loaded]]) -> list[Loaded]:
        start = time.perf_counter()
        self._our_turn.set()
        batch = [future.result() for future in futures]
        # A network has a thread on each processor, and all of them wait for the one whose processor decodes meanwhile.
        if self._by_turns:
            self._our_turn.clear()
        self.meter.book("wait", start, len(batch))
        for loaded in batch:
            self.meter.add(loaded.meter)
        self._progress(len(batch))
        return batch

    def _load(self, place: Place, job: Job) -> Loaded:
        meter = Meter(opens=1)
        start = time.perf_counter()
        raw = read_file(place, self._budget)
        meter.book("read", start)
        if raw.content is None:
            return Loaded(raw.sha256, raw.reason, _NO_IMAGE, (), {}, meter)
        found = {number: task.take(raw.sha256) for number, task in enumerate(job.tasks)}
        taken = {number: row for number, row in found.items() if row is not None}
        ways = tuple({task.producer.preparation: None for i, task in enumerate(job.tasks) if i not in taken})
        # Who has a row of an image has decoded it.
        if not ways and (taken or not job.check):
            return Loaded(raw.sha256, Reason.OK, _NO_IMAGE, (), taken, meter)
        self._our_turn.wait()
        image = self._decode(place, raw.content, ways, meter)
        if image.reason is not Reason.OK:
            return Loaded(raw.sha256, image.reason, image, (), {}, meter)
        return Loaded(raw.sha256, Reason.OK, image, ways, taken, meter)

    def _decode(self, place: Place, content: bytes, ways: Sequence[Preparation], meter: Meter) -> PreparedImage:
        try:
            timed = self._decoder(content, ways)
        except MemoryError:
            # Not the image's fault, and gone on a larger machine: it must not become a row of the store.
            raise UnusableDataError(
                f"No memory left to decode image '{printable(place_name(place))}'. "
                "Use fewer --workers, a smaller --batch-size, or a smaller --max-megapixels."
            ) from None
        except BrokenProcessPool:
            raise ClusterError(
                f"A process that decodes images died at '{printable(place_name(place))}' or at an image beside it: "
                "too little memory, or a file that crashes it. Run the same command again, with fewer --workers or "
                "a smaller --max-megapixels; nothing that was written is lost."
            ) from None
        for stage, seconds in (("decode", timed.decode), ("resize", timed.resize)):
            meter.seconds[stage] += seconds
            meter.images[stage] += 1
        return timed.image
