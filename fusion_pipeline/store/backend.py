"""Paths below a cache into durable files on the storage that holds it."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fusion_pipeline.errors import RefusedError, StorageError, UsageError, printable

PARTIAL = ".partial-"
"""Part of the name of every file that is still being written; such litter of a killed run is never read."""


class Lock:
    """An advisory lock that the operating system releases when its holder dies, however it dies."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Let others have it."""
        os.close(self._descriptor)


class LocalBackend:
    """A folder of a local or shared POSIX file system.

    Paths are relative to the folder, with forward slashes. Writes are durable when they return: file and folder are
    synced. Modes follow the umask, and nothing that exists is ever changed in mode or owner.

    Parameters
    ----------
    root : str or Path
        The folder; made by the first write.

    Examples
    --------
    >>> import tempfile
    >>> backend = LocalBackend(tempfile.mkdtemp())
    >>> backend.write("a/b", b"12"); backend.read("a/b"), backend.create("a/b", b"34"), backend.list("a")
    (b'12', False, ['b'])
    """

    def __init__(self, root: str | Path) -> None:
        if "://" in str(root):
            raise UsageError(f"Cache '{printable(str(root))}' is not a folder; this version keeps caches in folders.")
        self.root = Path(root).expanduser().absolute()

    def __str__(self) -> str:
        return str(self.root)

    def path(self, path: str) -> Path:
        """Return where `path` lies on the file system."""
        return self.root / path if path else self.root

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
            If it is there and cannot be read.
        RefusedError
            If it is a symbolic link, a pipe or a device: no cache holds one, and reading it might never end.
        """
        with self._storage_errors(path):
            try:
                descriptor = os.open(self.path(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            except (FileNotFoundError, NotADirectoryError):
                return None
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENXIO):  # a link; a socket
                    raise self._no_file(path) from None
                raise
            try:
                mode = os.fstat(descriptor).st_mode
                if stat.S_ISDIR(mode):
                    return None
                if not stat.S_ISREG(mode):
                    raise self._no_file(path)
                with open(descriptor, "rb", closefd=False) as file:
                    return file.read() if at_most is None else file.read(at_most + 1)
            finally:
                os.close(descriptor)

    def _no_file(self, path: str) -> RefusedError:
        return RefusedError(
            f"'{printable(str(self.path(path)))}' is a link, a pipe or a device, which no cache holds. "
            "Do not trust the cache."
        )

    def exists(self, path: str) -> bool:
        """Return whether a file or folder is there."""
        with self._storage_errors(path):
            return self.path(path).exists()

    def list(self, path: str) -> list[str]:
        """Return the sorted names in a folder; none for a folder that is not there."""
        with self._storage_errors(path):
            try:
                return sorted(name for name in os.listdir(self.path(path)) if PARTIAL not in name)
            except (FileNotFoundError, NotADirectoryError):
                return []

    def write(self, path: str, content: bytes) -> None:
        """Write a file durably: whole or not at all, over what was there.

        Raises
        ------
        StorageError
            If the storage is full, read-only or failing; names the bytes needed and free.
        """
        target = self.path(path)
        with self._storage_errors(path, len(content)):
            partial = self._write_partial(target, content)
            os.replace(partial, target)
            sync_folder(target.parent)

    def create(self, path: str, content: bytes) -> bool:
        """Write a file durably unless there is one already; return whether this call made it.

        Of several callers at once exactly one gets True, on any POSIX file system: ``link`` never replaces.
        """
        target = self.path(path)
        with self._storage_errors(path, len(content)):
            partial = self._write_partial(target, content)
            try:
                os.link(partial, target)
            except FileExistsError:
                return False
            finally:
                os.unlink(partial)
            sync_folder(target.parent)
            return True

    def move(self, source: str, target: str) -> None:
        """Move a folder within the cache, durably; does nothing if it was moved before."""
        origin, destination = self.path(source), self.path(target)
        if not origin.exists() and destination.exists():
            return
        with self._storage_errors(target):
            _make_folders(destination.parent)
            os.replace(origin, destination)
            sync_folder(destination.parent)
            sync_folder(origin.parent)

    def remove(self, path: str) -> None:
        """Remove a folder with all that is in it, if it is there."""
        with self._storage_errors(path), suppress(FileNotFoundError):
            shutil.rmtree(self.path(path))

    def remove_file(self, path: str) -> None:
        """Remove a file durably, if it is there."""
        target = self.path(path)
        with self._storage_errors(path), suppress(FileNotFoundError):
            target.unlink()
            sync_folder(target.parent)

    def check_writable(self) -> None:
        """Write and remove a file, so that a long computation does not end at a place that cannot take its result.

        Raises
        ------
        StorageError
            If the folder cannot be made or written.
        """
        with self._storage_errors("", 1):
            self._write_partial(self.path("probe"), b"?").unlink()

    def sweep(self, path: str) -> None:
        """Remove the files below a folder that a killed run left half-written."""
        with self._storage_errors(path):
            for litter in self.path(path).rglob(f"*{PARTIAL}*"):
                litter.unlink(missing_ok=True)

    def lock(self, path: str) -> Lock | None:
        """Take the advisory lock on a file, or return None if that is not ours to do.

        It is not if somebody alive holds it, if the file is not there, or if it may only be read: then its folder
        belongs to another member, whose umask shares it for reading.

        The file is never made here: whoever removes its folder must not find it made anew meanwhile. Correctness
        never depends on the lock: partitions are written whole and publication is create-if-absent.
        """
        with self._storage_errors(path):
            try:
                descriptor = os.open(self.path(path), os.O_RDWR | os.O_CLOEXEC)
            except (FileNotFoundError, PermissionError):
                return None
            except OSError as error:
                if error.errno == errno.EROFS:
                    return None
                raise
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(descriptor)
                if error.errno in (errno.EAGAIN, errno.EACCES):
                    return None
                raise
            return Lock(descriptor)

    def free_bytes(self) -> int:
        """Return the free space of the file system that holds the cache, in bytes."""
        folder = self.root
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free

    def _write_partial(self, target: Path, content: bytes) -> Path:
        _make_folders(target.parent)
        partial = target.with_name(f"{target.name}{PARTIAL}{uuid.uuid4().hex[:12]}")
        # 0o666 lets the umask decide: group members can read and, where their umask says so, repair.
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        return partial

    @contextmanager
    def _storage_errors(self, path: str, needed: int | None = None) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = printable(str(self.path(path)))
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                size = f"{needed:,} bytes needed, " if needed is not None else ""
                raise StorageError(
                    f"No space for '{where}': {size}{self.free_bytes():,} free. "
                    "Make room, then run the same command again."
                ) from error
            raise StorageError(
                f"Storage failed at '{where}': {error.strerror or error}. Mend it, then run the same command again."
            ) from error


def _make_folders(folder: Path) -> None:
    """Make a folder and its missing parents, each one durably."""
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir()
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: without it a renamed file may be gone after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
