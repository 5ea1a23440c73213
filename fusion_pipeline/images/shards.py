"""Turns uncompressed tar files into a listing of the images in them."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from fusion_pipeline.errors import FormatError, FusionError, IncompleteError, RefusedError, UnusableDataError, printable
from fusion_pipeline.images.decode import Member
from fusion_pipeline.images.listing import ImageListing, ImageRow, list_rows
from fusion_pipeline.images.walk import IMAGE_EXTENSIONS, quoted

SUFFIX: Final = ".tar"

_LABEL_EXTENSIONS: Final = (b".cls", b".json")
_MAX_LABEL_BYTES: Final = 1 << 20
_COMPRESSED: Final = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ\0": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
}


@dataclass(frozen=True)
class _File:
    """A regular file in a shard: where it is, its name without its key's extension, and that extension."""

    member: Member
    key: bytes
    extension: bytes

    @classmethod
    def of(cls, member: Member) -> _File:
        folder, slash, name = member.name.rpartition(b"/")
        stem, dot, extension = name.partition(b".")
        return cls(member, folder + slash + stem, (dot + extension).lower())

    @property
    def is_image(self) -> bool:
        return os.path.splitext(self.extension)[1] in IMAGE_EXTENSIONS or self.extension in IMAGE_EXTENSIONS


def refuse_compressed(file: Path) -> None:
    """Refuse a file that is compressed as a whole: nothing in it can be found without unpacking all before it.

    Raises
    ------
    FormatError
        With the command that unpacks it.
    """
    head = _read(file, 0, 8)
    for magic, (name, command) in _COMPRESSED.items():
        if head.startswith(magic):
            raise FormatError(
                f"{quoted(file)} is compressed ({name}), so that no image in it can be read alone. Unpack it first: "
                f"{command} < it > a file that ends in .tar; or extract its files into a folder."
            )


def shards_in(folder: Path, *, follow_symlinks: bool = False) -> list[Path]:
    """Return the tar files of a folder that holds nothing else but files; none for any other folder.

    Raises
    ------
    RefusedError
        For a symbolic link that is not to be followed, and for a FIFO, socket or device called as a shard.
    FormatError
        For a compressed tar file beside the others.
    """
    try:
        entries = sorted(
            (entry for entry in os.scandir(folder) if not entry.name.startswith(".")), key=lambda e: e.name
        )
    except OSError:
        return []  # whoever lists it as a folder says why
    # Not entry.is_dir(), which raises for a link to itself.
    if any(os.path.isdir(entry) for entry in entries):
        return []
    named = [entry for entry in entries if entry.name.lower().endswith(SUFFIX)]
    packed = [entry for entry in entries if ".tar." in entry.name.lower() or entry.name.lower().endswith(".tgz")]
    if named:
        for entry in (*named, *packed):
            _check_shard(entry, follow_symlinks)
        for entry in packed:
            refuse_compressed(Path(entry.path))
    return [Path(entry.path) for entry in named]


def _check_shard(entry: os.DirEntry[str], follow_symlinks: bool) -> None:
    """Refuse a link that is not to be followed, and what would block whoever opens it."""
    if entry.is_symlink() and not follow_symlinks:
        raise RefusedError(
            f"{quoted(Path(entry.path))} is a symbolic link. Give --follow-symlinks if what it points to can be "
            "trusted."
        )
    if not os.path.isfile(entry):
        raise RefusedError(f"{quoted(Path(entry.path))} is no file. Remove it, or make it one.")


def list_shards(root: Path, files: Sequence[Path], *, name: str) -> ImageListing:
    """List the images in tar files; only the headers and the labels are read.

    A member ``class/name.jpg`` is an image of that class; a single folder around all the class folders is left out of
    the ids. Where images come with ``key.cls`` or ``key.json``, as in WebDataset shards, these hold the labels: the
    text of the one, ``"label"`` of the other.

    Parameters
    ----------
    root : pathlib.Path
        The tar file, or the folder of all, absolute.
    files : sequence of pathlib.Path
        The tar files.
    name : str
        Name of the data set.

    Returns
    -------
    ImageListing
        Ids are the members' names, so that an archive of a folder of class folders is the same data set as the folder.

    Raises
    ------
    FormatError
        If one is no tar file, is cut short or is compressed.
    RefusedError
        For links, sparse files, devices, and names that lead out of the archive.
    UnusableDataError
        For an image without a label, an id that occurs twice, no image, or a single class.
    """
    found = [_File.of(member) for file in files for member in _members(file)]
    images = [file for file in found if file.is_image and not _is_hidden(file.member.name)]
    labels = {file.key: file for file in found if file.extension in _LABEL_EXTENSIONS}
    labelled = any(file.key in labels for file in images)
    if labelled:
        rows = [ImageRow(file.member.name, _label_beside(file, labels), file.member) for file in images]
    else:
        rows = [ImageRow(path, _folder_of(file, path), file.member) for file, path in _without_wrapper(images)]
    used = {id(file) for file in images} | {id(file) for file in labels.values() if labelled}
    return list_rows(root, name, rows, [file.member.name for file in found if id(file) not in used])


