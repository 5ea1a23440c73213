"""What every storage below a cache can do: durable files, create-if-absent, and the names that are there."""

from __future__ import annotations

import re
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

PARTIAL = ".partial-"
"""What the end of a name begins with that is still being written, or removed; see `is_partial`."""

_PARTIAL = re.compile(rf"{re.escape(PARTIAL)}[0-9a-f]{{12}}\Z")

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Entries:
    """What lies directly in a folder: sorted names."""

    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted({*self.files, *self.folders})


@dataclass(frozen=True)
class StoredFile:
    """One file as a storage lists it.

    Parameters
    ----------
    path : str
        Relative to the cache.
    length : int
        In bytes.
    modified : float
        When it was written, in seconds, by the clock of the storage: only to be compared with another file's.
    """

    path: str
    length: int
    modified: float


class Backend(ABC):
    """A place that holds a cache. Paths are relative to it, with forward slashes.

    A write is durable when it returns, and whole or not there at all, whatever kills the process.

    Attributes
    ----------
    location : str
        How a user names the place, and how `open_backend` finds it again.
    concurrency : int
        How many calls at once are worth while.
    is_local : bool
        Whether other programs find the files under `where`.
    failing : bool
        Whether the last call could not reach the storage: what only tidies up is then better left.
    """

    location: str
    concurrency: int = 1
    is_local: bool = False
    failing: bool = False

    def __str__(self) -> str:
        return self.location

    @abstractmethod
    def where(self, path: str) -> str:
        """Return where `path` lies, as messages name it."""

    @abstractmethod
    def read(self, path: str, at_most: int | None = None) -> bytes | None:
        """Return the content of a file, or None if there is none.

        Parameters
        ----------
        path : str
            The file.
        at_most : int, optional
            How long it should be: of a longer file one byte more is read, which is enough to see that.

        Raises
        ------
        StorageError
            If it is there and cannot be read, or nobody can tell whether it is there.
        RefusedError
            If it is something that no cache holds, such as a link or a pipe.
        """

    @abstractmethod
    def length(self, path: str) -> int | None:
        """Return the length of a file in bytes, or None if there is none."""

    @abstractmethod
    def entries(self, path: str) -> Entries:
        """Return what lies directly in a folder; nothing for a folder that is not there."""

    @abstractmethod
    def walk(self, path: str) -> Iterator[StoredFile]:
        """Yield all files below a folder, also the half-written ones.

        Raises
        ------
        StorageError
            If a folder cannot be listed: what is not seen must not be taken for absent.
        """

    @abstractmethod
    def write(self, path: str, content: bytes) -> None:
        """Write a file durably: whole or not at all, over what was there.

        Raises
        ------
        StorageError
            If the storage is full, read-only, failing or out of reach.
        """

    @abstractmethod
    def create(self, path: str, content: bytes) -> bool:
        """Write a file durably unless there is one already; return whether this call made it.

        Of several callers at once exactly one gets True.
        """

    @abstractmethod
    def swap(self, path: str, before: bytes | None, content: bytes) -> bool:
        """Write a file durably if it still holds `before` (None: is not there); return whether it did."""

    @abstractmethod
    def remove(self, path: str) -> None:
        """Remove a folder with all that is in it, if it is there."""

    @abstractmethod
    def remove_file(self, path: str) -> None:
        """Remove a file durably, if it is there."""

    @abstractmethod
    def check_writable(self) -> None:
        """Write and remove a file, so that a long computation does not end at a place that cannot take its result.

        Raises
        ------
        StorageError
            If the place cannot be made or written.
        RefusedError
            If it cannot promise what `create` promises.
        """

    @abstractmethod
    def copy_all(self, files: Mapping[str, str]) -> None:
        """Copy files within the cache, durably; neither copy is ever changed afterwards.

        Parameters
        ----------
        files : mapping of str to str
            The source by the target. A source that is missing ends the call.

        Raises
        ------
        FileNotFoundError
            If a source is not there.
        """

    def may_write(self, path: str) -> bool:  # noqa: ARG002 - for storages that know
        """Return whether nothing forbids this user to write into a folder, which need not be there yet."""
        return True

    def free_bytes(self) -> int | None:
        """Return the free space in bytes; None where there is no end of it, or nobody can tell."""
        return None

    def now(self) -> float:
        """Return the time by the clock that `StoredFile.modified` is told by."""
        path = f".clock/{uuid.uuid4().hex[:12]}"
        self.write(path, b"")
        try:
            return next(file.modified for file in self.walk(".clock") if file.path == path)
        finally:
            self.remove_file(path)

    def exists(self, path: str) -> bool:
        """Return whether a file or folder is there."""
        return self.length(path) is not None or bool(self.entries(path).names)

    def lengths(self, folder: str, names: Sequence[str]) -> list[int | None]:
        """Return the lengths of files below a folder, in bytes; None where there is none."""
        return [*self.map(lambda name: self.length(f"{folder}/{name}"), names)]

    def list(self, path: str) -> list[str]:
        """Return the sorted names in a folder; none for a folder that is not there."""
        return self.entries(path).names

    def holds(self, path: str, content: bytes) -> bool:
        """Return whether a file is there with exactly this content."""
        return self.read(path, at_most=len(content)) == content

    def read_into(self, path: str, buffers: Sequence[memoryview]) -> int | None:
        """Fill buffers, one after the other, with a file's bytes; return its length, or None if there is none.

        Of a longer file one byte more is counted, which is enough to see that; of a shorter one what there is.
        """
        content = self.read(path, at_most=sum(map(len, buffers)))
        if content is None:
            return None
        rest = memoryview(content)
        for view in buffers:
            part = rest[: len(view)]
            view[: len(part)] = part
            rest = rest[len(view) :]
        return len(content)

    def write_all(self, files: Mapping[str, bytes]) -> None:
        """Write several files durably, in any order."""
        drain(self.map(lambda path: self.write(path, files[path]), list(files)))

    def write_recorded(self, files: Mapping[str, bytes], record: str, describe: Callable[[], bytes]) -> bool:
        """Write several files durably, then create one that tells of them, unless it is there already.

        Parameters
        ----------
        files : mapping of str to bytes
            The content of each file by its path.
        record : str
            The file that tells of them.
        describe : callable
            Gives its content; called while the storage is at work on the others, where that can be.

        Returns
        -------
        bool
            Whether this call made the record.
        """
        content = describe()
        self.write_all(files)
        return self.create(record, content)

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Yield the result of a call for each item, in order, as many at once as are worth while here.

        Once a call has failed no other one begins: each of them might wait for the same dead server.
        """
        if self.concurrency == 1 or len(items) < 2:
            yield from map(function, items)
            return
        failed: list[BaseException] = []

        def call(item: Item) -> Result:
            if failed:
                raise failed[0]
            try:
                return function(item)
            except BaseException as error:
                failed.append(error)
                raise

        with ThreadPoolExecutor(min(self.concurrency, len(items)), thread_name_prefix="storage") as pool:
            try:
                yield from pool.map(call, items)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def partial_name(name: str) -> str:
    """Return a name for what is to be called `name` once it is whole, or was until it is removed."""
    return f"{name}{PARTIAL}{uuid.uuid4().hex[:12]}"


def is_partial(name: str) -> bool:
    """Return whether a name is that of something half-written or half-removed: litter of a killed run, never read.

    Examples
    --------
    >>> is_partial("zarr.json.partial-0123456789ab"), is_partial("my.partial-net")
    (True, False)
    >>> is_partial(partial_name("zarr.json"))
    True
    """
    return _PARTIAL.search(name) is not None


def drain(results: Iterable[object]) -> None:
    """Run what `Backend.map` yields to its end."""
    for _ in results:
        pass
