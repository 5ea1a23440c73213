"""Turns the archive of Caltech-UCSD Birds-200-2011 into rows: ``images/`` and four lists."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from fusion_pipeline.errors import FormatError
from fusion_pipeline.images.datasets.reading import numbered
from fusion_pipeline.images.datasets.record import Archive, OfficialDataset
from fusion_pipeline.images.listing import ImageRow
from fusion_pipeline.images.walk import quoted

_SPLITS = {"1": "train", "0": "test"}


def rows(root: Path) -> Iterator[ImageRow]:
    """Yield a row for each line of `images.txt`, with its class and its part of the official split."""
    classes = dict(numbered(root / "classes.txt"))
    labels = dict(numbered(root / "image_class_labels.txt"))
    parts = dict(numbered(root / "train_test_split.txt"))
    for number, name in numbered(root / "images.txt"):
        try:
            label, split = classes[int(labels[number])], _SPLITS[parts[number]]
        except (KeyError, ValueError):
            raise FormatError(
                f"The lists in {quoted(root)} do not agree on image {number}. Unpack the official archive again."
            ) from None
        yield ImageRow(os.fsencode(f"images/{name}"), label, split=split)


CUB200 = OfficialDataset(
    name="cub200",
    title="Caltech-UCSD Birds-200-2011",
    images=11_788,
    classes=200,
    marks=("images.txt", "image_class_labels.txt"),
    folders=("", "CUB_200_2011"),
    rows=rows,
    archives=(
        Archive(
            "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
            "md5:97eceeb196236b17998738112f37df78",
        ),
    ),
)
