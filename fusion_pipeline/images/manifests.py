"""Turns a table of paths and labels, CSV, TSV or Parquet, into a listing of images."""

from __future__ import annotations

import csv
import math
import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusion_pipeline.errors import FormatError, IncompleteError, RefusedError, UnusableDataError, printable
from fusion_pipeline.images.links import Links
from fusion_pipeline.images.listing import COLUMNS, ImageListing, ImageRow, list_rows
from fusion_pipeline.images.walk import quoted

if TYPE_CHECKING:
    from pyarrow import Schema

SUFFIXES: Final = (".csv", ".tsv", ".parquet")

_NEEDED: Final = ("path", "label")
_KNOWN: Final = (*_NEEDED, *COLUMNS)


@dataclass(frozen=True, slots=True)
class _Line:
    """A row of a table: its columns, and what to call it in a message."""

    kind: str
    number: int
    columns: Mapping[str, str]

    def text(self, column: str) -> str:
        """Return a column without blanks around it; empty where there is none."""
        return self.columns.get(column, "").strip()


def list_manifest(file: Path, *, name: str, follow_symlinks: bool = False, keep_absent: bool = False) -> ImageListing:
    r"""List the images that a table names; no image is opened.

    The columns are ``path``, ``label`` and, if there are any, ``split`` and ``group``; others are passed over. A path
    is absolute or relative to the table's folder. The id of a sample is its path relative to that folder, wherever the
    image lies below it, so that a table of a folder of class folders lists the same data set as the folder itself.
    Blanks around labels, splits and groups are no part of them. In Parquet, a null and NaN are empty texts, and a
    whole number is written as one whatever its type: 1.0 is ``1``.

    Parameters
    ----------
    file : pathlib.Path
        The table, absolute; its suffix says what it is.
    name : str
        Name of the data set.
    follow_symlinks : bool
        Take linked images as if they stood there; by default any link is refused.
    keep_absent : bool
        Keep the rows of images that are not there, to tell which they are; by default they are refused.

    Returns
    -------
    ImageListing
        The rows sorted by path as bytes, whatever their order in the table.

    Raises
    ------
    FormatError
        If it is no such table, lacks a column, or has a column of lists or structs.
    UnusableDataError
        For an empty path or label, a path that occurs twice, and a single class.
    IncompleteError
        For a path that is not there, or pyarrow that is not.
    RefusedError
        For a symbolic link, also on the way from the table's folder to an image, and for what is no file.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for path in ("1.png", "2.png"):
    ...         _ = Path(folder, path).write_bytes(b"")
    ...     table = Path(folder, "pets.csv")
    ...     _ = table.write_text("path,label,split\n2.png,dog,test\n1.png,cat,train\n")
    ...     listing = list_manifest(table, name="pets")
    >>> listing.sample_ids, listing.labels, listing.class_names, listing.columns["split"]
    (('1.png', '2.png'), (0, 1), ('cat', 'dog'), ('train', 'test'))
    """
    lines = _parquet_lines(file) if file.suffix.lower() == ".parquet" else _text_lines(file)
    table = _Table(file, follow_symlinks, keep_absent)
    return list_rows(file, name, map(table.row, lines), folder=file.parent)


class _Table:
    """A table whose rows are looked up one by one, and what was seen of them so far."""

    def __init__(self, file: Path, follow_symlinks: bool, keep_absent: bool) -> None:
        self._file = file
        self._base = os.path.join(os.fsencode(file.parent), b"")
        self._links = None if follow_symlinks else Links(self._base)
        self._keep_absent = keep_absent
        self._seen: dict[bytes, int] = {}
        self._texts: dict[str, str] = {}  # each text once in memory

    def row(self, line: _Line) -> ImageRow:
        """Return the image of a row, which must be there unless rows of absent ones are kept."""
        given, label = line.columns["path"], line.text("label")
        if not (given and label):
            raise UnusableDataError(
                f"{self._named(line)} has no {'label' if given else 'path'}. Fill it in, or remove the {line.kind}."
            )
        place = os.path.normpath(os.path.join(self._base, os.fsencode(given)))
        is_below = place.startswith(self._base)
        path = place[len(self._base) :] if is_below else self._id_outside(given, place)
        first = self._seen.setdefault(path if is_below else place, line.number)
        if first != line.number:
            raise UnusableDataError(f"{self._naming(line)} again, after {line.kind} {first}. Remove one of them.")
        self._check_file(line, place)
        label, split, group = (self._texts.setdefault(text, text) for text in (label, *map(line.text, COLUMNS)))
        return ImageRow(path, label, split=split, group=group)

    def _id_outside(self, given: str, place: bytes) -> bytes:
        return place if os.path.isabs(given) else os.path.relpath(place, self._base)

    def _check_file(self, line: _Line, place: bytes) -> None:
        try:
            status = os.lstat(place)
            is_link = stat.S_ISLNK(status.st_mode)
            if self._links is not None and (is_link or self._links.lead_to(place)):
                what = "a symbolic link" if is_link else "which lies behind a symbolic link"
                raise RefusedError(
                    f"{self._naming(line)}, {what}. Give --follow-symlinks if what it points to can be trusted."
                )
            status = os.stat(place) if is_link else status
        except (OSError, ValueError) as error:  # ValueError: a path with a null byte
            if self._keep_absent and isinstance(error, FileNotFoundError | NotADirectoryError):
                return
            reason = error.strerror if isinstance(error, OSError) else "no such name can be"
            raise IncompleteError(
                f"{self._naming(line)}, which is not there ({reason}). Paths are relative to the manifest's folder: "
                "correct or remove it."
            ) from None
        if not stat.S_ISREG(status.st_mode):
            raise RefusedError(f"{self._naming(line)}, which is no file. Correct or remove it.")

    def _naming(self, line: _Line) -> str:
        return f"{self._named(line)} names '{printable(line.columns['path'])}'"

    def _named(self, line: _Line) -> str:
        return f"{line.kind.capitalize()} {line.number} of {quoted(self._file)}"


