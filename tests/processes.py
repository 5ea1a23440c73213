"""Runs `fusion` in processes that are quick to start, may be killed, and leave their output in files."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fusion_pipeline.commands import main

_CONTEXT = multiprocessing.get_context("forkserver")
# Importing torch and timm takes longer than everything else in these tests: one server does it for all processes.
_CONTEXT.set_forkserver_preload(["fusion_pipeline.commands", "fusion_pipeline.extract.run", "timm.data", "timm.models"])


class Command:
    """A `fusion` command in a process of its own.

    Parameters
    ----------
    folder : Path
        Its working folder; its output lands there too.
    arguments : sequence of str
        Its command line.
    name : str
        What its output is called.
    before : sequence of callable
        What the process does to itself before it runs the command; they must survive pickling.
    """

    def __init__(
        self, folder: Path, *arguments: str, name: str = "command", before: Sequence[Callable[[], object]] = ()
    ) -> None:
        self._output = folder / f"{name}.out"
        self._errors = folder / f"{name}.err"
        self.process = _CONTEXT.Process(target=_main, args=(str(folder), arguments, self._output, self._errors, before))
        self.process.start()

    def wait(self) -> int:
        """Return its exit code; negative for the signal that ended it."""
        self.process.join(120)
        assert self.process.exitcode is not None, "the command hangs"
        return self.process.exitcode

    def send(self, number: signal.Signals) -> None:
        """Send it a signal that stops or kills it; return once no thread of it runs any more."""
        pid = self.process.pid or 0
        os.kill(pid, number)
        while not all(state in "TtZX" for state in _states(pid)):
            time.sleep(0.001)

    @property
    def errors(self) -> str:
        """What it wrote to stderr."""
        return self._errors.read_text()

    @property
    def document(self) -> Any:
        """The JSON document that it wrote to stdout."""
        return json.loads(self._output.read_text())


def _states(pid: int) -> Iterator[str]:
    """Yield what the threads of a process are at, a letter each, as proc(5) has them; nothing once it is gone."""
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError):
                yield Path(f"/proc/{pid}/task/{thread}/stat").read_text().rpartition(")")[2].split()[0]


def _main(
    folder: str, arguments: Sequence[str], output: Path, errors: Path, before: Sequence[Callable[[], object]] = ()
) -> None:
    # Under nohup and in some CI, SIGINT is ignored, and children inherit that; tests send it on purpose.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    for stream, path in ((sys.stdout, output), (sys.stderr, errors)):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, stream.fileno())
    for step in before:
        step()
    main(list(arguments), prog_name="fusion")
