"""Ends a run at its Nth operation on the file system, as SIGKILL would: nothing after it happens, clean-up included."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

from fusion_pipeline.store.presence import Presence, Process

OPERATIONS = ("mkdir", "open", "write", "fsync", "link", "replace", "unlink", "rmdir", "chmod", "fchmod")

_RUNS = itertools.count(1)


class Killed(BaseException):
    """The process is dead."""


@contextmanager
def process_of_its_own() -> Iterator[Process]:
    """Run the body as another process of this machine would, which is dead afterwards: no file of it stays fresh."""
    process = replace(Process.this(), started=f"run {next(_RUNS)}")
    lives = Process.lives
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Process, "this", classmethod(lambda _cls: process))
        patch.setattr(Process, "lives", lambda other: True if other == process else lives(other))
        patch.setattr(Presence, "_keep_fresh", lambda _presence, _beat: None)
        yield process


@contextmanager
def killed_at(number: int) -> Iterator[list[bool]]:
    """Kill the body at its operation `number`; yields a list that is not empty once that happened."""
    died: list[bool] = []
    count = itertools.count(1)

    def counting(name: str) -> Any:
        true = getattr(os, name)

        def operation(*arguments: Any, **options: Any) -> Any:
            if died or next(count) >= number:
                died.append(True)
                raise Killed
            return true(*arguments, **options)

        return operation

    with process_of_its_own(), pytest.MonkeyPatch.context() as patch:
        for name in OPERATIONS:
            patch.setattr(os, name, counting(name))
        with suppress(Killed):
            yield died
