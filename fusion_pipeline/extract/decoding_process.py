"""The bytes of a file into prepared arrays in shared memory: what a process does that decodes for another one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from multiprocessing.shared_memory import SharedMemory
from typing import NamedTuple

import numpy as np

from fusion_pipeline.extract.preparation import Preparation, PreparedImage, decode_and_prepare
from fusion_pipeline.images.decode import DecodeBudget, Reason


class Timed(NamedTuple):
    """A prepared image, and the seconds that it took to decode and to prepare."""

    image: PreparedImage
    decode: float
    resize: float


class Placed(NamedTuple):
    """Where in the shared memory an array lies."""

    offset: int
    shape: tuple[int, ...]


Answer = tuple[Reason, tuple[tuple[np.ndarray | Placed, ...], ...], float, float]
"""What came of an image: whether it is one, its arrays or where they lie, and the seconds of `Timed`."""

_worker: tuple[SharedMemory, DecodeBudget] | None = None
"""What this process decodes with."""


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


def enter_service(name: str, budget: DecodeBudget) -> None:
    """Make this process one that decodes for the process that started it, for as long as that lives.

    Parameters
    ----------
    name : str
        Of the memory that both share.
    budget : DecodeBudget
        What an image may cost.
    """
    global _worker  # noqa: PLW0603 - there is one for each process, and an initializer can leave it nowhere else
    _worker = (SharedMemory(name), budget)
    # Ctrl-C goes to all processes of a terminal: who started this one decides what becomes of the work.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="watch", daemon=True).start()


def is_in_service() -> bool:
    """Return whether this process decodes for another one."""
    return _worker is not None


def serve(content: bytes, preparations: tuple[Preparation, ...], start: int | None) -> Answer:
    """Decode the bytes of a file and prepare the image.

    Parameters
    ----------
    content : bytes
    preparations : tuple of Preparation
    start : int or None
        From where on in the shared memory there is room for its arrays; without it they are returned.
    """
    if _worker is None:
        raise RuntimeError("this is not a decoding process")
    memory, budget = _worker
    image, decode, resize = decode_timed(content, budget, preparations)
    if start is None:
        return image.reason, image.arrays, decode, resize
    placed: list[tuple[Placed, ...]] = []
    for arrays in image.arrays:
        row = []
        for array in arrays:
            np.ndarray(array.shape, np.uint8, memory.buf, start)[...] = array
            row.append(Placed(start, array.shape))
            start += array.nbytes
        placed.append(tuple(row))
    return image.reason, tuple(placed), decode, resize


def _end_with_parent() -> None:
    """Wait until the process is gone that started this one, then end: a killed one tells nobody to stop.

    Its resource tracker ends with the last of its processes, and removes the memory that they shared.
    """
    parent = multiprocessing.parent_process()  # not the fork server, which is but the one that forked
    if parent is not None:
        parent.join()
        os._exit(1)
