"""What a process does to itself before it runs a command: who it is, what it may, and when it dies."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from io import StringIO
from typing import Any

from tqdm import tqdm

from fusion_pipeline.commands import main
from fusion_pipeline.store.making import provenance


@dataclass(frozen=True)
class KilledAtRename:
    """SIGKILL comes instead of the process's Nth rename or link.

    Parameters
    ----------
    number : int
        From 1 on.
    """

    number: int

    def __call__(self) -> None:
        count = 0

        def counted(true: Any) -> Any:
            def operation(*arguments: Any, **options: Any) -> Any:
                nonlocal count
                count += 1
                if count == self.number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return true(*arguments, **options)

            return operation

        for name in ("replace", "rename", "link"):
            setattr(os, name, counted(getattr(os, name)))


def without_syncing() -> None:
    """Leave out syncing, which costs most of the time: whatever kills a process, the machine lives on."""
    os.fsync = lambda _descriptor: None  # type: ignore[assignment]


@dataclass(frozen=True)
class Variables:
    """The process has these environment variables as well: it was forked off one that may have others."""

    values: Mapping[str, str]

    def __call__(self) -> None:
        os.environ.update(self.values)


@dataclass(frozen=True)
class Clock:
    """The clock of the process's machine is off.

    Parameters
    ----------
    hours : float
        By how much; negative for a late one.
    """

    hours: float

    def __call__(self) -> None:
        off, true_time = timedelta(hours=self.hours), time.time

        class Wrong(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
                return datetime.now(tz) + off

        time.time = lambda: true_time() + off.total_seconds()
        provenance.datetime = Wrong  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Umask:
    """The process makes files with this umask."""

    value: int

    def __call__(self) -> None:
        os.umask(self.value)


@dataclass(frozen=True)
class LargestFile:
    """The process may write no file longer than this, as after ``ulimit -f``."""

    length: int

    def __call__(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.length, self.length))


@dataclass(frozen=True)
class Rehearsal:
    """The process has run a command already: all modules are loaded, also those that only root may read.

    Parameters
    ----------
    arguments : tuple of str
        Its command line; it must succeed.
    """

    arguments: tuple[str, ...]

    def __call__(self) -> None:
        tqdm.set_lock(threading.RLock())  # its own is a semaphore with a name, which another user cannot remove
        with redirect_stdout(StringIO()), suppress(SystemExit):
            main(list(self.arguments), prog_name="fusion")


@dataclass(frozen=True)
class User:
    """The process is this user's, and nobody else's."""

    user: int
    group: int

    def __call__(self) -> None:
        os.setgroups([])
        os.setgid(self.group)
        os.setuid(self.user)
