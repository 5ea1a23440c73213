"""Turns the archives of Caltech 101 and Caltech 256 into rows: one folder for each class."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fusion_pipeline.images.datasets.reading import names_in
from fusion_pipeline.images.datasets.record import Archive, OfficialDataset
from fusion_pipeline.images.listing import ImageRow


def rows(pattern: str, root: Path) -> Iterator[ImageRow]:
    """Yield a row for each image with an official name right in a class folder; the archives hold other things too."""
    for label in names_in(root, r"[^.].*"):
        if (root / label).is_dir():
            for name in names_in(root / label, pattern):
                yield ImageRow(os.fsencode(f"{label}/{name}"), label)


CALTECH101 = OfficialDataset(
    name="caltech101",
    title="Caltech 101",
    images=9_146,
    classes=101,
    marks=("accordion", "yin_yang"),
    folders=("101_ObjectCategories", "caltech-101/101_ObjectCategories"),
    rows=partial(rows, r"image_\d{4}\.jpg"),
    archives=(
        Archive(
            "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
            "md5:3138e1922a9193bfa496528edbbc45d0",
            inner=("caltech-101/101_ObjectCategories.tar.gz",),
        ),
    ),
    holds=(9_144, 102),
    note="the paper counts the images of BACKGROUND_Google, not the class; the archive that is published today has "
    "9,144 images in 102 folders",
)

CALTECH256 = OfficialDataset(
    name="caltech256",
    title="Caltech 256",
    images=30_607,
    classes=256,
    marks=("001.ak47", "257.clutter"),
    folders=("256_ObjectCategories",),
    rows=partial(rows, r"\d{3}_\d{4}\.jpg"),
    archives=(
        Archive(
            "https://data.caltech.edu/records/nyy15-4j048/files/256_ObjectCategories.tar",
            "md5:67b4f42ca05d46448c6bb8ecd2220f6d",
        ),
    ),
    holds=(30_607, 257),
    note="the paper counts the 827 images of 257.clutter, not the class: 30,607 images are those of all 257 folders",
)
