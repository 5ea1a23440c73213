"""Labelled images, wherever they lie, into a listing whose row order is the same everywhere and for ever."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from fusion_pipeline.errors import UnusableDataError, UsageError, printable
from fusion_pipeline.images.decode import Member, Place
from fusion_pipeline.images.walk import quoted

COLUMNS: Final = ("split", "group")
"""What a row may have beside its label, in the order in which a digest takes them."""

FILE_SUFFIXES: Final = (".csv", ".tsv", ".parquet", ".tar")
"""Files that list or hold images; what a file is called without it names the data set."""

_NO_COLUMNS: Mapping[str, tuple[str, ...]] = MappingProxyType({})  # a default argument: nobody may change it


class _Digest(Protocol):
    def update(self, content: bytes, /) -> None: ...


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One image: its id, its label, and where it lies if that is no file of its own.

    Parameters
    ----------
    path : bytes
        Its id: a relative path with ``/`` between the parts.
    label : str
        Name of its class.
    place : Member, optional
        Which part of which file it is; all rows of a listing have one, or none has.
    split, group : str
        Named part of the data, and what it must not be separated from; empty for none.
    """

    path: bytes
    label: str
    place: Member | None = None
    split: str = ""
    group: str = ""


@dataclass(frozen=True)
class ImageListing:
    r"""What a data set holds: row i is `paths[i]`, in this listing and in every store made from it.

    Attributes
    ----------
    root : pathlib.Path
        The folder or file that was listed, absolute.
    name : str
        Name of the data set, usable as a folder name: ``[A-Za-z0-9._-]`` only, no leading ``.`` or ``-``.
    paths : tuple of bytes
        Sample ids: paths relative to `root` with ``/`` between the parts, sorted as bytes. Bytes, because a POSIX name
        need not be text, and no locale or Unicode version changes their order.
    labels : tuple of int
        Index into `class_names` for each row.
    class_names : tuple of str
        As `os.fsdecode` gives them, sorted as bytes.
    ignored : tuple of bytes
        What was passed over: names that are not images', hidden ones, folders (with a final ``/``) already visited.
        Sorted as bytes.
    columns : mapping of str to tuple of str
        ``split`` and ``group``, each with one text a row, as far as there are any.
    places : tuple of Member, optional
        Where each row is read from; without them the paths are those of files, relative to `folder` or absolute.
    folder : pathlib.Path, optional
        What the paths are relative to, absolute, if it is not `root`.

    Examples
    --------
    >>> listing = ImageListing(Path("/pets"), "pets", (b"cat/1.jpg", b"dog/\xff.jpg"), (0, 1), ("cat", "dog"))
    >>> len(listing), listing.place(1), listing.sample_ids
    (2, b'/pets/dog/\xff.jpg', ('cat/1.jpg', 'dog/\udcff.jpg'))
    """

    root: Path
    name: str
    paths: tuple[bytes, ...]
    labels: tuple[int, ...]
    class_names: tuple[str, ...]
    ignored: tuple[bytes, ...] = ()
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    places: tuple[Member, ...] | None = None
    folder: Path | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def place(self, row: int) -> Place:
        """Return where `row` is read from: the absolute path of a file, or a part of a file."""
        if self.places is not None:
            return self.places[row]
        # A path may begin with "..", which the system would take from where a link leads.
        return os.path.normpath(os.path.join(os.fsencode(self.folder or self.root), self.paths[row]))

    @cached_property
    def sample_ids(self) -> tuple[str, ...]:
        """The paths as text; `os.fsencode` gives back the very bytes."""
        return tuple(os.fsdecode(path) for path in self.paths)

    def digest(self, sha256: Sequence[str]) -> str:
        """Return the digest of this version of the data set, given the sha256 of each file."""
        return dataset_digest(self.paths, sha256, self.labels, self.class_names, self.columns)

    @cached_property
    def listing(self) -> str:
        """Digest of what is listed: equal for equal paths and labels, whatever the files hold."""
        return self.digest([""] * len(self.paths))

    def samples_per_class(self) -> npt.NDArray[np.int64]:
        """Return the number of rows of each class: int64 ``(n_classes,)``."""
        return np.bincount(self.labels, minlength=len(self.class_names)).astype(np.int64)


