"""Shared memory into slots with room for the pixels of one image each, which processes fill and this one reads."""

from __future__ import annotations

import errno
import os
import queue
from contextlib import suppress
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fusion_pipeline.errors import ClusterError

_SHARED = Path("/dev/shm")  # noqa: S108 - nothing is made there by a name that could be guessed


class Slot(NamedTuple):
    """A part of a shared memory: the memory's name, and where in it the slot begins."""

    memory: str
    start: int


class Placed(NamedTuple):
    """Where in its slot an array lies."""

    offset: int
    shape: tuple[int, ...]


class Slots:
    """Slots of shared memory, taken and given back by any thread.

    Parameters
    ----------
    n_bytes : int
        Length of a slot.
    least : int
        How many there must be room for.
    """

    def __init__(self, n_bytes: int, least: int) -> None:
        self._n_bytes = max(1, n_bytes)
        self._least = least
        self._asked = 0
        self._memories: dict[str, SharedMemory] = {}
        self._free: queue.SimpleQueue[Slot] = queue.SimpleQueue()

    def grow(self, slots: int) -> None:
        """Have as many slots in all, or as many as there is room for.

        Raises
        ------
        ClusterError
            If there is not even room for the least number.
        """
        more, self._asked = slots - self._asked, max(slots, self._asked)
        memory = self._reserved(more) if more > 0 else None
        if memory is not None:
            self._memories[memory.name] = memory
            for start in range(0, memory.size - self._n_bytes + 1, self._n_bytes):
                self._free.put(Slot(memory.name, start))

    @property
    def free(self) -> int:
        """How many are free."""
        return self._free.qsize()

    def take(self) -> Slot | None:
        """Take a free slot; None if there is none."""
        try:
            return self._free.get_nowait()
        except queue.Empty:
            return None

    def give_back(self, slot: Slot) -> None:
        """Let a slot be taken again, whose arrays nobody looks at any more."""
        self._free.put(slot)

    def view(self, slot: Slot, placed: Placed) -> np.ndarray:
        """Return an array in a slot as it lies there, uint8."""
        return view(self._memories[slot.memory], slot, placed)

    def close(self) -> None:
        """Give all the memory back; what somebody still looks at goes with the last look."""
        for memory in self._memories.values():
            memory.unlink()
            with suppress(BufferError):
                memory.close()

    def _reserved(self, slots: int) -> SharedMemory | None:
        """Return memory for as many slots as there is room for: containers often have little of it."""
        while True:
            try:
                return _reserve(slots * self._n_bytes)
            except OSError as error:
                slots //= 2
                if slots >= self._least and error.errno == errno.ENOSPC:
                    continue
                if self._memories:
                    return None
                raise ClusterError(
                    f"No shared memory for {self._least} processes that decode images ({error.strerror}). Use "
                    "--decode-in threads or fewer --workers, or give the container more (docker run --shm-size 1g)."
                ) from None


def view(memory: SharedMemory, slot: Slot, placed: Placed) -> np.ndarray:
    """Return an array in a slot of a shared memory as it lies there, uint8."""
    return np.ndarray(placed.shape, np.uint8, memory.buf, slot.start + placed.offset)


def _reserve(size: int) -> SharedMemory:
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