def _members(file: Path) -> Iterator[Member]:
    """Yield the regular files of a tar file; refuse what no extraction would trust."""
    refuse_compressed(file)
    place = os.fsencode(file)
    try:
        with open(file, "rb") as stream, tarfile.open(fileobj=stream, mode="r:", encoding="utf-8") as archive:
            size = os.fstat(stream.fileno()).st_size
            end = 0
            for info in archive:
                if info.size < 0 or not end < archive.offset <= size:  # else some would be read for ever
                    raise _damaged(file, info.offset)
                end = archive.offset
                name = _checked_name(file, info)
                if info.isreg():
                    yield Member(place, info.offset_data, info.size, name)
            _check_end(file, stream, archive)
    except FusionError:
        raise
    except OSError as error:
        raise IncompleteError(f"{quoted(file)} cannot be read: {error.strerror}. Check its permissions.") from None
    except Exception as error:  # hostile headers raise half a dozen types in tarfile, RecursionError among them
        raise FormatError(
            f"{quoted(file)} is no tar file that can be read ({printable(str(error))}). Make or fetch it again."
        ) from None


def _checked_name(file: Path, info: tarfile.TarInfo) -> bytes:
    kind = (
        "a link" if info.issym() or info.islnk()
        else "a sparse file" if info.issparse()
        else "" if info.isreg() or info.isdir()
        else "no file"
    )  # fmt: skip
    if kind:
        raise RefusedError(
            f"Member '{printable(info.name)}' of {quoted(file)} is {kind}. Make the archive of plain files: "
            "tar --dereference --hard-dereference -cf."
        )
    name = info.name.encode("utf-8", "surrogateescape")
    parts = [part for part in name.split(b"/") if part not in {b"", b"."}]
    if b".." in parts or name.startswith(b"/"):
        raise RefusedError(
            f"Member '{printable(info.name)}' of {quoted(file)} leads out of the archive. Do not trust the file."
        )
    return b"/".join(parts)


def _check_end(file: Path, stream: BinaryIO, archive: tarfile.TarFile) -> None:
    """Insist that the archive ends where reading ended: a damaged header ends it for Python without a word."""
    stream.seek(archive.offset)
    block = stream.read(tarfile.BLOCKSIZE)
    if block != bytes(tarfile.BLOCKSIZE):
        raise _damaged(file, archive.offset)


def _damaged(file: Path, offset: int) -> FormatError:
    return FormatError(f"{quoted(file)} is damaged or cut short at byte {offset:,}. Make or fetch it again.")


def _is_hidden(name: bytes) -> bool:
    return any(part.startswith(b".") or part == b"__MACOSX" for part in name.split(b"/"))


def _without_wrapper(images: Sequence[_File]) -> list[tuple[_File, bytes]]:
    """Return the ids of images in class folders: without the one folder around all class folders, if there is one."""
    names = [file.member.name for file in images]
    if len({name.partition(b"/")[0] for name in names}) == 1 and all(name.count(b"/") > 1 for name in names):
        names = [name.partition(b"/")[2] for name in names]
    return list(zip(images, names, strict=True))


def _folder_of(file: _File, path: bytes) -> str:
    folder, slash, _ = path.partition(b"/")
    if not slash:
        raise UnusableDataError(
            f"Image '{printable(path)}' in {quoted(file.member.file)} has no label: it is in no class folder, and "
            "there is no .cls or .json of its name."
        )
    return os.fsdecode(folder)


def _label_beside(file: _File, labels: dict[bytes, _File]) -> str:
    """Return the label that stands in the ``.cls`` or ``.json`` of the same key."""
    beside = labels.get(file.key)
    if beside is None:
        raise UnusableDataError(
            f"Image '{printable(file.member.name)}' in {quoted(file.member.file)} has no .cls or .json beside it, as "
            "others have. Add one, or remove it."
        )
    content = _read(Path(os.fsdecode(beside.member.file)), beside.member.offset, beside.member.length)
    label = _from_json(content) if beside.extension == b".json" else os.fsdecode(content).strip()
    if not label:
        wanted = 'a "label"' if beside.extension == b".json" else "a label in it"
        raise UnusableDataError(
            f"'{printable(beside.member.name)}' in {quoted(beside.member.file)} has not {wanted}. Make the shard again."
        )
    return label


def _from_json(content: bytes) -> str:
    """Return the label of a JSON document; empty if there is none."""
    try:
        document: Any = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    label = document.get("label") if isinstance(document, dict) else None
    return str(label).strip() if isinstance(label, str | int) and not isinstance(label, bool) else ""


def _read(file: Path, offset: int, length: int) -> bytes:
    try:
        with open(file, "rb") as stream:
            stream.seek(offset)
            return stream.read(min(length, _MAX_LABEL_BYTES))
    except OSError as error:
        raise IncompleteError(f"{quoted(file)} cannot be read: {error.strerror}. Check its permissions.") from None
