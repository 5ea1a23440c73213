"""Turns a storage into one that fails, lies, dawdles or dies at the Nth thing that is asked of it."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import pytest

from fusion_pipeline.errors import StorageError
from fusion_pipeline.store.storage.backend import Backend, Entries, StoredFile

READS = frozenset({"read", "read_into"})
WRITES = frozenset({"write", "create", "swap", "copy"})
EVERYTHING = READS | WRITES | {"length", "entries", "walk", "remove", "remove_file", "check_writable"}

_MOST_CALLS = 20_000
_Result = TypeVar("_Result")
_Garble = Callable[[bytes], bytes]


class Killed(BaseException):
    """The process is dead: nothing after this happens, clean-up included."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong at a call.

    Parameters
    ----------
    name : str
        What a failing test calls it.
    counts : frozenset of str
        The verbs that can meet it.
    around : callable
        What surrounds the call.
    garble : callable
        The content that is written or read into what takes its place.
    lasts : bool
        Whether every later call meets it as well.
    """

    name: str
    counts: frozenset[str] = EVERYTHING
    around: Callable[[], AbstractContextManager[object]] = nullcontext
    garble: _Garble = bytes
    lasts: bool = False

    def __str__(self) -> str:
        return self.name


class _Raising:
    """Raises something in place of a call, or once it is done.

    Parameters
    ----------
    make : callable
        Makes what is raised.
    after : bool
        Whether the call is done first.
    """

    def __init__(self, make: Callable[[], BaseException], *, after: bool = False) -> None:
        self._make = make
        self._after = after

    def __enter__(self) -> None:
        if not self._after:
            raise self._make()

    def __exit__(self, *_: object) -> None:
        if self._after:
            raise self._make()


def _refused() -> StorageError:
    return StorageError("Storage failed: Input/output error. Mend it, then run the same command again.")


@contextmanager
def _without_space() -> Iterator[None]:
    def fsync(_descriptor: int) -> None:  # where a file system tells it at the latest
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        yield


def flipped(content: bytes, bit: int) -> bytes:
    """Return content with one bit changed; nothing of nothing.

    Examples
    --------
    >>> flipped(b"ab", 8)
    b'ac'
    """
    changed = bytearray(content)
    if changed:
        changed[bit // 8 % len(changed)] ^= 1 << bit % 8
    return bytes(changed)


HICCUP = Fault("one call fails", around=lambda: _Raising(_refused))
DOWN = Fault("all calls fail from then on", around=lambda: _Raising(_refused), lasts=True)
FULL = Fault("no space from then on", WRITES | {"check_writable"}, _without_space, lasts=True)
KILL = Fault("killed before a call", around=lambda: _Raising(Killed))
KILL_AFTER = Fault("killed after a call", around=lambda: _Raising(Killed, after=True))
FLIP = Fault("a flipped bit", READS | WRITES, garble=lambda content: flipped(content, 4 * len(content) + 3))
TRUNCATE = Fault("half a file", READS | WRITES, garble=lambda content: content[: len(content) // 2])


def delay(meanwhile: Callable[[], object]) -> Fault:
    """Return the fault of a call of the main thread that takes so long that others can do something meanwhile.

    In another thread they could meet locks of this process that no other process has.
    """

    @contextmanager
    def around() -> Iterator[None]:
        if threading.current_thread() is threading.main_thread():
            meanwhile()
        yield

    return Fault("overtaken by others", around=around)


class FaultyBackend(Backend):
    """A storage that meets a fault at its Nth call.

    Calls that stand for many files are taken apart, so that each file is a call of its own, and they come one after
    the other: N means the same in every run.

    Parameters
    ----------
    inner : Backend
        The storage itself.
    fault : Fault
    number : int
        Which of the calls that can meet the fault does, from 1 on.

    Attributes
    ----------
    struck : str
        The call that met the fault first; empty if none did.
    """

    def __init__(self, inner: Backend, fault: Fault, number: int) -> None:
        self.inner = inner
        self.location = inner.location
        self.is_local = inner.is_local
        self.struck = ""
        self._fault = fault
        self._number = number
        self._count = self._calls = 0
        self._dead = False
        self._lock = threading.Lock()

    def where(self, path: str) -> str:
        return self.inner.where(path)

    def may_write(self, path: str) -> bool:
        return self.inner.may_write(path)

    def read(self, path: str, at_most: int | None = None) -> bytes | None:
        def read(garble: _Garble) -> bytes | None:
            content = self.inner.read(path, at_most)
            return None if content is None else garble(content)

        return self._call("read", path, read)

    def read_into(self, path: str, buffers: Sequence[memoryview]) -> int | None:
        def read(garble: _Garble) -> int | None:
            length = self.inner.read_into(path, buffers)
            if length is None:
                return None
            content = garble(bytes(buffers[0]))
            buffers[0][: len(content)] = content
            return length - len(buffers[0]) + len(content)

        return self._call("read_into", path, read)

    def length(self, path: str) -> int | None:
        return self._call("length", path, lambda _: self.inner.length(path))

    def entries(self, path: str) -> Entries:
        return self._call("entries", path, lambda _: self.inner.entries(path))

    def walk(self, path: str) -> Iterator[StoredFile]:
        yield from self._call("walk", path, lambda _: list(self.inner.walk(path)))

    def write(self, path: str, content: bytes) -> None:
        self._call("write", path, lambda garble: self.inner.write(path, garble(content)))

    def create(self, path: str, content: bytes) -> bool:
        return self._call("create", path, lambda garble: self.inner.create(path, garble(content)))

    def swap(self, path: str, before: bytes | None, content: bytes) -> bool:
        return self._call("swap", path, lambda garble: self.inner.swap(path, before, garble(content)))

    def copy_all(self, files: Mapping[str, str]) -> None:
        for target, source in files.items():
            self._copy(target, source)

    def remove(self, path: str) -> None:
        self._call("remove", path, lambda _: self.inner.remove(path))

    def remove_file(self, path: str) -> None:
        self._call("remove_file", path, lambda _: self.inner.remove_file(path))

    def check_writable(self) -> None:
        self._call("check_writable", "", lambda _: self.inner.check_writable())

    def _copy(self, target: str, source: str) -> None:
        def copy(garble: _Garble) -> None:
            self.inner.copy_all({target: source})
            content = self.inner.read(target) or b""
            if garble(content) != content:
                self.inner.remove_file(target)  # the source, which may be the very same file, stays as it is
                self.inner.write(target, garble(content))

        self._call("copy", target, copy)

    def _call(self, verb: str, path: str, act: Callable[[_Garble], _Result]) -> _Result:
        fault = self._met(verb, path)
        try:
            with fault.around():
                result = act(fault.garble)
        except Killed:
            self._dead = True
            raise
        except StorageError:
            self.failing = True
            raise
        self.failing = False
        return result

    def _met(self, verb: str, path: str) -> Fault:
        """Return the fault that this call meets; one that changes nothing for most."""
        with self._lock:
            if self._dead:
                # The thread that shows a writer's presence is dead too, but must not end this process's tests.
                raise StorageError("dead") if threading.current_thread().name == "presence" else Killed
            self._calls += 1
            assert self._calls < _MOST_CALLS, f"the run hangs, at last at {verb} {path}"
            if verb not in self._fault.counts:
                return Fault("none")
            self._count += 1
            if self._count == self._number or (self._count > self._number and self._fault.lasts):
                self.struck = self.struck or f"{verb} {path}"
                return self._fault
            return Fault("none")
