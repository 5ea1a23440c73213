"""Turns a folder of class folders into a listing whose row order is the same everywhere and for ever."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fusion_pipeline.errors import FormatError, IncompleteError, UnusableDataError, UsageError, printable
from fusion_pipeline.images.walk import LAYOUT, Walk, quoted


class _Digest(Protocol):
    def update(self, content: bytes, /) -> None: ...


@dataclass(frozen=True)
class ImageFolder:
    r"""What a folder of class folders holds: row i is `paths[i]`, in this listing and in every store made from it.

    Attributes
    ----------
    root : pathlib.Path
        The folder, absolute.
    name : str
        Name of the data set, usable as a folder name: ``[A-Za-z0-9._-]`` only, no leading ``.`` or ``-``.
    paths : tuple of bytes
        Image files relative to `root` with ``/`` between the parts, sorted as bytes. Bytes, because a POSIX name
        need not be text, and no locale or Unicode version changes their order.
    labels : tuple of int
        Index into `class_names` for each row.
    class_names : tuple of str
        First part of the paths, decoded with `os.fsdecode`, sorted as bytes.
    ignored : tuple of bytes
        What was passed over: names that are not images', hidden ones, folders (with a final ``/``) already visited.
        Sorted as bytes.

    Examples
    --------
    >>> folder = ImageFolder(Path("/pets"), "pets", (b"cat/1.jpg", b"dog/\xff.jpg"), (0, 1), ("cat", "dog"), ())
    >>> len(folder), folder.absolute(1), folder.sample_ids
    (2, b'/pets/dog/\xff.jpg', ('cat/1.jpg', 'dog/\udcff.jpg'))
    """

    root: Path
    name: str
    paths: tuple[bytes, ...]
    labels: tuple[int, ...]
    class_names: tuple[str, ...]
    ignored: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def absolute(self, row: int) -> bytes:
        """Return the absolute path of `row`, ready to be opened."""
        return os.path.join(os.fsencode(self.root), self.paths[row])

    @cached_property
    def sample_ids(self) -> tuple[str, ...]:
        """The paths as text; `os.fsencode` gives back the very bytes."""
        return tuple(os.fsdecode(path) for path in self.paths)

    def digest(self, sha256: Sequence[str]) -> str:
        """Return the digest of this version of the data set, given the sha256 of each file."""
        return dataset_digest(self.paths, sha256, self.labels, self.class_names)

    @cached_property
    def listing(self) -> str:
        """Digest of what is listed: equal for equal paths and labels, whatever the files hold."""
        return self.digest([""] * len(self.paths))

    def samples_per_class(self) -> npt.NDArray[np.int64]:
        """Return the number of rows of each class: int64 ``(n_classes,)``."""
        return np.bincount(self.labels, minlength=len(self.class_names)).astype(np.int64)


def list_image_folder(
    root: str | os.PathLike[str], *, name: str | None = None, follow_symlinks: bool = False
) -> ImageFolder:
    """List a folder of class folders; no file is opened.

    Each folder directly below `root` is a class, and images at any depth below it belong to it. Hidden files and
    folders and ``__MACOSX`` are passed over.

    Parameters
    ----------
    root : str or path-like
        The folder of class folders.
    name : str, optional
        Name of the data set; by default that of the folder. Characters outside ``[A-Za-z0-9._-]`` become ``-``.
    follow_symlinks : bool
        Take linked files and folders as if they stood there. A linked folder counts once in each class, so loops
        end. By default any link is refused: what lies outside `root` may change or vanish on its own.

    Returns
    -------
    ImageFolder
        The rows, sorted as bytes.

    Raises
    ------
    IncompleteError
        If there is no such folder.
    FormatError
        If `root` is not a folder.
    RefusedError
        For a symbolic link, and for a FIFO, socket or device with the name of an image.
    UnusableDataError
        If there is no image, an image outside the class folders, a class without images, a single class, a
        dangling link, or a folder that cannot be listed.
    UsageError
        If no name is left for the data set.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for path in ("cat/b.jpg", "cat/a.png", "dog/c.jpg", "dog/notes.txt"):
    ...         Path(folder, path).parent.mkdir(exist_ok=True)
    ...         _ = Path(folder, path).write_bytes(b"")
    ...     listing = list_image_folder(folder, name="my pets")
    >>> listing.name, listing.sample_ids, listing.labels, listing.ignored
    ('my-pets', ('cat/a.png', 'cat/b.jpg', 'dog/c.jpg'), (0, 0, 1), (b'dog/notes.txt',))
    """
    root = Path(os.path.abspath(root))
    _check_root(root)
    walk = Walk(root, follow_symlinks)
    paths = tuple(sorted(walk.images))
    _check_classes(root, paths, walk.classes)
    label_of = {class_name: label for label, class_name in enumerate(sorted(walk.classes))}
    return ImageFolder(
        root=root,
        name=dataset_name(root.name if name is None else name),
        paths=paths,
        labels=tuple(label_of[_class_of(path)] for path in paths),
        class_names=tuple(os.fsdecode(class_name) for class_name in label_of),
        ignored=tuple(sorted(walk.ignored)),
    )


def dataset_digest(
    paths: Sequence[bytes], sha256: Sequence[bytes | str], labels: Iterable[int], class_names: Sequence[str]
) -> str:
    """Return the digest that tells one version of a data set from another.

    It covers each row's path, content and class name in row order. Every field is hashed after its length, so no
    two different listings feed the hash the same bytes.

    Parameters
    ----------
    paths : sequence of bytes
        Relative paths in row order.
    sha256 : sequence of bytes or str
        Digest of each file, raw or in hex; empty for a file that could not be read.
    labels : iterable of int
        Index into `class_names` for each row.
    class_names : sequence of str
        As `os.fsdecode` gives them.

    Returns
    -------
    str
        ``sha256:`` and 64 hexadecimal digits.

    Raises
    ------
    ValueError
        If the lengths differ, or a digest is neither 32 bytes long nor empty.

    Examples
    --------
    >>> red, blue = "11" * 32, "22" * 32
    >>> digest = dataset_digest([b"a/1.png", b"b/2.png"], [red, blue], [0, 1], ["a", "b"])
    >>> digest[:15]
    'sha256:98634bcd'
    >>> digest == dataset_digest([b"a/1.png", b"b/2.png"], [blue, red], [0, 1], ["a", "b"])
    False
    """
    digest = hashlib.sha256(b"fusion data set 1\n")
    for path, content, label in zip(paths, sha256, labels, strict=True):
        _feed(digest, path, _raw_sha256(content), os.fsencode(class_names[label]))
    return f"sha256:{digest.hexdigest()}"


def refuse_cache_inside(root: str | os.PathLike[str], cache: str | os.PathLike[str]) -> None:
    """Refuse a cache that lies where the next run would take it for a class of images.

    Parameters
    ----------
    root : str or path-like
        The folder of the images.
    cache : str or path-like
        The folder of the cache.

    Raises
    ------
    UsageError
        If `cache` is `root`, or lies below it.

    Examples
    --------
    >>> refuse_cache_inside("flowers17", "cache")
    >>> refuse_cache_inside("flowers17", "flowers17/cache")
    Traceback (most recent call last):
    fusion_pipeline.errors.UsageError: Cache 'flowers17/cache' lies inside the images. Give another place with --cache.
    """
    if Path(cache).expanduser().resolve().is_relative_to(Path(root).expanduser().resolve()):
        raise UsageError(
            f"Cache '{printable(os.fsdecode(cache))}' lies inside the images. Give another place with --cache."
        )


def _check_root(root: Path) -> None:
    if not os.path.exists(root):
        raise IncompleteError(f"There is no folder {quoted(root)}. Check the path given as the data set.")
    if not root.is_dir():
        raise FormatError(f"{quoted(root)} is not a folder. {LAYOUT}: give the folder that holds the class folders.")


def _check_classes(root: Path, paths: Sequence[bytes], classes: Sequence[bytes]) -> None:
    if not paths:
        raise UnusableDataError(f"Folder {quoted(root)} holds no images. {LAYOUT}, as in 'roses/1.jpg'.")
    samples = Counter(map(_class_of, paths))
    for class_name in classes:
        if not samples[class_name]:
            raise UnusableDataError(
                f"Class '{printable(class_name)}' in {quoted(root)} has no images. Add some, or remove its folder."
            )
    if len(classes) == 1:
        raise UnusableDataError(
            f"Folder {quoted(root)} has a single class, '{printable(classes[0])}'. At least 2 are needed:"
            " give the folder above, or add a class."
        )


def _class_of(path: bytes) -> bytes:
    return path.partition(b"/")[0]


def dataset_name(name: str) -> str:
    """Return `name` as a data set is called in a cache: one safe folder name, which never looks half-written.

    Raises
    ------
    UsageError
        If nothing of it is left.

    Examples
    --------
    >>> dataset_name("my flowers"), dataset_name("imagenet.partial-10")
    ('my-flowers', 'imagenet-partial-10')
    """
    slug = re.sub(r"[^A-Za-z0-9._-]", "-", name).lstrip(".-").replace(".partial-", "-partial-")
    if not slug or slug == "attempts":  # what a cache calls its unfinished stores
        raise UsageError(f"'{printable(name)}' cannot name a data set. Give another one of letters and digits.")
    return slug


def _raw_sha256(digest: bytes | str) -> bytes:
    raw = bytes.fromhex(digest) if isinstance(digest, str) else bytes(digest)
    if len(raw) not in {0, 32}:
        raise ValueError(f"A sha256 has 32 bytes, not {len(raw)}.")
    return raw


def _feed(digest: _Digest, *fields: bytes) -> None:
    for field in fields:
        digest.update(len(field).to_bytes(8, "big") + field)
