"""Ends a run at its Nth operation on the file system, as SIGKILL would: nothing after it happens, clean-up included."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from fusion_pipeline.store import backend as backend_module

OPERATIONS = ("mkdir", "open", "write", "fsync", "link", "replace", "unlink", "rmdir")


class Killed(BaseException):
    """The process is dead."""


class _Lock(backend_module.Lock):
    """A lock that the operating system takes back when its holder dies."""

    alive: list[_Lock]

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self.alive.append(self)

    def release(self) -> None:
        super().release()
        self.alive.remove(self)


@contextmanager
def killed_at(number: int) -> Iterator[list[bool]]:
    """Kill the body at its operation `number`; yields a list that is not empty once that happened."""
    died: list[bool] = []
    count = 0
    _Lock.alive = []

    def counting(name: str) -> Any:
        true = getattr(os, name)

        def operation(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count >= number:
                died.append(True)
                raise Killed
            return true(*arguments, **options)

        return operation

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend_module, "Lock", _Lock)
        for name in OPERATIONS:
            patch.setattr(os, name, counting(name))
        with suppress(Killed):
            yield died
    for lock in list(_Lock.alive):
        lock.release()
