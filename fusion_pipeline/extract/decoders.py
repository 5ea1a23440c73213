"""The bytes of a file into prepared arrays: in the thread that asks, or in processes that write into shared memory."""

from __future__ import annotations

import errno
import multiprocessing
import os
import queue
import weakref
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np

from fusion_pipeline.errors import ClusterError, UsageError
from fusion_pipeline.extract.decoding_process import Placed, Timed, decode_timed, enter_service, is_in_service, serve
from fusion_pipeline.extract.options import Options
from fusion_pipeline.extract.preparation import Preparation, PreparedImage
from fusion_pipeline.images.decode import DecodeBudget

_SLOTS_PER_WORKER = 32
_GUARD = "put what it does below 'if __name__ == \"__main__\":', or decode in threads"
_SHARED = Path("/dev/shm")  # noqa: S108 - nothing is made there by a name that could be guessed


class Decoder(ABC):
    """Decodes and prepares images; called from several threads at once."""

    @abstractmethod
    def __call__(self, content: bytes, preparations: Sequence[Preparation]) -> Timed:
        """Decode the bytes of a file and prepare the image.

        Raises
        ------
        MemoryError
            If there is not enough memory.
        BrokenProcessPool
            If a process died, be it at this image or at another one.
        ClusterError
            If processes die before they decode anything.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of processes and memory."""


class ThreadDecoder(Decoder):
    """Decodes in the thread that asks: Pillow does not hold the interpreter's lock while it decodes and resizes.

    Parameters
    ----------
    budget : DecodeBudget
        What an image may cost.
    """

    def __init__(self, budget: DecodeBudget) -> None:
        self._budget = budget

    def __call__(self, content: bytes, preparations: Sequence[Preparation]) -> Timed:
        """Decode the bytes of a file and prepare the image; see `Decoder`."""
        return decode_timed(content, self._budget, preparations)

    def close(self) -> None:
        """Do nothing, for it holds nothing; see `Decoder`."""


class ProcessDecoder(Decoder):
    """Decodes in processes, which put the pixels into memory that they share with this one.

    What the interpreter's lock costs is then paid in each process of its own, and a file that brings a decoder down
    takes with it a process that holds nothing.

    Parameters
    ----------
    budget : DecodeBudget
        What an image may cost.
    workers : int
        Number of processes.
    preparations : sequence of Preparation
        All that may be asked for.

    Raises
    ------
    ClusterError
        If there is no shared memory.
    """

    def __init__(self, budget: DecodeBudget, workers: int, preparations: Sequence[Preparation]) -> None:
        # Neither fork, which copies locks that other threads hold, nor spawn, which imports everything anew each time.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["fusion_pipeline.extract.preloaded"])
        self._slot_bytes = max(1, sum(preparation.n_bytes for preparation in set(preparations)))
        self._memory = _shared_memory(workers, self._slot_bytes)
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(self._memory.size // self._slot_bytes):
            self._free.put(slot)
        self._pool = ProcessPoolExecutor(
            workers, mp_context=context, initializer=enter_service, initargs=(self._memory.name, budget)
        )
        # One is started at once, for it takes seconds, and alone: what is wrong with it would be so with all of them.
        self._first = self._pool.submit(is_in_service)

    def __call__(self, content: bytes, preparations: Sequence[Preparation]) -> Timed:
        """Decode the bytes of a file and prepare the image, in another process; see `Decoder`."""
        self._wait_for_first()
        try:
            slot = self._free.get_nowait()
        except queue.Empty:  # it is copied back instead
            slot = None
        start = None if slot is None else slot * self._slot_bytes
        try:
            reason, arrays, decode, resize = self._pool.submit(serve, content, tuple(preparations), start).result()
        except BaseException:
            if slot is not None:
                self._free.put(slot)
            raise
        image = PreparedImage(reason, tuple(tuple(map(self._view, row)) for row in arrays))
        if slot is not None:
            weakref.finalize(image, self._free.put, slot)
        return Timed(image, decode, resize)

    def close(self) -> None:
        """End the processes and give the memory back."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._memory.unlink()
        with suppress(BufferError):  # somebody still looks at the last images: it goes with them
            self._memory.close()

    def _wait_for_first(self) -> None:
        try:
            self._first.result()
        except BrokenProcessPool:
            raise ClusterError(
                f"The processes that decode images end as they start. If a script of yours began this, {_GUARD}."
            ) from None

    def _view(self, array: np.ndarray | Placed) -> np.ndarray:
        if isinstance(array, np.ndarray):
            return array
        return np.ndarray(array.shape, np.uint8, self._memory.buf, array.offset)


def make_decoder(options: Options, device: str, preparations: Sequence[Preparation]) -> Decoder:
    """Return what decodes images for networks on a device.

    Raises
    ------
    UsageError
        If this process is itself about to become one that decodes, and runs the caller's script once more.
    ClusterError
        If there is no shared memory.
    """
    process = multiprocessing.current_process()
    # A worker of Dask is a daemon, as a rule, and must not have processes of its own.
    if not options.in_processes(device) or process.daemon:
        return ThreadDecoder(options.budget)
    if getattr(process, "_inheriting", False):  # as multiprocessing itself asks
        raise UsageError(f"Each process that decodes images runs the lines of your script once more: {_GUARD}.")
    return ProcessDecoder(options.budget, options.threads, preparations)


def _shared_memory(workers: int, slot_bytes: int) -> SharedMemory:
    """Return memory for up to `_SLOTS_PER_WORKER` images a process: containers often have little of it."""
    slots = workers * _SLOTS_PER_WORKER
    while True:
        try:
            return _reserved(slots * slot_bytes)
        except OSError as error:
            slots //= 2
            if slots < workers or error.errno != errno.ENOSPC:
                raise ClusterError(
                    f"No shared memory for {workers} processes that decode images ({error.strerror}). Use --decode-in "
                    "threads or fewer --workers, or give the container more (docker run --shm-size 1g)."
                ) from None


def _reserved(size: int) -> SharedMemory:
    """Return shared memory that is really there: of what is only promised, the first write kills a process."""
    memory = SharedMemory(create=True, size=size)
    with suppress(FileNotFoundError):  # only Linux shows it as a file
        descriptor = os.open(_SHARED / memory.name, os.O_RDWR)
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError:
            memory.close()
            memory.unlink()
            raise
        finally:
            os.close(descriptor)
    return memory
