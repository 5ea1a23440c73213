"""What tests have the workers of a cluster call: light, for each worker imports it anew."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path


def note(log: str, number: int) -> int:
    """Note who was called with what; return the number."""
    with open(log, "a") as file:
        file.write(f"{number} {os.getpid()}\n")
    time.sleep(0.1)
    return number


def noted(log: Path) -> list[tuple[int, int]]:
    """Return the calls that were noted: each with what, and by which process."""
    return [(int(number), int(pid)) for number, pid in (line.split() for line in log.read_text().splitlines())]


def die(_shared: object, number: int) -> int:
    """Take the worker down at number 3."""
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def fail(_shared: object, number: int) -> int:
    """Fail."""
    raise ArithmeticError(f"number {number}")


def rest(seconds: float, number: int) -> int:
    """Take some seconds."""
    time.sleep(seconds)
    return number


async def sleep(seconds: float) -> None:
    """Take some seconds on the event loop."""
    await asyncio.sleep(seconds)


async def touch(path: str) -> None:
    """Leave a file, from the event loop."""
    Path(path).touch()
