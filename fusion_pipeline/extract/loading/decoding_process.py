"""The bytes of a file into prepared arrays in shared memory: what a process does that decodes for another one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from functools import cache
from multiprocessing.shared_memory import SharedMemory
from typing import Any, NamedTuple

from fusion_pipeline.extract.loading.preparation import Preparation, Prepared, PreparedImage, decode_and_prepare
from fusion_pipeline.extract.loading.slots import Placed, Slot, view
from fusion_pipeline.images.decode import DecodeBudget, Reason


class Timed(NamedTuple):
    """A prepared image, and the seconds that it took to decode and to prepare."""

    image: PreparedImage
    decode: float
    resize: float


Answer = tuple[Reason, tuple[tuple[Any, ...], ...], float, float]
"""What came of an image: whether it is one, its arrays or where they are placed, and the seconds of `Timed`."""

_budget: DecodeBudget | None = None
"""What an image may cost this process."""


def decode_timed(content: bytes, budget: DecodeBudget, preparations: Sequence[Preparation]) -> Timed:
    """Decode the bytes of a file and prepare the image.

    Parameters
    ----------
    content : bytes
    budget : DecodeBudget
        What the image may cost.
    preparations : sequence of Preparation
    """
    times = [time.perf_counter()]
    image = decode_and_prepare(content, budget, preparations, lambda: times.append(time.perf_counter()))
    return Timed(image, times[1] - times[0], time.perf_counter() - times[1])


def enter_service(budget: DecodeBudget) -> None:
    """Make this process one that decodes for the process that started it, for as long as that lives.

    Parameters
    ----------
    budget : DecodeBudget
        What an image may cost.
    """
    global _budget  # noqa: PLW0603 - there is one for each process, and an initializer can leave it nowhere else
    _budget = budget
    # Ctrl-C goes to all processes of a terminal: who started this one decides what becomes of the work.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="watch", daemon=True).start()


def is_in_service() -> bool:
    """Return whether this process decodes for another one."""
    return _budget is not None


def serve(content: bytes, preparations: tuple[Preparation, ...], slot: Slot | None) -> Answer:
    """Decode the bytes of a file and prepare the image.

    Parameters
    ----------
    content : bytes
    preparations : tuple of Preparation
    slot : Slot or None
        Where there is room for its arrays; without it they are returned.
    """
    if _budget is None:
        raise RuntimeError("this is not a decoding process")
    image, decode, resize = decode_timed(content, _budget, preparations)
    return image.reason, image.arrays if slot is None else _place(image.arrays, slot), decode, resize


def _place(prepared: tuple[Prepared, ...], slot: Slot) -> tuple[tuple[Placed, ...], ...]:
    """Copy arrays into a slot, one behind the other."""
    memory, offset = _attached(slot.memory), 0
    places: list[tuple[Placed, ...]] = []
    for arrays in prepared:
        row = []
        for array in arrays:
            row.append(Placed(offset, array.shape))
            view(memory, slot, row[-1])[...] = array
            offset += array.nbytes
        places.append(tuple(row))
    return tuple(places)


@cache
def _attached(name: str) -> SharedMemory:
    return SharedMemory(name)


def _end_with_parent() -> None:
    """Wait until the process is gone that started this one, then end: a killed one tells nobody to stop.

    Its resource tracker ends with the last of its processes, and removes the memory that they shared.
    """
    parent = multiprocessing.parent_process()  # not the fork server, which is but the one that forked
    if parent is not None:
        parent.join()
        os._exit(1)
