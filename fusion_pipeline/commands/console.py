"""What a command has to say, into text for people or one JSON document for machines, and an exit code."""

from __future__ import annotations

import json
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import click

from fusion_pipeline.commands import exits
from fusion_pipeline.errors import FusionError, printable

RESUMES = "Finished parts are kept; run the same command again to go on."
STARTS_ANEW = "Nothing was written; the same command starts anew."


class Console:
    """Where a command writes.

    Parameters
    ----------
    json_wanted : bool
        Whether stdout gets one JSON document and nothing else.
    debug : bool
        Whether failures show a traceback.
    interrupted : str
        What an interruption leaves, and what to do next.
    """

    def __init__(self, *, json_wanted: bool, debug: bool, interrupted: str = STARTS_ANEW) -> None:
        self._json_wanted = json_wanted
        self._debug = debug
        self._interrupted = interrupted

    def say(self, text: str = "") -> None:
        """Write a line for people: to stdout, or to stderr where stdout is for a machine."""
        click.echo(text, err=self._json_wanted)

    def tell(self, lines: Iterable[str], indent: str = "") -> None:
        """Write lines for people, as `say` does."""
        for line in lines:
            self.say(f"{indent}{line}".rstrip())

    def warn(self, text: str) -> None:
        """Write a line for people to stderr."""
        click.echo(f"Note: {text}", err=True)

    def note(self, text: str) -> None:
        """Write a line about what happens just now to stderr, for people who watch."""
        click.echo(text, err=True)

    def document(self, content: Any) -> None:
        """Write the JSON document, if one is wanted."""
        if self._json_wanted:
            click.echo(json.dumps(content, indent=2, allow_nan=False))

    @contextmanager
    def progress(self, description: str, total: int, unit: str = "image") -> Iterator[Callable[[int], object]]:
        """Show a bar for images, or for bytes (unit ``B``), on stderr, where that is a terminal: rate and time left.

        Yields a function to call with the number of them done since the last call.
        """
        from tqdm import tqdm

        scaled = unit == "B"
        with tqdm(total=total, desc=description, unit=unit, unit_scale=scaled, disable=None, smoothing=0.1) as bar:
            yield bar.update

    @contextmanager
    def tasks(self) -> Iterator[Callable[[int, int], None]]:
        """Show a bar for tasks; yields a function to call with the numbers of finished and of all tasks."""
        from tqdm import tqdm

        with tqdm(desc="training", unit="task", disable=None) as bar:

            def show(finished: int, total: int) -> None:
                bar.total = total
                bar.update(finished - bar.n)

            yield show

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Turn whatever ends the command into one line and its exit code."""
        with _sigterm_raising():
            try:
                yield
            except FusionError as error:
                self._fail(str(error), error.exit_code, type(error).__name__)
            except KeyboardInterrupt:
                self._fail(f"Interrupted. {self._interrupted}", exits.INTERRUPTED, "Interrupted")
            except _TerminatedError:
                self._fail(f"Terminated. {self._interrupted}", exits.TERMINATED, "Terminated")
            except BrokenPipeError:
                sys.exit(exits.BROKEN_PIPE)  # the reader of a pipe went away: nobody is left to tell
            except Exception as error:
                reason = printable(str(error).split("\n")[0][:200])
                message = (
                    f"Unexpected {type(error).__name__}: {reason}. This is a fault of fusion; --debug shows where."
                )
                self._fail(message, exits.UNEXPECTED, type(error).__name__)

    def _fail(self, message: str, exit_code: int, kind: str) -> NoReturn:
        if self._debug:
            traceback.print_exc()
        click.echo(f"Error: {message}", err=True)
        self.document({"error": {"kind": kind, "message": message, "exit_code": exit_code}})
        sys.exit(exit_code)


class _TerminatedError(BaseException):
    """SIGTERM arrived."""


@contextmanager
def _sigterm_raising() -> Iterator[None]:
    """Let SIGTERM raise for a while; who started us with the signal ignored did so on purpose, and it stays so."""
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise _TerminatedError
