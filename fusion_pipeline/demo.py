"""Scikit-learn's digits into a folder of images with a configuration that goes the whole way on them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fusion_pipeline.errors import UsageError, printable

HELD_OUT = 3
"""Scans that nothing is trained on: the demo predicts them."""

BACKBONES: Mapping[str, Mapping[str, float | int | str]] = {
    # The scans are 8 by 8 pixels: half the usual input size loses nothing and takes a quarter of the time, and a
    # centre crop would cut strokes off.
    "efficientnet_lite0": {"input_size": 128, "crop_pct": 1.0},
    "efficientnet_lite1": {"input_size": 128, "crop_pct": 1.0},
}
"""The demo's backbones, whose weights installed packages ship, with what the demo overrides."""

_MARK = "Made by `fusion demo`.\n"
_CONFIGURATION = """\
# Written by `fusion demo`; `fusion extract --backbone all` and `fusion train --gate embedding` use it here.
data = "digits"
cache = "cache"
backbones = [{names}]
"""


@dataclass(frozen=True)
class Digits:
    """What `write_digits` wrote.

    Parameters
    ----------
    folder : Path
        One folder of PNG files per digit.
    images : int
        How many.
    held_out : tuple of Path
        Scans left out of it, whose file names begin with the true digit.
    """

    folder: Path
    images: int
    held_out: tuple[Path, ...]


def write_digits(home: Path) -> Digits:
    """Write scikit-learn's handwritten digits as PNG files, one folder per digit, and hold some scans out.

    Parameters
    ----------
    home : Path
        Folder to write ``digits`` and ``new`` into.

    Returns
    -------
    Digits

    Raises
    ------
    UsageError
        If `home` holds something that is not the demo's.
    """
    from sklearn.datasets import load_digits  # noqa: PLC0415 - takes a second

    _claim(home)
    scans = load_digits()
    pixels = np.round(np.asarray(scans.images) * (255 / 16)).astype(np.uint8)
    held_out: list[Path] = []
    for row, (image, digit) in enumerate(zip(pixels, scans.target, strict=True)):
        is_new = row >= len(pixels) - HELD_OUT
        name = f"new/{digit}-{row:04}.png" if is_new else f"digits/{digit}/{row:04}.png"
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        held_out += [path] * is_new
    return Digits(home / "digits", len(pixels) - HELD_OUT, tuple(held_out))


def write_configuration(home: Path) -> Path:
    """Write the demo's fusion.toml, so that the two commands of daily use work in its folder; return its path."""
    lines = [_CONFIGURATION.format(names=", ".join(f'"{name}"' for name in BACKBONES))]
    for name, table in BACKBONES.items():
        lines.append(f"[backbone.{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items()))
    path = home / "fusion.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _claim(home: Path) -> None:
    """Mark a new or empty folder as the demo's; refuse one that holds somebody's files."""
    mark = home / ".fusion-demo"
    if home.exists() and not mark.exists() and (not home.is_dir() or any(home.iterdir())):
        raise UsageError(f"'{printable(str(home))}' is not empty. Choose a new folder with --folder.")
    home.mkdir(parents=True, exist_ok=True)
    mark.write_text(_MARK, encoding="utf-8")
