"""A GloVe text file, plain or gzipped, becomes the vectors of the words that are wanted."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.errors import FormatError, IncompleteError, StorageError, printable
from fusion_pipeline.train.labels.words import WordVectors

# All that decimal numbers are made of. Looking for other bytes is how lines that nobody wants are checked: it takes a
# tenth of the time of reading their numbers.
_NUMERIC = b"0123456789+-.eE \t"

# No line of vectors is longer; without a bound, a file without line ends would be read whole.
_LONGEST = 1 << 20


def read_glove(path: str | os.PathLike[str], wanted: Collection[str]) -> WordVectors:
    r"""Read the vectors of some words from a file in the format of GloVe: a word and its numbers on each line.

    The file is streamed, so that its size does not matter, and every line is checked, wanted or not.

    Parameters
    ----------
    path : path
        Such as ``glove.6B.300d.txt``; gzipped if its name ends in ``.gz``.
    wanted : collection of str

    Returns
    -------
    WordVectors
        Where a word stands twice, its first vector.

    Raises
    ------
    IncompleteError
        If there is no such file.
    FormatError
        If a line is ragged or not numeric, naming the file and the line; or the file has none.
    StorageError
        If it cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
    ...     _ = file.write("the 0.5 1\ncat -1 2e-1\n")
    ...     file.flush()
    ...     read_glove(file.name, {"cat", "zyzzyva"}).by_word
    {'cat': array([-1. ,  0.2], dtype=float32)}
    """
    target, dimension = Path(path), 0
    encoded = {word.encode("utf-8"): word for word in wanted}
    found: dict[str, NDArray[np.float32]] = {}
    with _opened(target) as (stream, sha256):
        for number, line in enumerate(_lines(stream), start=1):
            word, _, numbers = line.partition(b" ")
            dimension = dimension or numbers.count(b" ") + 1
            _check_line(target, number, numbers, dimension)
            if word in encoded and encoded[word] not in found:
                found[encoded[word]] = _vector(target, number, numbers)
    if not dimension:
        raise FormatError(f"'{_shown(target)}' is empty. Give a GloVe text file, such as glove.6B.300d.txt.")
    return WordVectors(found, dimension, target.name, sha256)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, str]]:
    """Yield the lines' stream and the file's sha256; errors name the file."""
    try:
        with path.open("rb") as raw:
            sha256 = "sha256:" + hashlib.file_digest(raw, "sha256").hexdigest()
            raw.seek(0)
            if path.suffix == ".gz":
                with gzip.open(raw) as unpacked:
                    yield cast("BinaryIO", unpacked), sha256
            else:
                yield raw, sha256
    except FileNotFoundError:
        raise IncompleteError(f"There are no word vectors at '{_shown(path)}'. Check the path.") from None
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise FormatError(f"'{_shown(path)}' is no whole gzip file ({error}). Get another copy of it.") from error
    except OSError as error:
        raise StorageError(f"'{_shown(path)}' cannot be read: {error.strerror or error}. Check the file.") from error


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    while line := stream.readline(_LONGEST):
        yield line.rstrip(b"\r\n ")


def _check_line(path: Path, number: int, numbers: bytes, dimension: int) -> None:
    """Refuse a line that has another number of fields than the first, or other bytes than numbers have."""
    count = numbers.count(b" ") + 1 if numbers else 0
    if count != dimension or not count:
        _refuse(path, number, f"has {count} numbers" + (f", but line 1 has {dimension}" if number > 1 else ""))
    strange = numbers.translate(None, _NUMERIC)
    if strange:
        _refuse(path, number, f"has '{printable(strange[:20].decode('utf-8', 'replace'))}' where numbers should be")


def _vector(path: Path, number: int, numbers: bytes) -> NDArray[np.float32]:
    try:
        exact = np.array(numbers.split(b" "), dtype=np.float64)
    except ValueError:
        exact = np.array([np.nan])
    with np.errstate(over="ignore"):
        vector = exact.astype(np.float32)
    if not np.isfinite(vector).all():
        _refuse(path, number, "has something that is not a number of ordinary size")
    return vector


def _refuse(path: Path, number: int, fault: str) -> None:
    raise FormatError(
        f"Line {number:,} of '{_shown(path)}' {fault}. Give a GloVe text file: a word and its numbers on each line."
    )


def _shown(path: Path) -> str:
    return printable(str(path))
