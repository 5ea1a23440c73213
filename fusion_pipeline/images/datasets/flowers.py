"""Turns the archives of Oxford Flowers 17 and 102 into rows: ``jpg/`` and MATLAB files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from fusion_pipeline.errors import FormatError, printable
from fusion_pipeline.images.datasets.reading import lines_in, matrices, names_in
from fusion_pipeline.images.datasets.record import Archive, OfficialDataset
from fusion_pipeline.images.listing import ImageRow
from fusion_pipeline.images.walk import quoted

# The archive of 17 names no class: its page shows them in this order, 80 images each.
NAMES_17: Final = (
    "daffodil", "snowdrop", "lily_of_the_valley", "bluebell", "crocus", "iris", "tigerlily", "tulip", "fritillary",
    "sunflower", "daisy", "coltsfoot", "dandelion", "cowslip", "buttercup", "windflower", "pansy",
)  # fmt: skip

_PER_CLASS_17: Final = 80
_HOST: Final = "https://www.robots.ox.ac.uk/~vgg/data/flowers"


def rows_17(root: Path) -> Iterator[ImageRow]:
    """Yield a row for each of the 1,360 images; `datasplits.mat` has three splits, of which the first is taken."""
    split = _splits(matrices(root / "datasplits.mat"), {"trn1": "train", "val1": "validation", "tst1": "test"})
    expected = {f"image_{number:04}.jpg" for number in range(1, _PER_CLASS_17 * len(NAMES_17) + 1)}
    for name in sorted(expected | {*names_in(root / "jpg", r"image_[0-9]{4}\.jpg"), *_listed(root / "jpg")}):
        number = int(name[len("image_") : -len(".jpg")])
        label = (number - 1) // _PER_CLASS_17
        if not 0 <= label < len(NAMES_17):
            raise FormatError(f"{quoted(root / 'jpg' / name)} is not one of the 1,360 images. Remove it.")
        yield ImageRow(os.fsencode(f"jpg/{name}"), f"{label + 1:02}_{NAMES_17[label]}", split=split.get(number, ""))


def rows_102(root: Path) -> Iterator[ImageRow]:
    """Yield a row for each label in `imagelabels.mat`; `setid.mat` is the split. The archive names no class."""
    labels = matrices(root / "imagelabels.mat").get("labels")
    if not labels:
        raise FormatError(f"{quoted(root / 'imagelabels.mat')} has no 'labels'. Fetch it again.")
    split = _splits(matrices(root / "setid.mat"), {"trnid": "train", "valid": "validation", "tstid": "test"})
    for number, label in enumerate(labels, start=1):
        yield ImageRow(os.fsencode(f"jpg/image_{number:05}.jpg"), f"{label:03}", split=split.get(number, ""))


def _splits(found: Mapping[str, list[int]], names: Mapping[str, str]) -> dict[int, str]:
    return {number: split for matrix, split in names.items() for number in found.get(matrix, [])}


def _listed(folder: Path) -> set[str]:
    """Return the images that the optional `files.txt` names."""
    named = {line for line in lines_in(folder / "files.txt") if line.startswith("image_")}
    for name in sorted(named):
        if not re.fullmatch(r"image_\d{4,5}\.jpg", name, re.ASCII):
            raise FormatError(
                f"{quoted(folder / 'files.txt')} names '{printable(name[:60])}', which is no image of the data set. "
                "Fetch the official archive again."
            )
    return named


FLOWERS17 = OfficialDataset(
    name="flowers17",
    title="Oxford Flowers 17",
    images=1_360,
    classes=17,
    marks=("jpg/image_0001.jpg",),
    folders=("", "17flowers"),
    rows=rows_17,
    archives=(
        Archive(f"{_HOST}/17/17flowers.tgz", "md5:b59a65d8d1a99cd66944d474e1289eab"),
        Archive(f"{_HOST}/17/datasplits.mat", "md5:4828cddfd0d803c5abbdebcb1e148a1e"),
    ),
)

FLOWERS102 = OfficialDataset(
    name="flowers102",
    title="Oxford Flowers 102",
    images=8_189,
    classes=102,
    marks=("jpg", "imagelabels.mat"),
    folders=("", "flowers-102"),
    rows=rows_102,
    archives=(
        Archive(f"{_HOST}/102/102flowers.tgz", "md5:52808999861908f626f3c1f4e79d11fa"),
        Archive(f"{_HOST}/102/imagelabels.mat", "md5:e0620be6f572b9609742df49c70aed4d"),
        Archive(f"{_HOST}/102/setid.mat", "md5:a5357ecc9cb78c4bef273ce3793fc85c"),
    ),
)
