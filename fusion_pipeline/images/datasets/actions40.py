"""Turns the archives of Stanford 40 Actions into rows: ``JPEGImages/`` and ``ImageSplits/``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from fusion_pipeline.images.datasets.reading import lines_in, names_in
from fusion_pipeline.images.datasets.record import Archive, OfficialDataset
from fusion_pipeline.images.listing import ImageRow


def rows(root: Path) -> Iterator[ImageRow]:
    """Yield a row for each ``<action>_NNN.jpg``; `train.txt` and `test.txt`, or those of each action, are the split."""
    split = {}
    for part in ("train", "test"):
        for file in names_in(root / "ImageSplits", rf"(.+_)?{part}\.txt"):
            split.update(dict.fromkeys(lines_in(root / "ImageSplits" / file), part))
    for name in sorted({*names_in(root / "JPEGImages", r".+_\d+\.jpg"), *split}):
        yield ImageRow(os.fsencode(f"JPEGImages/{name}"), name.rpartition("_")[0], split=split.get(name, ""))


ACTIONS40 = OfficialDataset(
    name="actions40",
    title="Stanford 40 Actions",
    images=9_532,
    classes=40,
    marks=("JPEGImages", "ImageSplits"),
    folders=("", "Stanford40"),
    rows=rows,
    archives=(
        Archive("http://vision.stanford.edu/Datasets/Stanford40_JPEGImages.zip"),
        Archive("http://vision.stanford.edu/Datasets/Stanford40_ImageSplits.zip"),
    ),
)
