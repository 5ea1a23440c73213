"""Turns uncompressed tar files into a listing of the images in them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fusion_pipeline.errors import RefusedError, UnusableDataError, printable
from fusion_pipeline.images.archives import files_in, refuse_compressed
from fusion_pipeline.images.listing import ImageListing, ImageRow, list_rows
from fusion_pipeline.images.shard_labels import File, ShardLabels
from fusion_pipeline.images.walk import quoted

SUFFIX: Final = ".tar"


def shards_in(folder: Path, *, follow_symlinks: bool = False) -> list[Path]:
    """Return the tar files of a folder that holds nothing else but files; none for any other folder.

    Raises
    ------
    RefusedError
        For a symbolic link that is not to be followed, and for a FIFO, socket or device called as a shard.
    FormatError
        For a compressed tar file, alone or beside others.
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
    the ids. Where images come with ``key.cls`` or ``key.json`` in the same shard, as in WebDataset, these hold the
    labels: the text of the one, ``"label"`` of the other; where a sample has both, only ``key.cls`` counts. Every
    image needs one then. Class folders count all the same where fewer than half of the images have a label beside
    them: those are strays, which a listing of the folder would pass over too.

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
        If one is no tar file, is cut short or compressed, or is several tar files in one.
    RefusedError
        For links, sparse files, devices, and names that lead out of the archive.
    UnusableDataError
        For an image without a label or with two, two images of one sample, an id that occurs twice, no image, or a
        single class.
    """
    found = [File(member) for file in files for member in files_in(file)]
    images = [file for file in found if file.is_image and not _is_hidden(file.member.name)]
    beside = ShardLabels(found)
    labels, ids = [beside.of(image) for image in images], _ids_in_folders(images)
    used = {id(image) for image in images}
    if _are_labelled(labels, ids):
        beside.check(images, labels)
        ids = [image.member.name for image in images]
        used.update(map(id, beside.used(images)))
    else:
        labels = [_folder_of(image, path) for image, path in zip(images, ids, strict=True)]
    rows = map(ImageRow, ids, labels, (image.member for image in images))
    return list_rows(root, name, rows, [file.member.name for file in found if id(file) not in used])


def _are_labelled(labels: Sequence[str], ids: Sequence[bytes]) -> bool:
    """Tell whether labels beside the images count: if they are no strays among class folders."""
    labelled = sum(map(bool, labels))
    has_folders = all(b"/" in path for path in ids)
    return 2 * labelled >= len(labels) > 0 or (labelled > 0 and not has_folders)


def _is_hidden(name: bytes) -> bool:
    return any(part.startswith(b".") or part == b"__MACOSX" for part in name.split(b"/"))


def _ids_in_folders(images: Sequence[File]) -> list[bytes]:
    """Return the ids of images in class folders: without the one folder around all class folders, if there is one."""
    names = [image.member.name for image in images]
    if len({name.partition(b"/")[0] for name in names}) == 1 and all(name.count(b"/") > 1 for name in names):
        return [name.partition(b"/")[2] for name in names]
    return names


def _folder_of(image: File, path: bytes) -> str:
    folder, slash, _ = path.partition(b"/")
    if not slash:
        raise UnusableDataError(
            f"Image '{printable(path)}' in {quoted(image.member.file)} has no label: it is in no class folder, and "
            'there is no .cls, nor a .json with a "label", of its name.'
        )
    return os.fsdecode(folder)
