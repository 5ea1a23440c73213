"""Bytes into a file that is on the disk before anybody sees it under its name."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from fusion_pipeline.store.storage.backend import partial_name

_BLOCK = 1 << 20


class HalfWritten:
    """A file on its way to the disk, under a name that nobody reads; leaving the context removes that name.

    Parameters
    ----------
    target : Path
        The name that it is to have. Missing folders are made, and synced.
    content : bytes

    Attributes
    ----------
    length : int
        In bytes.
    """

    def __init__(self, target: Path, content: bytes) -> None:
        for folder in make_folders(target.parent):
            sync_folder(folder)
        self.path = target.with_name(partial_name(target.name))
        self.length = len(content)
        self._target = target
        # 0o666 lets the umask decide: group members can read and, where their umask says so, repair.
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            _share_file(self._descriptor, target.parent)
            _write_out(self._descriptor, content)
        except BaseException:
            self.close()
            raise

    def sync(self) -> None:
        """Wait until it is on the disk."""
        os.fsync(self._descriptor)

    def replace(self) -> None:
        """Give it its name, over what was there."""
        os.replace(self.path, self._target)

    def link(self) -> bool:
        """Give it its name unless something has it; return whether this call did."""
        try:
            os.link(self.path, self._target)
        except FileExistsError:
            # Over NFS the answer to a call that succeeded may be lost, and its repetition fails.
            return os.stat(self.path).st_nlink == 2
        return True

    def close(self) -> None:
        """Forget it, but for the name that it was given."""
        os.close(self._descriptor)
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> HalfWritten:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def make_folders(folder: Path) -> list[Path]:
    """Make a folder and its missing parents; return the folders that must be synced for their names to last."""
    if folder.is_dir():
        return []
    changed = make_folders(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir()
        _share_folder(folder)
    return [*changed, folder.parent]


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: without it a renamed file may be gone after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_out(descriptor: int, content: bytes) -> None:
    rest, done = memoryview(content), 0
    while rest:
        count = os.write(descriptor, rest[:_BLOCK])
        # The disk then begins with this block while the next one is copied, instead of all at once when it is synced.
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, done, count, os.POSIX_FADV_DONTNEED)
        rest, done = rest[count:], done + count


def _share_file(descriptor: int, folder: Path) -> None:
    """Give a file of ours the rights that its folder gives the group, where that folder is a group's."""
    mode = os.stat(folder).st_mode
    if mode & stat.S_ISGID:
        own = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if (shared := own | mode & 0o064) != own:
            os.fchmod(descriptor, shared)


def _share_folder(folder: Path) -> None:
    """Hand the rights of a group's folder on to a new one in it."""
    mode = os.stat(folder.parent).st_mode
    if mode & stat.S_ISGID:
        own = stat.S_IMODE(os.stat(folder).st_mode)
        if (shared := own | mode & (stat.S_ISGID | 0o075)) != own:
            os.chmod(folder, shared)
