"""Turns a table of paths and labels, CSV, TSV or Parquet, into a listing of images."""

from __future__ import annotations

import csv
import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fusion_pipeline.errors import FormatError, IncompleteError, RefusedError, UnusableDataError, printable
from fusion_pipeline.images.listing import COLUMNS, ImageListing, ImageRow, list_rows
from fusion_pipeline.images.walk import quoted

SUFFIXES: Final = (".csv", ".tsv", ".parquet")

_NEEDED: Final = ("path", "label")
_KNOWN: Final = (*_NEEDED, *COLUMNS)

_Line = tuple[str, Mapping[str, str]]
"""What to call a row in a message, and its columns."""


def list_manifest(file: Path, *, name: str, follow_symlinks: bool = False) -> ImageListing:
    r"""List the images that a table names; no image is opened.

    The columns are ``path``, ``label`` and, if there are any, ``split`` and ``group``; others are passed over. A path
    is absolute or relative to the table's folder. The id of a sample is its path relative to that folder, wherever the
    image lies below it, so that a table of a folder of class folders lists the same data set as the folder itself.

    Parameters
    ----------
    file : pathlib.Path
        The table, absolute; its suffix says what it is.
    name : str
        Name of the data set.
    follow_symlinks : bool
        Take linked images as if they stood there; by default any link is refused.

    Returns
    -------
    ImageListing
        The rows sorted by path as bytes, whatever their order in the table.

    Raises
    ------
    FormatError
        If it is no such table, or lacks a column.
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
    table = _Table(file, follow_symlinks)
    return list_rows(file, name, [table.row(where, columns) for where, columns in lines])


class _Table:
    """A table whose rows are looked up one by one, and what was seen of them so far."""

    def __init__(self, file: Path, follow_symlinks: bool) -> None:
        self._file = file
        self._base = os.path.join(os.fsencode(file.parent), b"")
        self._follow_symlinks = follow_symlinks
        self._seen: dict[bytes, str] = {}
        self._is_linked: dict[bytes, bool] = {}

    def row(self, where: str, columns: Mapping[str, str]) -> ImageRow:
        """Return the image of a row, which must be there."""
        for column in _NEEDED:
            if not columns[column]:
                raise UnusableDataError(
                    f"{_upper(where)} of {quoted(self._file)} has no {column}. Fill it in, or remove the "
                    f"{_kind(where)}."
                )
        place = os.path.normpath(os.path.join(self._base, os.fsencode(columns["path"])))
        named = f"{_upper(where)} of {quoted(self._file)} names '{printable(columns['path'])}'"
        if place in self._seen:
            raise UnusableDataError(f"{named} again, after {self._seen[place]}. Remove one of them.")
        self._seen[place] = where
        self._check_file(named, place)
        is_relative = not os.path.isabs(columns["path"])
        path = os.path.relpath(place, self._base) if is_relative else place.removeprefix(self._base)
        return ImageRow(path, columns["label"], place, columns.get("split", ""), columns.get("group", ""))

    def _check_file(self, named: str, place: bytes) -> None:
        try:
            status = os.lstat(place)
            if not self._follow_symlinks and (stat.S_ISLNK(status.st_mode) or self._is_in_linked(place)):
                what = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "which lies behind a symbolic link"
                raise RefusedError(f"{named}, {what}. Give --follow-symlinks if what it points to can be trusted.")
            status = os.stat(place)
        except (OSError, ValueError) as error:  # ValueError: a path with a null byte
            reason = error.strerror if isinstance(error, OSError) else "no such name can be"
            raise IncompleteError(
                f"{named}, which is not there ({reason}). Paths are relative to the manifest's folder: "
                "correct or remove it."
            ) from None
        if not stat.S_ISREG(status.st_mode):
            raise RefusedError(f"{named}, which is no file. Correct or remove it.")

    def _is_in_linked(self, place: bytes) -> bool:
        """Tell whether a folder between the table's and the image is a link; above it, links are the user's own."""
        folder = os.path.dirname(place)
        if len(folder) < len(self._base) or not folder.startswith(self._base):
            return False
        if folder not in self._is_linked:
            self._is_linked[folder] = os.path.islink(folder) or self._is_in_linked(folder)
        return self._is_linked[folder]


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
                yield f"line {line}", dict(zip(header, fields, strict=True))
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
            for batch in table.iter_batches(columns=[name for name in _KNOWN if name in names]):
                for fields in batch.to_pylist():
                    number += 1
                    yield f"row {number}", {column: _text(value) for column, value in fields.items()}
    except ArrowException as error:
        reason = printable(str(error).split("\n", maxsplit=1)[0][:100])
        raise FormatError(f"{quoted(file)} is not a Parquet file that can be read ({reason}). Write it anew.") from None
    except OSError as error:
        reason = printable(error.strerror or str(error)[:100])
        raise IncompleteError(f"{quoted(file)} cannot be read: {reason}. Check it and its permissions.") from None


def _text(value: Any) -> str:
    """Return a value of a Parquet column as text: labels may be numbers, paths may be bytes."""
    if value is None:
        return ""
    return os.fsdecode(value) if isinstance(value, bytes) else str(value)


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


def _upper(where: str) -> str:
    return where[0].upper() + where[1:]


def _kind(where: str) -> str:
    return where.split(" ", maxsplit=1)[0]
