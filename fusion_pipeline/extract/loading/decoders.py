"""The bytes of a file into prepared arrays: in the thread that asks, or in processes that write into shared memory."""

from __future__ import annotations

import multiprocessing
import weakref
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from fusion_pipeline.errors import ClusterError, UsageError
from fusion_pipeline.extract.loading.decoding_process import Timed, decode_timed, enter_service, is_in_service, serve
from fusion_pipeline.extract.loading.preparation import Preparation, PreparedImage
from fusion_pipeline.extract.loading.slots import Slots
from fusion_pipeline.extract.options import Options
from fusion_pipeline.images.decode import DecodeBudget

_GUARD = "put what it does below 'if __name__ == \"__main__\":', or decode in threads"


class Decoder(ABC):
    """Decodes and prepares images; called from several threads at once.

    Attributes
    ----------
    threads_per_worker : int
        How many threads that read and call it keep a worker busy.
    """

    threads_per_worker = 1

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
    def make_room(self, images: int) -> None:
        """Have room for the pixels of so many images at once.

        Raises
        ------
        ClusterError
            If there is room for hardly any.
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

    def make_room(self, images: int) -> None:
        """Do nothing, for arrays have room wherever there is some; see `Decoder`."""

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
    """

    threads_per_worker = 2  # one of them reads while the process is at the image of the other

    def __init__(self, budget: DecodeBudget, workers: int, preparations: Sequence[Preparation]) -> None:
        # Neither fork, which copies locks that other threads hold, nor spawn, which imports everything anew each time.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["fusion_pipeline.extract.loading.preloaded"])
        self._slots = Slots(sum(preparation.n_bytes for preparation in set(preparations)), least=workers)
        self._pool = ProcessPoolExecutor(workers, mp_context=context, initializer=enter_service, initargs=(budget,))
        # One is started at once, for it takes seconds, and alone: what is wrong with it would be so with all of them.
        self._first = self._pool.submit(is_in_service)

    def __call__(self, content: bytes, preparations: Sequence[Preparation]) -> Timed:
        """Decode the bytes of a file and prepare the image, in another process; see `Decoder`."""
        self._wait_for_first()
        slot = self._slots.take()  # without one, the pixels are copied back
        try:
            reason, arrays, decode, resize = self._pool.submit(serve, content, tuple(preparations), slot).result()
        except BaseException:
            if slot is not None:
                self._slots.give_back(slot)
            raise
        if slot is None:
            return Timed(PreparedImage(reason, arrays), decode, resize)
        image = PreparedImage(reason, tuple(tuple(self._slots.view(slot, place) for place in row) for row in arrays))
        weakref.finalize(image, self._slots.give_back, slot)
        return Timed(image, decode, resize)

    def make_room(self, images: int) -> None:
        """Have so much shared memory, or what there is; see `Decoder`."""
        self._slots.grow(images)

    def close(self) -> None:
        """End the processes and give the memory back."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._slots.close()

    def _wait_for_first(self) -> None:
        try:
            self._first.result()
        except BrokenProcessPool:
            raise ClusterError(
                f"The processes that decode images end as they start. If a script of yours began this, {_GUARD}."
            ) from None


def make_decoder(options: Options, device: str, preparations: Sequence[Preparation]) -> Decoder:
    """Return what decodes images for networks on a device.

    Parameters
    ----------
    options : Options
    device : str
    preparations : sequence of Preparation
        All that may be asked for; with none, there is hardly anything to decode.

    Raises
    ------
    UsageError
        If this process is itself about to become one that decodes, and runs the caller's script once more.
    """
    process = multiprocessing.current_process()
    # A worker of Dask is a daemon, as a rule, and must not have processes of its own.
    if not preparations or not options.in_processes(device) or process.daemon:
        return ThreadDecoder(options.budget)
    if getattr(process, "_inheriting", False):  # as multiprocessing itself asks
        raise UsageError(f"Each process that decodes images runs the lines of your script once more: {_GUARD}.")
    return ProcessDecoder(options.budget, options.threads, preparations)
