"""Turns the files of an archive into lines, numbers and the names of images."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fusion_pipeline.errors import FormatError, IncompleteError, printable
from fusion_pipeline.images.walk import quoted


def names_in(folder: Path, pattern: str) -> list[str]:
    """Return the names in a folder that match a pattern completely, sorted; none where there is no such folder."""
    try:
        return sorted(name for name in os.listdir(folder) if re.fullmatch(pattern, name))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise IncompleteError(f"{quoted(folder)} cannot be read: {error.strerror}. Check its permissions.") from None


def lines_in(file: Path) -> list[str]:
    """Return the lines of a text file that are not empty; none where there is no such file."""
    try:
        text = file.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise IncompleteError(f"{quoted(file)} cannot be read: {error.strerror}. Check its permissions.") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def numbered(file: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line ``7 text`` of a file that must be there.

    Raises
    ------
    FormatError
        If a line is not of this form.
    IncompleteError
        If the file is missing, or empty.
    """
    lines = lines_in(file)
    if not lines:
        raise IncompleteError(f"{quoted(file)} is missing or empty. Unpack the official archive again.")
    for line in lines:
        number, _, text = line.partition(" ")
        if not (number.isdecimal() and number.isascii() and text.strip()):
            raise FormatError(
                f"{quoted(file)} has the line '{printable(line[:60])}', but 'NUMBER TEXT' is expected. "
                "Unpack the official archive again."
            )
        yield int(number), text.strip()


def matrices(file: Path) -> dict[str, list[int]]:
    """Return the whole numbers of each matrix of a MATLAB file, flattened; nothing where there is no such file.

    Raises
    ------
    FormatError
        If it is no MATLAB file.
    """
    if not file.exists():
        return {}
    from scipy.io import loadmat  # noqa: PLC0415 - few need it, and it takes long to load

    try:
        found = loadmat(file)
        arrays = {name: np.asarray(value) for name, value in found.items() if not name.startswith("__")}
        return {name: array.ravel().astype(int).tolist() for name, array in arrays.items() if array.dtype.kind in "uif"}
    except Exception as error:  # damaged bytes raise half a dozen types in SciPy's reader
        raise FormatError(
            f"{quoted(file)} is no MATLAB file that can be read ({type(error).__name__}). Fetch it again."
        ) from None
