"""Turns the archives of Oxford-IIIT Pets into rows: ``images/`` and ``annotations/``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from fusion_pipeline.images.datasets.reading import lines_in, names_in
from fusion_pipeline.images.datasets.record import Archive, OfficialDataset
from fusion_pipeline.images.listing import ImageRow

_HOST = "https://www.robots.ox.ac.uk/~vgg/data/pets/data"


def rows(root: Path) -> Iterator[ImageRow]:
    """Yield a row for each ``<breed>_N.jpg``; 41 of them are in neither part of the official split."""
    split = {}
    for part in ("trainval", "test"):
        for line in lines_in(root / "annotations" / f"{part}.txt"):
            if not line.startswith("#"):
                split[f"{line.split()[0]}.jpg"] = part
    for name in sorted({*names_in(root / "images", r".+_\d+\.jpg"), *split}):
        yield ImageRow(os.fsencode(f"images/{name}"), name.rpartition("_")[0], split=split.get(name, ""))


PETS = OfficialDataset(
    name="pets",
    title="Oxford-IIIT Pets",
    images=7_390,
    classes=37,
    marks=("images", "annotations/trainval.txt"),
    folders=("", "oxford-iiit-pet"),
    rows=rows,
    archives=(
        Archive(f"{_HOST}/images.tar.gz", "md5:5c4f3ee8e5d25df40f4fd59a7f44e54c"),
        Archive(f"{_HOST}/annotations.tar.gz", "md5:95a8c909bbe2e81eed6a22bccdf3f68f"),
    ),
)
