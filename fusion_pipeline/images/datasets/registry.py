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
from fusion_pipeline.images.links import Links
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


def refuse_missing(name: str, home: Path, command: str) -> None:
    """Say what to do about a data set of which there is no copy.

    Parameters
    ----------
    name : str
        The data set.
    home : pathlib.Path
        Where a copy was looked for.
    command : str
        What fetches one.

    Raises
    ------
    IncompleteError
        Always.
    """
    hosts = {archive.url.split("/")[2] for archive in DATASETS[name].archives}
    raise IncompleteError(
        f"There is no folder '{name}' here, nor in {quoted(home)}. '{command}' fetches it from "
        f"{' and '.join(sorted(hosts))}; or unpack its official archive into {quoted(home / name)}."
    )


def list_official(
    record: OfficialDataset,
    layout: Path,
    *,
    root: Path,
    name: str,
    follow_symlinks: bool = False,
    keep_absent: bool = False,
) -> ImageListing:
    """List the images of an official layout; official splits become the listing's split.

    Parameters
    ----------
    record : OfficialDataset
        What it is.
    layout : pathlib.Path
        Where it is.
    root : pathlib.Path
        The folder that was given, in which the layout was found; links above it are the user's own.
    name : str
        Name of the data set.
    follow_symlinks : bool
        Take linked images as if they stood there; by default any link is refused.
    keep_absent : bool
        Keep the rows of images that are not there; by default they are refused.

    Returns
    -------
    ImageListing

    Raises
    ------
    IncompleteError
        If images are not there that the layout's own lists name.
    RefusedError
        For a symbolic link, also on the way from `root` to an image, for what is no file, and for a name in a list
        that leads out of the layout.
    UnusableDataError
        For a single class.
    """
    rows = list(record.rows(layout))
    absent = absent_images(layout, rows, links=None if follow_symlinks else Links(os.fsencode(root)))
    if absent and not keep_absent:
        raise IncompleteError(
            f"{quoted(layout)} lacks {len(absent):,} images of {record.title}, '{printable(absent[0])}' for one. "
            f"'fusion datasets {record.name} --data DIR' names them; fetch the official archive again."
        )
    return list_rows(layout, name, rows)


def absent_images(layout: Path, rows: Sequence[ImageRow], *, links: Links | None = None) -> list[bytes]:
    """Return the paths of the images that are not there.

    Parameters
    ----------
    layout : pathlib.Path
        Where the official layout is.
    rows : sequence of ImageRow
        What its lists name.
    links : Links, optional
        Refuses images that are links or lie behind one; without it links are followed.

    Raises
    ------
    RefusedError
        For a link that is not to be followed, for what is no file, and for a name that leads out of the layout.
    """
    base = os.fsencode(layout)
    return [row.path for row in rows if not _is_there(_contained(base, row.path), links)]


def _contained(base: bytes, path: bytes) -> bytes:
    """Return where an image lies that a list names; a list must not lead elsewhere."""
    if os.path.isabs(path) or os.path.normpath(path) != path or path.startswith(b"../") or b"\0" in path:
        raise RefusedError(
            f"A list in {quoted(base)} names '{printable(path)}', which is no plain path below it. Do not trust it; "
            "fetch the official archive again."
        )
    return os.path.join(base, path)


def _is_there(place: bytes, links: Links | None) -> bool:
    if links is not None and (os.path.islink(place) or links.lead_to(place)):
        what = "is a symbolic link" if os.path.islink(place) else "lies behind a symbolic link"
        raise RefusedError(f"{quoted(place)} {what}. Give --follow-symlinks if what it points to can be trusted.")
    try:
        status = os.stat(place)
    except OSError:
        return False
    if not stat.S_ISREG(status.st_mode):
        raise RefusedError(f"{quoted(place)} is no file. Remove it, and fetch the official archive again.")
    return True