def _text_lines(file: Path) -> Iterator[_Line]:
    delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
    line = 1
    try:
        # A path need not be UTF-8: what is not comes through as os.fsdecode has it.
        with open(file, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
            reader = csv.reader(text, delimiter=delimiter, strict=True)
            header = next(reader, [])
            _check_columns(file, header)
            for fields in reader:
                line = reader.line_num
                if not fields:
                    continue  # an empty line
                if len(fields) != len(header):
                    raise FormatError(
                        f"Line {line} of {quoted(file)} has {len(fields)} fields, but the first line {len(header)}. "
                        "Quote a field that has the separator in it."
                    )
                yield _Line("line", line, dict(zip(header, fields, strict=True)))
    except csv.Error as error:
        raise FormatError(f"{quoted(file)} is not a table ({error}, after line {line}). Mend that line.") from None
    except OSError as error:
        raise IncompleteError(f"{quoted(file)} cannot be read: {error.strerror}. Check its permissions.") from None


def _parquet_lines(file: Path) -> Iterator[_Line]:
    try:
        from pyarrow import ArrowException  # noqa: PLC0415 - few need it, and it takes long to load
        from pyarrow.parquet import ParquetFile  # noqa: PLC0415
    except ImportError:
        raise IncompleteError("Parquet needs pyarrow: run pip install 'fusion-pipeline[parquet]'.") from None
    number = 0
    try:
        with ParquetFile(file) as table:
            names = list(table.schema_arrow.names)
            _check_columns(file, names)
            _check_types(file, table.schema_arrow)
            for batch in table.iter_batches(columns=[name for name in _KNOWN if name in names]):
                for fields in batch.to_pylist():
                    number += 1
                    yield _Line("row", number, {column: _text(value) for column, value in fields.items()})
    except (ArrowException, ValueError) as error:  # ValueError: text that is no UTF-8
        reason = printable(str(error).split("\n", maxsplit=1)[0][:100])
        raise FormatError(f"{quoted(file)} is not a Parquet file that can be read ({reason}). Write it anew.") from None
    except OSError as error:
        reason = printable(error.strerror or str(error)[:100])
        raise IncompleteError(f"{quoted(file)} cannot be read: {reason}. Check it and its permissions.") from None


def _text(value: Any) -> str:
    """Return a value of a Parquet column as text: labels may be numbers, paths may be bytes."""
    if isinstance(value, bytes):
        return os.fsdecode(value)
    is_fraction = isinstance(value, float | np.floating | Decimal)
    if value is None or (is_fraction and math.isnan(value)):  # NaN is how pandas writes that there is none
        return ""
    is_whole = is_fraction and math.isfinite(value) and value == int(value)
    return str(int(value) if is_whole else value)


def _check_types(file: Path, schema: Schema) -> None:
    from pyarrow.types import is_dictionary, is_nested  # noqa: PLC0415 - few need it, and it takes long to load

    for field in schema:
        kind = field.type.value_type if is_dictionary(field.type) else field.type
        if field.name in _KNOWN and is_nested(kind):
            raise FormatError(
                f"Column '{field.name}' of {quoted(file)} is of type {printable(str(kind)[:60])}. Write it as text or "
                "numbers."
            )


def _check_columns(file: Path, names: Sequence[str]) -> None:
    listed = ", ".join(f"'{printable(name)}'" for name in names[:8]) or "none"
    for name in _NEEDED:
        if name not in names:
            raise FormatError(
                f"Manifest {quoted(file)} has no column '{name}'; its columns are {listed}. "
                "Needed are path and label; split and group may be there."
            )
    for name, number in Counter(names).items():
        if number > 1 and name in _KNOWN:
            raise FormatError(f"Manifest {quoted(file)} has {number} columns '{name}'. Remove all but one.")
