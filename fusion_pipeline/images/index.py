"""Turns a folder of class folders into a listing of its images."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fusion_pipeline.errors import FormatError, IncompleteError, UnusableDataError, UsageError, printable
from fusion_pipeline.images.listing import ImageListing, dataset_name
from fusion_pipeline.images.walk import LAYOUT, Walk, quoted


def list_image_folder(
    root: str | os.PathLike[str], *, name: str | None = None, follow_symlinks: bool = False
) -> ImageListing:
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
    ImageListing
        The rows, sorted as bytes.

    Raises
    ------
    IncompleteError
        If there is nothing at `root`.
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
    return ImageListing(
        root=root,
        name=dataset_name(root.name if name is None else name),
        paths=paths,
        labels=tuple(label_of[_class_of(path)] for path in paths),
        class_names=tuple(os.fsdecode(class_name) for class_name in label_of),
        ignored=tuple(sorted(walk.ignored)),
    )


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
        raise IncompleteError(f"There is nothing at {quoted(root)}. Check the path given as the data set.")
    if not root.is_dir():
        raise FormatError(f"{quoted(root)} is not a folder. {LAYOUT}: give the folder that holds the class folders.")


def _check_classes(root: Path, paths: Sequence[bytes], classes: Sequence[bytes]) -> None:
    if not paths:
        raise UnusableDataError(f"Folder {quoted(root)} holds no images. {LAYOUT}, as in 'roses/1.jpg'.")
    samples = Counter(map(_class_of, paths))
    for class_name in classes:
        if not samples[class_name]:
            raise UnusableDataError(
                f"Class '{printable(class_name)}' in {quoted(root)} has no images; at least 1 is needed. Add some, "
                "or remove its folder."
            )
    if len(classes) == 1:
        raise UnusableDataError(
            f"Folder {quoted(root)} has a single class, '{printable(classes[0])}'. At least 2 are needed:"
            " give the folder above, or add a class."
        )


def _class_of(path: bytes) -> bytes:
    return path.partition(b"/")[0]
