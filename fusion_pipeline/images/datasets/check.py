"""Turns a copy of an official data set into what is missing from it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusion_pipeline.errors import FusionError, printable
from fusion_pipeline.images.datasets.record import OfficialDataset
from fusion_pipeline.images.datasets.registry import absent_images
from fusion_pipeline.images.index import list_image_folder


@dataclass(frozen=True)
class Check:
    """What a copy of a data set has of the counts of the paper's Table 1.

    Parameters
    ----------
    record : OfficialDataset
        The data set.
    place : pathlib.Path or None
        The copy; None where there is none.
    images, classes : int
        What it has.
    absent : tuple of bytes
        Images that its own lists name and that are not there.
    reason : str
        Why it cannot be listed, where that is so.
    """

    record: OfficialDataset
    place: Path | None
    images: int = 0
    classes: int = 0
    absent: tuple[bytes, ...] = ()
    reason: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing."""
        return not (self.absent or self.reason) and self.record.is_complete(self.images, self.classes)

    @property
    def text(self) -> str:
        """The state of the copy in a few words."""
        if self.place is None:
            return "no copy here"
        if self.reason:
            return f"not usable: {self.reason}"
        return "complete" if self.is_complete else f"incomplete: {self.images:,} images, {self.classes:,} classes"

    def to_json(self) -> dict[str, Any]:
        """Return the check as a JSON object."""
        record = self.record
        return {
            "name": record.name,
            "title": record.title,
            "images": record.images,
            "classes": record.classes,
            "note": record.note,
            "path": None if self.place is None else printable(str(self.place)),
            "found": None if self.place is None else {"images": self.images, "classes": self.classes},
            "complete": self.is_complete,
            "absent": [printable(path) for path in self.absent],
            "reason": self.reason,
            "archives": [{"url": archive.url, "hash": archive.known_hash} for archive in record.archives],
        }


def check_copy(record: OfficialDataset, place: Path | None) -> Check:
    """Count what a copy has, in the official layout or in class folders; images are not opened.

    Parameters
    ----------
    record : OfficialDataset
        What it should be.
    place : pathlib.Path or None
        The copy, if there is one.

    Returns
    -------
    Check

    Examples
    --------
    >>> from fusion_pipeline.images.datasets.registry import DATASETS
    >>> check_copy(DATASETS["pets"], None).text
    'no copy here'
    """
    if place is None or not os.path.lexists(place):
        return Check(record, None)
    try:
        layout = record.layout_in(place)
        if layout is None:
            listing = list_image_folder(place, follow_symlinks=True)
            return Check(record, place, len(listing), len(listing.class_names))
        rows = list(record.rows(layout))
        absent = absent_images(layout, rows)
    except FusionError as error:
        return Check(record, place, reason=str(error))
    missing = set(absent)
    there = [row for row in rows if row.path not in missing]
    return Check(record, place, len(there), len({row.label for row in there}), tuple(absent))
