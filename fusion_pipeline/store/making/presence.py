"""Who is at work on an attempt, and which of them are alive: advice that saves double work, never a condition.

A writer that is at work keeps a small file of its own fresh. Whether another writer lives is asked of the operating
system where both run on one machine; elsewhere its file is watched, and it lives as long as the file changes within a
span of the watcher's own clock. No two clocks are ever compared.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusion_pipeline.errors import FusionError, printable
from fusion_pipeline.store.identity import canonical_json
from fusion_pipeline.store.storage.backend import Backend

BEAT_SECONDS = 5.0
"""How often a writer freshens its file."""

SILENT_SECONDS = 45.0
"""After how long without a change a writer on another machine is taken for dead."""

_PATIENCE = 5.0


@dataclass(frozen=True)
class Process:
    """One process on one machine.

    Parameters
    ----------
    host : str
        Name of the machine, for people.
    pid : int
    machine : str
        Tells one boot and one name space of process numbers from all others; empty where that cannot be known.
    started : str
        Tells the process from a later one with the same number; empty where that cannot be known.
    """

    host: str
    pid: int
    machine: str
    started: str

    @classmethod
    def this(cls) -> Process:
        """Return the process that asks."""
        started = ""
        with suppress(OSError):
            started = _started(os.getpid())
        return cls(platform.node(), os.getpid(), _machine(), started)

    def lives(self) -> bool | None:
        """Return whether it lives; None if that cannot be told from here."""
        if not self.machine or self.machine != _machine() or not self.started:
            return None
        try:
            return _started(self.pid) == self.started
        except OSError:  # /proc tells nothing of it: there is none, or it is another user's and hidden (hidepid)
            return None if _may_exist(self.pid) else False


def _machine() -> str:
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return ""


def _started(pid: int) -> str:
    """Return when a process started, in ticks since its machine did; empty if it has ended. OSError if unknown."""
    # The name of the program, in parentheses, may hold spaces and parentheses itself. A zombie is dead.
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    if len(fields) < 20:
        raise OSError(errno.EIO, "unknown process status")
    return "" if fields[0] in (b"Z", b"X") else fields[19].decode()


def _may_exist(pid: int) -> bool:
    """Return False only if the operating system says that there is no such process, also none of another user."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


class Presence:
    """One writer's own file among those of an attempt, kept fresh by a thread until `leave`.

    Parameters
    ----------
    backend : Backend
        The cache.
    folder : str
        Where the writers of the attempt keep their files.
    beat : float
        Seconds between two writes.
    """

    def __init__(self, backend: Backend, folder: str, beat: float = BEAT_SECONDS) -> None:
        self.nonce = uuid.uuid4().hex[:16]
        self._backend = backend
        self._path = f"{folder}/{self.nonce}.json"
        self._process = Process.this()
        self._gone = threading.Event()
        self._write(0)
        self._thread = threading.Thread(target=self._keep_fresh, args=(beat,), daemon=True, name="presence")
        self._thread.start()

    def leave(self) -> None:
        """Take the file away; a storage that fails just now is not waited for."""
        self._gone.set()
        if not self._backend.failing:
            self._thread.join(_PATIENCE)  # a write that is under way would bring the file back
            with suppress(FusionError):
                self._backend.remove_file(self._path)

    def _keep_fresh(self, beat: float) -> None:
        number = 0
        while not self._gone.wait(beat):
            number += 1
            with suppress(FusionError, OSError):  # the work goes on: at worst somebody does it twice
                self._write(number)

    def _write(self, number: int) -> None:
        process = self._process
        self._backend.write(
            self._path,
            canonical_json(
                {
                    "beat": number,
                    "host": process.host,
                    "machine": process.machine,
                    "pid": process.pid,
                    "started": process.started,
                }
            ),
        )


class Watch:
    """Tells which writers of an attempt live.

    Parameters
    ----------
    backend : Backend
        The cache.
    folder : str
        Where the writers keep their files.
    silent : float
        Seconds without a change after which a writer elsewhere is taken for dead.
    clock : callable
        The watcher's own clock.
    """

    def __init__(
        self,
        backend: Backend,
        folder: str,
        silent: float = SILENT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backend = backend
        self._folder = folder
        self._silent = silent
        self._clock = clock
        self._seen: dict[str, tuple[bytes, float]] = {}

    def writers(self) -> list[str]:
        """Return the nonces of all who left a file, alive or not."""
        return [name.removesuffix(".json") for name in self._backend.list(self._folder)]

    def lives(self, nonce: str) -> bool:
        """Return whether a writer lives, as far as can be told by now.

        One on another machine is taken to live until its file has stayed the same for long enough.
        """
        content = self._backend.read(f"{self._folder}/{nonce}.json")
        if content is None:
            return False
        alive = _process(content).lives()
        if alive is not None:
            return alive
        before, since = self._seen.get(nonce, (None, 0.0))
        if content != before:
            self._seen[nonce] = (content, self._clock())
            return True
        return self._clock() - since < self._silent

    def is_surely_alive(self, nonce: str) -> bool:
        """Return whether the operating system says that a writer is alive."""
        content = self._backend.read(f"{self._folder}/{nonce}.json")
        return content is not None and _process(content).lives() is True

    def is_surely_dead(self, nonce: str) -> bool:
        """Return whether a writer has left, or the operating system says that it is dead."""
        content = self._backend.read(f"{self._folder}/{nonce}.json")
        return content is None or _process(content).lives() is False

    def describe(self, nonce: str) -> str:
        """Return who a writer is, for people."""
        process = _process(self._backend.read(f"{self._folder}/{nonce}.json") or b"{}")
        return f"process {process.pid} on {printable(process.host)}"


def _process(content: bytes) -> Process:
    try:
        stated: Any = json.loads(content)
        return Process(str(stated["host"]), int(stated["pid"]), str(stated["machine"]), str(stated["started"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return Process("an unknown machine", 0, "", "")
