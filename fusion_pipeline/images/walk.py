"""Turns a tree of folders into the image names below it, without opening a file or leaving the tree unasked."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import Final

from fusion_pipeline.errors import RefusedError, UnusableDataError, printable

# Whatever a person would call an image, decodable or not: a HEIC or a camera's raw file shall be a row that is
# reported as bad, not vanish from the listing.
IMAGE_EXTENSIONS: Final = frozenset(
    b".jpg .jpeg .jpe .jfif .jif .mpo .png .apng .gif .webp .avif .avifs .heic .heif .hif .bmp .dib .tif .tiff"
    b" .ppm .pgm .pbm .pnm .pfm .jp2 .j2k .jpf .jpx .jxl .tga .ico .psd .svg .eps"
    b" .dng .cr2 .cr3 .nef .arw .orf .rw2 .raf".split()
)
LAYOUT: Final = "One folder for each class is expected, with its images inside"


class Walk:
    """One pass over the class folders of `root`, done when the object is made.

    Parameters
    ----------
    root : pathlib.Path
        An existing folder, absolute.
    follow_symlinks : bool
        Whether links are followed; by default they are refused.

    Attributes
    ----------
    classes, images, ignored : list of bytes
        Relative paths in the order met: the folders directly below `root`, the files in them with an image's
        name, and everything else (folders with a final ``/``).

    Raises
    ------
    RefusedError
        For a symbolic link that is not to be followed, and for a FIFO, socket or device with an image's name.
    UnusableDataError
        For an image directly below `root`, a dangling link, or a folder that cannot be listed.
    """

    def __init__(self, root: Path, follow_symlinks: bool) -> None:
        self.classes: list[bytes] = []
        self.images: list[bytes] = []
        self.ignored: list[bytes] = []
        self._root = os.fsencode(root)
        self._follow_symlinks = follow_symlinks
        self._list_classes()
        for class_name in self.classes:
            self._list_images(class_name)

    def _list_classes(self) -> None:
        self._root_inode, entries = self._scan(b"")
        for entry in entries:
            if self._is_ignored(entry, entry.name):
                self.ignored.append(_with_slash(entry, entry.name))
            elif entry.is_dir():
                self.classes.append(entry.name)
            else:
                raise UnusableDataError(
                    f"Image '{printable(entry.name)}' lies outside the class folders of {quoted(self._root)}."
                    f" {LAYOUT}: move it into its class."
                )

    def _list_images(self, class_name: bytes) -> None:
        # Linked folders wait until the real ones are done, so that each is listed under its own name where it has
        # one. What was visited is forgotten from class to class: two classes may link to the same folder.
        visited = {self._root_inode}
        real, linked = deque([class_name]), deque[bytes]()
        while real or linked:
            folder = real.popleft() if real else linked.popleft()
            inode, entries = self._scan(folder)
            if inode in visited:
                self.ignored.append(folder + b"/")
                continue
            visited.add(inode)
            for entry in entries:
                path = folder + b"/" + entry.name
                if self._is_ignored(entry, path):
                    self.ignored.append(_with_slash(entry, path))
                elif entry.is_dir():
                    (linked if entry.is_symlink() else real).append(path)
                else:
                    self.images.append(path)

    def _scan(self, folder: bytes) -> tuple[tuple[int, int], list[os.DirEntry[bytes]]]:
        path = os.path.join(self._root, folder)
        try:
            status = os.stat(path)
            with os.scandir(path) as entries:
                return (status.st_dev, status.st_ino), sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise UnusableDataError(
                f"Folder {quoted(path)} cannot be listed: {error.strerror}. Check its permissions."
            ) from error

    def _is_ignored(self, entry: os.DirEntry[bytes], path: bytes) -> bool:
        """Tell whether to pass over `entry`; one that is neither passed over nor refused is a folder or an image."""
        if entry.name.startswith(b".") or entry.name == b"__MACOSX":
            return True
        if entry.is_symlink():
            self._check_link(entry, path)
        if entry.is_dir():
            return False
        if os.path.splitext(entry.name)[1].lower() not in IMAGE_EXTENSIONS:
            return True
        if not entry.is_file():
            raise RefusedError(
                f"'{printable(path)}' in {quoted(self._root)} has an image's name but is a FIFO, socket or device."
                " Remove it."
            )
        return False

    def _check_link(self, entry: os.DirEntry[bytes], path: bytes) -> None:
        if not self._follow_symlinks:
            raise RefusedError(
                f"'{printable(path)}' in {quoted(self._root)} is a symbolic link."
                " Give --follow-symlinks if what it points to can be trusted."
            )
        try:
            entry.stat()
        except OSError as error:
            raise UnusableDataError(
                f"Symbolic link '{printable(path)}' in {quoted(self._root)} leads nowhere: {error.strerror}."
                " Remove or mend it."
            ) from error


def quoted(path: bytes | Path) -> str:
    r"""Return `path` in quotation marks, safe for a terminal.

    Examples
    --------
    >>> print(quoted(b"caf\xe9"))
    'caf\xe9'
    """
    return f"'{printable(os.fsencode(path))}'"


def _with_slash(entry: os.DirEntry[bytes], path: bytes) -> bytes:
    return path + b"/" if entry.is_dir(follow_symlinks=False) else path
