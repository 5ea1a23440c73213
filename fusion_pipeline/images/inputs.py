"""Turns a path of any kind of data set into a listing of its images."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path

from fusion_pipeline.errors import FormatError, IncompleteError
from fusion_pipeline.images import manifests, shards
from fusion_pipeline.images.archives import refuse_compressed
from fusion_pipeline.images.datasets import registry
from fusion_pipeline.images.index import list_image_folder
from fusion_pipeline.images.listing import ImageListing, default_name
from fusion_pipeline.images.walk import quoted


def list_images(
    place: str | os.PathLike[str],
    *,
    name: str | None = None,
    follow_symlinks: bool = False,
    keep_absent: bool = False,
) -> ImageListing:
    """List the images of a data set, of whatever kind it is.

    Parameters
    ----------
    place : str or path-like
        A folder of class folders; a ``.csv``, ``.tsv`` or ``.parquet`` manifest; a ``.tar`` file, or a folder of them;
        a folder with the official layout of one of the paper's data sets.
    name : str, optional
        Name of the data set; by default that of the folder, or of the file without its suffix.
    follow_symlinks : bool
        Take linked files and folders as if they stood there; by default any link is refused.
    keep_absent : bool
        Keep rows for images that a manifest or an official list names and that are not there; by default they are
        refused.

    Returns
    -------
    ImageListing

    Raises
    ------
    FusionError
        As `list_image_folder`, `list_manifest`, `list_shards` and `list_official` do; if the place is of no such kind;
        and if there is nothing, with the nearest name of a known data set.
    """
    root = Path(os.path.abspath(place))
    given = default_name(root) if name is None else name
    if not os.path.lexists(root):
        raise IncompleteError(f"There is nothing at {quoted(root)}. {_hint(root.name)}")
    if root.is_file():
        refuse_compressed(root)
        suffix = root.suffix.lower()
        if suffix == shards.SUFFIX:
            return shards.list_shards(root, [root], name=given)
        if suffix in manifests.SUFFIXES:
            return manifests.list_manifest(root, name=given, follow_symlinks=follow_symlinks, keep_absent=keep_absent)
        raise FormatError(
            f"{quoted(root)} is no data set. Give a folder of class folders, a manifest ending in .csv, .tsv or "
            ".parquet, or a .tar file."
        )
    if found := shards.shards_in(root, follow_symlinks=follow_symlinks):
        return shards.list_shards(root, found, name=given)
    if official := registry.find_layout(root):
        return registry.list_official(
            *official, root=root, name=given, follow_symlinks=follow_symlinks, keep_absent=keep_absent
        )
    return list_image_folder(root, name=given, follow_symlinks=follow_symlinks)


def _hint(name: str) -> str:
    near = get_close_matches(name.lower(), registry.DATASETS, n=1, cutoff=0.8)
    return f"Did you mean the data set '{near[0]}'?" if near else "Check the path given as the data set."
