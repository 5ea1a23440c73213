"""Turns an uncompressed tar file into the files in it: where each begins and how long it is."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from fusion_pipeline.errors import FormatError, FusionError, IncompleteError, RefusedError, printable
from fusion_pipeline.images.decode import Member
from fusion_pipeline.images.walk import quoted

_COMPRESSED: Final = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ\0": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
}
_ZEROS: Final = bytes(1 << 20)


def refuse_compressed(file: Path) -> None:
    """Refuse a file that is compressed as a whole: nothing in it can be found without unpacking all before it.

    Raises
    ------
    FormatError
        With the command that unpacks it.
    """
    head = read_part(Member(os.fsencode(file), 0, 8, b""))
    for magic, (name, command) in _COMPRESSED.items():
        if head.startswith(magic):
            raise FormatError(
                f"{quoted(file)} is compressed ({name}), so that no image in it can be read alone. Unpack it first: "
                f"{command} < it > a file that ends in .tar; or extract its files into a folder."
            )


def read_part(part: Member) -> bytes:
    """Return the bytes of a part of a file.

    Raises
    ------
    IncompleteError
        If the file cannot be read.
    """
    try:
        with open(part.file, "rb") as stream:
            stream.seek(part.offset)
            return stream.read(part.length)
    except OSError as error:
        raise IncompleteError(f"{quoted(part.file)} cannot be read: {error.strerror}. Check its permissions.") from None


def files_in(archive: Path) -> Iterator[Member]:
    """Yield the regular files of a tar file in its order; refuse what no extraction would trust.

    Parameters
    ----------
    archive : pathlib.Path
        The tar file, absolute. Only its headers are read.

    Yields
    ------
    Member
        With a name without empty parts and ``.``.

    Raises
    ------
    FormatError
        If it is no tar file, is cut short, damaged or compressed, or is several tar files in one.
    RefusedError
        For links, sparse files, devices, and names that lead out of the archive.
    IncompleteError
        If it cannot be read.
    """
    refuse_compressed(archive)
    try:
        with open(archive, "rb") as stream, tarfile.open(fileobj=stream, mode="r:", encoding="utf-8") as opened:
            yield from _files(archive, stream, opened)
    except FusionError:
        raise
    except OSError as error:
        raise IncompleteError(f"{quoted(archive)} cannot be read: {error.strerror}. Check its permissions.") from None
    except Exception as error:  # hostile headers raise half a dozen types in tarfile, RecursionError among them
        raise FormatError(
            f"{quoted(archive)} is no tar file that can be read ({printable(str(error))}). Make or fetch it again."
        ) from None


def _files(archive: Path, stream: BinaryIO, opened: tarfile.TarFile) -> Iterator[Member]:
    place, size, end = os.fsencode(archive), os.fstat(stream.fileno()).st_size, 0
    while (info := opened.next()) is not None:
        opened.members.clear()  # type: ignore[attr-defined]  # each would stay in memory, a kilobyte of it
        if info.size < 0 or not end < opened.offset <= size:  # else some would be read for ever
            raise _damaged(archive, info.offset)
        end = opened.offset
        name = _checked_name(archive, info)
        if info.isreg():
            yield Member(place, info.offset_data, info.size, name)
    _check_end(archive, stream, opened.offset)


def _checked_name(archive: Path, info: tarfile.TarInfo) -> bytes:
    kind = (
        "a link" if info.issym() or info.islnk()
        else "a sparse file" if info.issparse()
        else "" if info.isreg() or info.isdir()
        else "no file"
    )  # fmt: skip
    if kind:
        raise RefusedError(
            f"Member '{printable(info.name)}' of {quoted(archive)} is {kind}. Make the archive of plain files: "
            "tar --dereference --hard-dereference -cf."
        )
    name = info.name.encode("utf-8", "surrogateescape")
    parts = [part for part in name.split(b"/") if part not in {b"", b"."}]
    if b".." in parts or name.startswith(b"/"):
        raise RefusedError(
            f"Member '{printable(info.name)}' of {quoted(archive)} leads out of the archive. Do not trust the file."
        )
    return b"/".join(parts)


def _check_end(archive: Path, stream: BinaryIO, offset: int) -> None:
    """Insist that the archive ends where reading ended, and that nothing comes behind.

    A damaged header ends it for Python without a word, and so does the end of the first of two archives in one file.
    """
    stream.seek(offset)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise _damaged(archive, offset)
    behind = offset + tarfile.BLOCKSIZE
    while piece := stream.read(len(_ZEROS)):
        if not _ZEROS.startswith(piece):
            behind += len(piece) - len(piece.lstrip(b"\0"))
            raise FormatError(
                f"{quoted(archive)} goes on behind its end, at byte {behind:,}: these are two archives in one file. "
                "Give them as two .tar files in one folder, or join them by tar --concatenate."
            )
        behind += len(piece)


def _damaged(archive: Path, offset: int) -> FormatError:
    return FormatError(f"{quoted(archive)} is damaged or cut short at byte {offset:,}. Make or fetch it again.")
