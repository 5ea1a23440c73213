"""Paths below a cache into durable files of a local or shared POSIX file system."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from fusion_pipeline.errors import BrokenFileError, DeniedError, RefusedError, StorageError, printable
from fusion_pipeline.store.storage.backend import Backend, Entries, StoredFile, drain, is_partial, partial_name
from fusion_pipeline.store.storage.durable import HalfWritten, make_folders, sync_folder

_NO_FILE = (errno.ELOOP, errno.ENXIO)  # a link; a socket
_DENIED = (errno.EACCES, errno.EPERM)
_BROKEN = (errno.EIO, errno.EBADMSG)
_NO_LINKS = (errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EXDEV)
_TRIES = 5

Written = TypeVar("Written")


class LocalBackend(Backend):
    """A folder of a local or shared POSIX file system.

    Files and folders are synced. Modes follow the umask, and below a setgid folder, which is how a group shares one,
    also that folder's bits for the group. Nothing that exists is ever changed in mode or owner.

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

    # A disk gains little from more, and a network's file system hides its round trips so.
    concurrency = 4
    is_local = True

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser().absolute()
        self.location = str(self.root)

    def path(self, path: str) -> Path:
        """Return where `path` lies on the file system."""
        return self.root / path if path else self.root

    def where(self, path: str) -> str:
        """Return where `path` lies on the file system."""
        return str(self.path(path))

    def read(self, path: str, at_most: int | None = None) -> bytes | None:
        """Return the content of a file, or None; see `Backend.read`."""
        with self._opened(path) as descriptor:
            if descriptor is None:
                return None
            with open(descriptor, "rb", closefd=False) as file:
                if at_most is None:
                    return file.read()
                # Room is made for as much as is asked for, and a forged manifest asks for a great deal.
                return file.read(min(at_most, os.fstat(descriptor).st_size) + 1)

    def read_into(self, path: str, buffers: Sequence[memoryview]) -> int | None:
        """Fill buffers with a file's bytes, without a copy between; see `Backend.read_into`."""
        beyond = memoryview(bytearray(1))
        with self._opened(path) as descriptor:
            if descriptor is None:
                return None
            done, waiting = 0, [*buffers, beyond]
            while waiting and (count := os.readv(descriptor, waiting)):
                done += count
                while waiting and count >= len(waiting[0]):
                    count -= len(waiting.pop(0))
                if waiting:
                    waiting[0] = waiting[0][count:]
            return done

    def length(self, path: str) -> int | None:
        """Return the length of a file, or None."""
        with self._storage_errors(path):
            try:
                found = os.lstat(self.path(path))
            except (FileNotFoundError, NotADirectoryError):
                return None
            return None if stat.S_ISDIR(found.st_mode) else found.st_size

    def entries(self, path: str) -> Entries:
        """Return what lies in a folder, but for half-written files."""
        with self._storage_errors(path):
            try:
                with os.scandir(self.path(path)) as found:
                    named = [(entry.name, entry.is_dir()) for entry in found if not is_partial(entry.name)]
            except (FileNotFoundError, NotADirectoryError):
                return Entries()
        files = sorted(name for name, is_folder in named if not is_folder)
        return Entries(tuple(files), tuple(sorted(name for name, is_folder in named if is_folder)))

    def walk(self, path: str) -> Iterator[StoredFile]:
        """Yield all files below a folder; see `Backend.walk`. What vanishes meanwhile is passed over."""
        with self._storage_errors(path):
            try:
                with os.scandir(self.path(path)) as found:
                    entries = sorted(found, key=lambda entry: entry.name)
            except FileNotFoundError:
                return
        for entry in entries:
            name = f"{path}/{entry.name}" if path else entry.name
            with self._storage_errors(name), suppress(FileNotFoundError):
                if not entry.is_dir(follow_symlinks=False):
                    found_stat = entry.stat(follow_symlinks=False)
                    yield StoredFile(name, found_stat.st_size, found_stat.st_mtime)
                    continue
            if entry.is_dir(follow_symlinks=False):
                yield from self.walk(name)

    def write(self, path: str, content: bytes) -> None:
        """Write a file durably over what was there; names the bytes needed and free where there is no space."""
        with self._storage_errors(path, len(content)):
            _despite_removals(lambda: _replace(self.path(path), content))
            _sync_if_there(self.path(path).parent)

    def write_all(self, files: Mapping[str, bytes]) -> None:
        """Write several files durably: each synced on its own, each folder once."""
        changed = self._make_folders_of(files)
        with ExitStack() as stack:
            # All are on their way before the first is waited for: the disk then syncs them together.
            written = {path: self._begin(stack, path, content) for path, content in files.items()}
            self._sync(written)
            self._replace(written)
        drain(map(self._sync_folder, changed))

    def write_recorded(self, files: Mapping[str, bytes], record: str, describe: Callable[[], bytes]) -> bool:
        """Write several files, and a record of them, durably; see `Backend.write_recorded`."""
        changed = self._make_folders_of([*files, record])
        with ExitStack() as stack:
            written = {path: self._begin(stack, path, content) for path, content in files.items()}
            last = self._begin(stack, record, describe())
            self._sync({**written, record: last})
            self._replace(written)
            with self._storage_errors(record, last.length):
                created = last.link()
        drain(map(self._sync_folder, changed))
        return created

    def create(self, path: str, content: bytes) -> bool:
        """Write a file durably unless there is one; on any POSIX file system, for ``link`` never replaces."""
        with self._storage_errors(path, len(content)):
            created = _despite_removals(lambda: _link(self.path(path), content))
            _sync_if_there(self.path(path).parent)
            return created

    def swap(self, path: str, before: bytes | None, content: bytes) -> bool:
        """Write a file durably if it holds `before`. Who writes between the look and the rename is written over.

        Nothing but these two happens between them.
        """
        if before is None:
            return self.create(path, content)
        if self.read(path) != before:
            return False
        with self._storage_errors(path, len(content)), HalfWritten(self.path(path), content) as file:
            file.sync()
            if self.read(path) != before:
                return False
            file.replace()
            _sync_if_there(self.path(path).parent)
        return True

    def copy_all(self, files: Mapping[str, str]) -> None:
        """Link files to second names: the bytes stay where they are."""
        changed = self._make_folders_of(files)
        for target, source in files.items():
            with self._storage_errors(target):
                try:
                    os.link(self.path(source), self.path(target))
                except FileExistsError:
                    continue
                except FileNotFoundError:
                    raise
                except OSError as error:
                    if error.errno not in _NO_LINKS:
                        raise
                    self._copy_bytes(source, target)
        drain(self.map(self._sync_folder, changed))  # a store has a folder for each chunk

    def remove(self, path: str) -> None:
        """Remove a folder; it is moved aside first, so that nobody sees the half of it."""
        target = self.path(path)
        doomed = target.with_name(partial_name(target.name))
        with self._storage_errors(path), suppress(FileNotFoundError):
            os.replace(target, doomed)
            shutil.rmtree(doomed)

    def remove_file(self, path: str) -> None:
        """Remove a file durably, if it is there."""
        target = self.path(path)
        with self._storage_errors(path), suppress(FileNotFoundError):
            target.unlink()
            sync_folder(target.parent)

    def check_writable(self) -> None:
        """Write and remove a file; see `Backend.check_writable`."""
        with self._storage_errors("", 1), HalfWritten(self.path("probe"), b"?") as file:
            file.sync()

    def may_write(self, path: str) -> bool:
        """Return whether this user may write into a folder, or make it."""
        folder = self.path(path)
        while not os.path.exists(folder):
            folder = folder.parent
        return os.access(folder, os.W_OK | os.X_OK, effective_ids=True)

    def free_bytes(self) -> int:
        """Return the free space of the file system that holds the cache, in bytes."""
        folder = self.root
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free

    def _copy_bytes(self, source: str, target: str) -> None:
        content = self.read(source)
        if content is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), source)
        _replace(self.path(target), content)

    def _begin(self, stack: ExitStack, path: str, content: bytes) -> HalfWritten:
        with self._storage_errors(path, len(content)):
            return stack.enter_context(_despite_removals(lambda: HalfWritten(self.path(path), content)))

    def _sync(self, files: Mapping[str, HalfWritten]) -> None:
        for path, file in files.items():
            with self._storage_errors(path, file.length):
                file.sync()

    def _replace(self, files: Mapping[str, HalfWritten]) -> None:
        for path, file in files.items():
            with self._storage_errors(path, file.length):
                file.replace()

    def _make_folders_of(self, files: Iterable[str]) -> list[Path]:
        """Make the folders that files will lie in; return all that must be synced once they do, in that order."""
        parents = [self.path(path).parent for path in files]
        with self._storage_errors("", 0):
            changed = [folder for parent in parents for folder in make_folders(parent)]
        return list(dict.fromkeys([*changed, *parents]))

    def _sync_folder(self, folder: Path) -> None:
        with self._storage_errors(str(folder), 0):
            _sync_if_there(folder)

    @contextmanager
    def _opened(self, path: str) -> Iterator[int | None]:
        """Open a regular file for reading; None where there is none."""
        with self._storage_errors(path):
            try:
                descriptor = os.open(self.path(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            except (FileNotFoundError, NotADirectoryError):
                yield None
                return
            except OSError as error:
                if error.errno in _NO_FILE:
                    raise self._no_file(path) from None
                raise
            try:
                mode = os.fstat(descriptor).st_mode
                if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                    raise self._no_file(path)
                yield None if stat.S_ISDIR(mode) else descriptor
            finally:
                os.close(descriptor)

    def _no_file(self, path: str) -> RefusedError:
        return RefusedError(
            f"'{printable(self.where(path))}' is a link, a pipe or a device, which no cache holds. "
            "Do not trust the cache."
        )

    @contextmanager
    def _storage_errors(self, path: str, needed: int | None = None) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            if needed is None:
                raise
            raise StorageError(
                f"'{printable(self.where(path))}' lost its folder while it was written. Run the same command again."
            ) from None
        except OSError as error:
            where = printable(self.where(path))
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                size = f"{needed:,} bytes needed, " if needed is not None else ""
                raise StorageError(
                    f"No space for '{where}': {size}{self.free_bytes():,} free. "
                    "Make room, then run the same command again."
                ) from error
            raise _kind_of(error, reading=needed is None)(
                f"Storage failed at '{where}': {error.strerror or error}. Mend it, then run the same command again."
            ) from error


def _kind_of(error: OSError, *, reading: bool) -> type[StorageError]:
    if error.errno in _DENIED:
        return DeniedError
    return BrokenFileError if reading and error.errno in _BROKEN else StorageError


def _replace(target: Path, content: bytes) -> None:
    with HalfWritten(target, content) as file:
        file.sync()
        file.replace()


def _link(target: Path, content: bytes) -> bool:
    with HalfWritten(target, content) as file:
        file.sync()
        return file.link()


def _despite_removals(write: Callable[[], Written]) -> Written:
    """Write a file; again if somebody removed its folder meanwhile, as an object store would not even notice."""
    for _ in range(_TRIES - 1):
        with suppress(FileNotFoundError):
            return write()
    return write()


def _sync_if_there(folder: Path) -> None:
    with suppress(FileNotFoundError):
        sync_folder(folder)