def list_rows(
    root: Path, name: str, rows: Iterable[ImageRow], ignored: Iterable[bytes] = (), *, folder: Path | None = None
) -> ImageListing:
    """Put rows into their order and number their classes.

    Parameters
    ----------
    root : pathlib.Path
        What was listed, absolute.
    name : str
        Name of the data set; made safe by `dataset_name`.
    rows : iterable of ImageRow
        In any order.
    ignored : iterable of bytes
        What was passed over.
    folder : pathlib.Path, optional
        What the paths are relative to, absolute, if it is not `root`.

    Returns
    -------
    ImageListing
        With the columns that are not empty in all rows.

    Raises
    ------
    UnusableDataError
        If there is no row, a path occurs twice, or there is a single class.
    UsageError
        If no name is left for the data set.

    Examples
    --------
    >>> rows = [ImageRow(b"2.jpg", "rose", split="test"), ImageRow(b"1.jpg", "iris", split="train")]
    >>> listing = list_rows(Path("/flowers"), "flowers", rows)
    >>> listing.paths, listing.labels, listing.class_names, dict(listing.columns)
    ((b'1.jpg', b'2.jpg'), (0, 1), ('iris', 'rose'), {'split': ('train', 'test')})
    """
    ordered = sorted(rows, key=lambda row: row.path)
    for one, other in pairwise(ordered):
        if one.path == other.path:
            files = dict.fromkeys(quoted(_file_of(row, root)) for row in (one, other))
            raise UnusableDataError(
                f"Image '{printable(one.path)}' occurs twice in {' and '.join(files)}. Rename or remove one of them."
            )
    names = sorted({row.label for row in ordered}, key=os.fsencode)
    _check_classes(root, names)
    number = {label: position for position, label in enumerate(names)}
    columns = {column: tuple(str(getattr(row, column)) for row in ordered) for column in COLUMNS}
    return ImageListing(
        root=root,
        name=dataset_name(name),
        paths=tuple(row.path for row in ordered),
        labels=tuple(number[row.label] for row in ordered),
        class_names=tuple(names),
        ignored=tuple(sorted(ignored)),
        columns={column: texts for column, texts in columns.items() if any(texts)},
        places=tuple(row.place for row in ordered if row.place is not None) or None,
        folder=folder,
    )


def _file_of(row: ImageRow, root: Path) -> bytes:
    return os.fsencode(root) if row.place is None else row.place.file


def _check_classes(root: Path, names: Sequence[str]) -> None:
    if not names:
        raise UnusableDataError(f"{quoted(root)} holds no images. Check the path given as the data set.")
    if len(names) == 1:
        raise UnusableDataError(
            f"{quoted(root)} has a single class, '{printable(names[0])}'. At least 2 are needed: add a class."
        )


def dataset_digest(
    paths: Sequence[bytes],
    sha256: Sequence[bytes | str],
    labels: Iterable[int],
    class_names: Sequence[str],
    columns: Mapping[str, Sequence[str]] = _NO_COLUMNS,
) -> str:
    """Return the digest that tells one version of a data set from another.

    It covers each row's path, content and class name in row order, and its split and group where there are any. Every
    field is hashed after its length, so no two different listings feed the hash the same bytes.

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
    columns : mapping of str to sequence of str
        ``split`` and ``group``, where the listing has them.

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
    names = [name for name in COLUMNS if name in columns]
    digest = hashlib.sha256(" ".join(["fusion data set 1", *names]).encode() + b"\n")
    extra = zip(*(columns[name] for name in names), strict=True) if names else ((),) * len(paths)
    for path, content, label, texts in zip(paths, sha256, labels, extra, strict=True):
        _feed(digest, path, _raw_sha256(content), os.fsencode(class_names[label]), *map(os.fsencode, texts))
    return f"sha256:{digest.hexdigest()}"


def default_name(place: str | os.PathLike[str]) -> str:
    """Return what a data set is called if nobody says: as its folder, or its file without the suffix.

    Examples
    --------
    >>> default_name("data/flowers17"), default_name("flowers.v2.csv"), default_name("flowers17.tar")
    ('flowers17', 'flowers.v2', 'flowers17')
    """
    path = Path(os.path.abspath(os.path.expanduser(place)))
    return path.stem if path.suffix.lower() in FILE_SUFFIXES and not path.is_dir() else path.name


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
    for content in fields:
        digest.update(len(content).to_bytes(8, "big") + content)
