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
        For a symbolic link, and for what is no file.

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
    seen: dict[bytes, str] = {}
    rows = [_row(file, where, columns, seen, follow_symlinks) for where, columns in lines]
    return list_rows(file, name, rows)


def _row(file: Path, where: str, columns: Mapping[str, str], seen: dict[bytes, str], follow_symlinks: bool) -> ImageRow:
    for column in _NEEDED:
        if not columns[column]:
            raise UnusableDataError(
                f"{_upper(where)} of {quoted(file)} has no {column}. Fill it in, or remove the {_kind(where)}."
            )
    place = os.path.normpath(os.path.join(os.fsencode(file.parent), os.fsencode(columns["path"])))
    if place in seen:
        raise UnusableDataError(
            f"{_upper(where)} of {quoted(file)} names '{printable(columns['path'])}' again, after {seen[place]}. "
            "Remove one of them."
        )
    seen[place] = where
    _check_file(file, where, columns["path"], place, follow_symlinks)
    base = os.path.join(os.fsencode(file.parent), b"")
    path = os.path.relpath(place, base) if not os.path.isabs(columns["path"]) else place.removeprefix(base)
    return ImageRow(path, columns["label"], place, columns.get("split", ""), columns.get("group", ""))


def _check_file(file: Path, where: str, path: str, place: bytes, follow_symlinks: bool) -> None:
    named = f"{_upper(where)} of {quoted(file)} names '{printable(path)}'"
    try:
        status = os.lstat(place)
        if stat.S_ISLNK(status.st_mode):
            if not follow_symlinks:
                raise RefusedError(
                    f"{named}, a symbolic link. Give --follow-symlinks if what it points to can be trusted."
                )
            status = os.stat(place)
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        reason = error.strerror if isinstance(error, OSError) else "no such name can be"
        raise IncompleteError(
            f"{named}, which is not there ({reason}). Paths are relative to the manifest's folder: "
            "correct or remove it."
        ) from None
    if not stat.S_ISREG(status.st_mode):
        raise RefusedError(f"{named}, which is no file. Correct or remove it.")


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
