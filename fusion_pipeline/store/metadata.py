"""An array's ``zarr.json`` into what it needs to be read, or a refusal before anything is allocated for it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fusion_pipeline.errors import FormatError, IntegrityError, RefusedError, printable
from fusion_pipeline.store.layout import CRC_BYTES
from fusion_pipeline.store.manifest import FileEntry

DTYPES = ("float16", "float32", "uint8", "int32", "int64")
"""What arrays of this format hold. Nothing that a reader would have to construct objects for."""

CODECS = ("bytes", "crc32c")
"""How their chunks are encoded. Nothing that could unfold into more than it takes on disk."""


@dataclass(frozen=True)
class ArrayMetadata:
    """What an array says about itself, as far as this format leaves it a choice.

    Parameters
    ----------
    name : str
        Its name.
    shape, chunks : tuple of int
        Of the array, and of each chunk.
    dtype : str
        One of `DTYPES`.
    """

    name: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: str

    @classmethod
    def parse(cls, name: str, content: bytes, where: str) -> ArrayMetadata:
        """Parse and check a ``zarr.json``.

        Parameters
        ----------
        name : str
            The array's name.
        content : bytes
            The file's content.
        where : str
            Its path, for messages.

        Raises
        ------
        FormatError
            If it is not the metadata of an array.
        RefusedError
            If it asks for a dtype, a codec or a shape that no array of this format has.
        """
        try:
            fields = json.loads(content)
            grid, keys = fields["chunk_grid"], fields["chunk_key_encoding"]
            shape, chunks = _lengths(fields["shape"]), _lengths(grid["configuration"]["chunk_shape"])
            codecs = tuple(str(codec["name"]) for codec in fields["codecs"])
            kind = (fields["zarr_format"], fields["node_type"], grid["name"], keys["name"], len(shape))
            separator = keys.get("configuration", {}).get("separator", "/")
            endian = fields["codecs"][0].get("configuration", {}).get("endian", "little")
            transformers = fields.get("storage_transformers") or ()
            dtype = fields["data_type"]
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
            raise FormatError(f"'{printable(where)}' is not the metadata of an array ({error!r:.80}).") from None
        if kind != (3, "array", "regular", "default", len(chunks)) or 0 in chunks:
            raise FormatError(f"'{printable(where)}' is not the metadata of a Zarr v3 array with a regular grid.")
        if dtype not in DTYPES or (codecs, endian, separator) != (CODECS, "little", "/") or transformers:
            raise RefusedError(
                f"'{printable(where)}' asks for {printable(str((dtype, *codecs)))[:80]}, which no array of this "
                "format has. Do not trust the store."
            )
        return cls(name, shape, chunks, dtype)

    @property
    def chunk_bytes(self) -> int:
        """Length of each chunk file."""
        return math.prod(self.chunks) * np.dtype(self.dtype).itemsize + CRC_BYTES

    @property
    def n_chunks(self) -> int:
        """Number of chunk files."""
        return math.prod(self._counts)

    def chunk_files(self) -> set[str]:
        """Return the paths of all chunk files, relative to the group; check `n_chunks` first.

        Examples
        --------
        >>> sorted(ArrayMetadata("status", (5,), (4,), "uint8").chunk_files())
        ['status/c/0', 'status/c/1']
        """
        return {"/".join([self.name, "c", *map(str, position)]) for position in np.ndindex(*self._counts)}

    def check(self, files: Mapping[str, FileEntry], where: str) -> None:
        """Insist that a manifest names the chunks that the array needs, with the lengths that they must have.

        Parameters
        ----------
        files : mapping of str to FileEntry
            The manifest's.
        where : str
            The array, for messages.

        Raises
        ------
        RefusedError
            If the shape needs more than is there, or other lengths.
        IntegrityError
            If a chunk is not named.
        """
        if self.n_chunks > len(files):
            raise RefusedError(
                f"Array '{printable(where)}' states the shape {self.shape}, far beyond what its store holds. "
                "Do not trust the store."
            )
        for chunk in sorted(self.chunk_files()):
            if chunk not in files:
                raise IntegrityError(
                    f"Manifest of '{printable(where)}' lacks chunk '{printable(chunk)}'. "
                    "'fusion cache repair' mends it."
                )
            if files[chunk].length != self.chunk_bytes:
                raise RefusedError(
                    f"Chunk '{printable(chunk)}' of array '{printable(where)}' has {files[chunk].length:,} bytes, but "
                    f"its shape and dtype need {self.chunk_bytes:,}. Do not trust the store."
                )

    @property
    def _counts(self) -> tuple[int, ...]:
        return tuple(-(-length // size) for length, size in zip(self.shape, self.chunks, strict=True))


def _lengths(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list) or not all(type(value) is int and value >= 0 for value in values):
        raise TypeError(f"lengths expected, got {values!r:.40}")
    return tuple(values)
