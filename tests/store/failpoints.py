"""Moments at which a test steps in: before a call to the storage, or at a run's Nth operation on the file system.

A run that is killed there ends as by SIGKILL: nothing after it happens, clean-up included.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

from fusion_pipeline.store.making.presence import Presence, Process
from fusion_pipeline.store.storage.backend import Backend

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
            if threading.current_thread().name == "presence":  # of somebody else, who lives on
                return true(*arguments, **options)
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


def before_the_call(
    monkeypatch: pytest.MonkeyPatch, backend: Backend, verb: str, act: Callable[[], object], ending: str = ""
) -> None:
    """Do something once, right before a call to the storage, whose first argument ends so if it is a path."""
    true, acted = getattr(backend, verb), list[bool]()

    def call(path: Any, *arguments: Any) -> Any:
        if not acted and (not isinstance(path, str) or path.endswith(ending)):
            acted.append(True)
            act()
        return true(path, *arguments)

    monkeypatch.setattr(backend, verb, call)


def fail_to_open(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    """Let the file system refuse to open the files whose path ends so."""
    true_open = os.open

    def failing(path: Any, *arguments: Any, **options: Any) -> int:
        if str(path).endswith(name):
            raise OSError(number, os.strerror(number))
        return true_open(path, *arguments, **options)

    monkeypatch.setattr(os, "open", failing)
