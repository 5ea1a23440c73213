"""All chunks of one array straight into one matrix in memory, each checked on its way.

Zarr reads a chunk into bytes, decodes them into an array and copies that into the result. Where whole arrays are read,
as training does, that is most of the time; a chunk of this format is the very bytes of its rows, so they can be read
into their place.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import google_crc32c
import numpy as np

from fusion_pipeline.store.layout import CRC_BYTES
from fusion_pipeline.store.manifest import FileEntry
from fusion_pipeline.store.metadata import ArrayMetadata
from fusion_pipeline.store.storage.backend import Backend

Check = Literal["sha256", "crc32c"]

_CACHE_LINE = 64


class Piece(NamedTuple):
    """One chunk: its file, what it must be, and the rows that it fills."""

    file: str
    entry: FileEntry
    rows: slice


def empty_matrix(metadata: ArrayMetadata) -> np.ndarray:
    """Return an array to read into, of no value yet."""
    # NumPy's own begin 16 bytes into a page, where copying from the beginning of a page of the page cache, as reading a
    # file does, was measured at a quarter of the speed (AMD EPYC, Linux 6.18).
    n_bytes = math.prod(metadata.shape) * np.dtype(metadata.dtype).itemsize
    memory = np.empty(n_bytes + _CACHE_LINE, np.uint8)
    first = -memory.ctypes.data % _CACHE_LINE
    return memory[first : first + n_bytes].view(metadata.dtype).reshape(metadata.shape)


def pieces(metadata: ArrayMetadata, files: dict[str, FileEntry]) -> list[Piece]:
    """Return the chunks of an array that is chunked along its first dimension only, in order."""
    step, zeros = metadata.chunks[0], ["0"] * (len(metadata.shape) - 1)
    found = []
    for number, start in enumerate(range(0, metadata.shape[0], step)):
        file = "/".join([metadata.name, "c", str(number), *zeros])
        found.append(Piece(file, files[file], slice(start, min(start + step, metadata.shape[0]))))
    return found


def spread(found: Sequence[Piece], parts: int) -> list[Piece]:
    """Return pieces in an order in which neighbours are never read at the same time.

    Two threads that fill one large page of new memory wait for each other.

    Examples
    --------
    >>> spread(list("abcdefg"), 2)
    ['a', 'e', 'b', 'f', 'c', 'g', 'd']
    """
    step = -(-len(found) // parts)
    return [piece for start in range(step) for piece in found[start::step]]


def read_piece(backend: Backend, path: str, piece: Piece, out: np.ndarray, check: Check) -> bool:
    """Read one chunk into its rows of a matrix; return whether it is what was published.

    Parameters
    ----------
    backend : Backend
        The cache.
    path : str
        Where the chunk lies.
    piece : Piece
        What it must be, and where it belongs.
    out : ndarray
        The matrix, C-contiguous, in the array's dtype.
    check : {"sha256", "crc32c"}
        Which sum of the manifest to compare with. A CRC-32C finds every accident, swapped files included, but for one
        in four billion, and takes an eighth of the time. Stores of format 1.0 have only the sha256.

    Returns
    -------
    bool
    """
    body = out[piece.rows].reshape(-1).view(np.uint8)
    rest = np.empty(piece.entry.length - len(body), np.uint8)  # the padding of the last chunk, and the CRC
    if backend.read_into(path, [body.data, rest.data]) != piece.entry.length:
        return False
    if check == "crc32c" and piece.entry.crc32c is not None:
        value = google_crc32c.extend(google_crc32c.value(body), rest[:-CRC_BYTES])
        return f"{value:08x}" == piece.entry.crc32c and rest[-CRC_BYTES:].tobytes() == value.to_bytes(4, "little")
    sha256 = hashlib.sha256(body.data)
    sha256.update(rest.data)
    return sha256.hexdigest() == piece.entry.sha256


def put_piece(content: bytes, piece: Piece, out: np.ndarray) -> None:
    """Put the content of a chunk's file, which was checked, into its rows of a matrix."""
    body = memoryview(out[piece.rows].reshape(-1).view(np.uint8).data)
    body[:] = memoryview(content)[: len(body)]


def is_plain(metadata: ArrayMetadata) -> bool:
    """Return whether an array's chunks are whole rows, as this format has them."""
    return len(metadata.shape) > 0 and metadata.chunks[1:] == metadata.shape[1:] and metadata.chunk_bytes > CRC_BYTES
