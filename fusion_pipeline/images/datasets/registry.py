"""A folder into the official data set that it holds, and that into a listing."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fusion_pipeline.errors import IncompleteError, RefusedError, printable
from fusion_pipeline.images.datasets.actions40 import ACTIONS40
from fusion_pipeline.images.datasets.caltech import CALTECH101, CALTECH256
from fusion_pipeline.images.datasets.cub200 import CUB200
from fusion_pipeline.images.datasets.flowers import FLOWERS17, FLOWERS102
from fusion_pipeline.images.datasets.pets import PETS
from fusion_pipeline.images.datasets.record import OfficialDataset
from fusion_pipeline.images.listing import ImageListing, ImageRow, list_rows
from fusion_pipeline.images.walk import quoted

DATASETS: Final = {
    record.name: record for record in (ACTIONS40, CUB200, CALTECH101, CALTECH256, FLOWERS102, FLOWERS17, PETS)
}
"""The data sets of the paper's Table 1, in its order."""


def find_layout(folder: Path) -> tuple[OfficialDataset, Path] | None:
    """Return the data set whose official layout a folder has, and where in it; None for any other folder."""
    for record in DATASETS.values():
        layout = record.layout_in(folder)
        if layout is not None:
            return record, layout
    return None


def find_copy(name: str, home: Path) -> Path | None:
    """Return the copy of a data set: a folder of its name in the working folder, else in `home`; None for neither."""
    places = (Path(name), home / name)
    return next((place.absolute() for place in places if place.is_dir()), None)


def refuse_missing(name: str, home: Path) -> None:
    """Say what to do about a data set of which there is no copy.

    Raises
    ------
    IncompleteError
        Always.
    """
    hosts = {archive.url.split("/")[2] for archive in DATASETS[name].archives}
    raise IncompleteError(
        f"There is no folder '{name}' here, nor in {quoted(home)}. Give --download to fetch it from "
        f"{' and '.join(sorted(hosts))}, or unpack its official archive into {quoted(home / name)}."
    )


def list_official(record: OfficialDataset, layout: Path, *, name: str, follow_symlinks: bool = False) -> ImageListing:
    """List the images of an official layout; official splits become the listing's split.

    Parameters
    ----------
    record : OfficialDataset
        What it is.
    layout : pathlib.Path
        Where it is.
    name : str
        Name of the data set.
    follow_symlinks : bool
        Take linked images as if they stood there; by default any link is refused.

    Returns
    -------
    ImageListing

    Raises
    ------
    IncompleteError
        If images are not there that the layout's own lists name.
    RefusedError
        For a symbolic link, and for what is no file.
    UnusableDataError
        For a single class.
    """
    rows = list(record.rows(layout))
    absent = absent_images(layout, rows, follow_symlinks=follow_symlinks)
    if absent:
        raise IncompleteError(
            f"{quoted(layout)} lacks {len(absent):,} images of {record.title}, '{printable(absent[0])}' for one. "
            f"'fusion datasets {record.name} --data DIR' names them; fetch the official archive again."
        )
    return list_rows(layout, name, rows)


def absent_images(layout: Path, rows: Sequence[ImageRow], *, follow_symlinks: bool = False) -> list[bytes]:
    """Return the paths of the images that are not there.

    Raises
    ------
    RefusedError
        For a symbolic link that is not to be followed, and for what is no file.
    """
    base, absent = os.fsencode(layout), []
    for row in rows:
        place = os.path.join(base, row.path)
        try:
            status = os.lstat(place)
            if stat.S_ISLNK(status.st_mode) and follow_symlinks:
                status = os.stat(place)
        except OSError:
            absent.append(row.path)
            continue
        if not stat.S_ISREG(status.st_mode):
            linked = stat.S_ISLNK(status.st_mode)
            raise RefusedError(
                f"{quoted(place)} is a symbolic link. Give --follow-symlinks if what it points to can be trusted."
                if linked
                else f"{quoted(place)} is no file. Remove it, and fetch the official archive again."
            )
    return absent
