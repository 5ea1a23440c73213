"""The files of a published attempt as a Zarr store that gives no byte before its file's sha256 was checked."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable

import numpy as np
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.abc.store import Store as ZarrStore
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype

from fusion_pipeline.errors import IntegrityError, printable
from fusion_pipeline.store.bulk import Check, Piece, empty_matrix, pieces, put_piece, read_piece, spread
from fusion_pipeline.store.manifest import Manifest
from fusion_pipeline.store.metadata import ArrayMetadata
from fusion_pipeline.store.storage.backend import Backend, drain

_CHUNK = re.compile(r"/c(/\d+)*$")

HARMLESS_BYTES = 64 << 20
"""An array up to this size is read without a look at the lengths of its files."""


class CheckedFiles(ZarrStore):
    """A read-only Zarr store over the files that a manifest names.

    Parameters
    ----------
    backend : Backend
        The cache.
    prefix : str
        The attempt's folder.
    manifest : Manifest
        What the files must be.
    copy : Backend, optional
        A place for copies of what is read: a good copy there is not read again from the cache.
    """

    supports_writes = False
    supports_deletes = False
    supports_listing = True

    def __init__(self, backend: Backend, prefix: str, manifest: Manifest, copy: Backend | None = None) -> None:
        super().__init__(read_only=True)
        self._backend = backend
        self._copy = copy
        self._prefix = prefix
        self._manifest = manifest
        self._there: set[str] = set()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CheckedFiles) and other._prefix == self._prefix and other._manifest == self._manifest

    def __hash__(self) -> int:
        return hash(self._prefix)

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return a file's content, or a range of it; None for a file that the store does not have."""
        entry = self._manifest.files.get(key)
        if entry is None:
            if _CHUNK.search(key):  # Zarr would put fill values
                raise IntegrityError(
                    f"Manifest of '{printable(self._backend.where(self._prefix))}' lacks chunk '{printable(key)}'. "
                    f"{self._next_step}"
                )
            return None
        content = await asyncio.to_thread(self.content, key)
        return (prototype or default_buffer_prototype()).buffer.from_bytes(_cut(content, byte_range))

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return several ranges."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        """Return whether the store has a file."""
        return key in self._manifest.files

    async def set(self, key: str, value: Buffer) -> None:  # noqa: ARG002 - Zarr's signature
        """Refuse: a published store is immutable."""
        raise PermissionError("a published store is immutable")

    async def delete(self, key: str) -> None:  # noqa: ARG002 - Zarr's signature
        """Refuse: a published store is immutable."""
        raise PermissionError("a published store is immutable")

    async def list(self) -> AsyncIterator[str]:
        """Yield all files."""
        for key in self._manifest.files:
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield the files below a prefix."""
        for key in self._manifest.files:
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names in a folder."""
        folder = f"{prefix.rstrip('/')}/" if prefix else ""
        inside = (key[len(folder) :] for key in self._manifest.files if key.startswith(folder))
        for name in sorted({key.split("/")[0] for key in inside}):
            yield name

    def content(self, key: str) -> bytes:
        """Return the content of a file that the manifest names.

        Raises
        ------
        IntegrityError
            If it is not what was published.
        """
        entry = self._manifest.files[key]
        if self._copy is not None:
            content = self._copy.read(f"{self._prefix}/{key}", at_most=entry.length)
            if content is not None and entry.matches(content):
                return content
        return self._fetched(key)

    def fetch(self, keys: Iterable[str]) -> None:
        """Put files into the place for copies, if any; what has the right length there is checked when it is read."""
        copy = self._copy
        if copy is None:
            return
        files = self._manifest.files
        lacking = [key for key in keys if copy.length(f"{self._prefix}/{key}") != files[key].length]
        drain(self._backend.map(lambda key: len(self._fetched(key)), lacking))

    def _fetched(self, key: str) -> bytes:
        path, entry = f"{self._prefix}/{key}", self._manifest.files[key]
        content = self._backend.read(path, at_most=entry.length)
        if content is None or not entry.matches(content):
            raise self.damage(key, "is missing" if content is None else "is damaged")
        if self._copy is not None:
            self._copy.write(path, content)
        return content

    def damage(self, key: str, state: str) -> IntegrityError:
        """Return what to raise for a file that is not what was published."""
        where = printable(self._backend.where(f"{self._prefix}/{key}"))
        return IntegrityError(f"File '{where}' {state}: it is not what was published. {self._next_step}")

    def check_lengths(self, metadata: ArrayMetadata) -> None:
        """Insist that the chunks of a large array are as long as the manifest says, before there is room made for it.

        Raises
        ------
        IntegrityError
            If one is not: a forged manifest names chunks that nobody has, and room for them would be all memory.
        """
        if metadata.name in self._there or metadata.n_chunks * metadata.chunk_bytes <= HARMLESS_BYTES:
            return
        folder, rest = f"{self._prefix}/{metadata.name}", sorted(metadata.chunk_files())
        for place in (self._copy, self._backend):
            if place is not None and rest:
                lengths = place.lengths(folder, [key.removeprefix(f"{metadata.name}/") for key in rest])
                named = zip(rest, lengths, strict=True)
                rest = [key for key, length in named if length != self._manifest.files[key].length]
        if rest:
            raise self.damage(rest[0], "is missing or damaged")
        self._there.add(metadata.name)

    def read(self, metadata: ArrayMetadata, check: Check) -> np.ndarray:
        """Return a whole array whose chunks are whole rows.

        Raises
        ------
        IntegrityError
            If a chunk is not what was published.
        """
        out = empty_matrix(metadata)
        chunks = pieces(metadata, dict(self._manifest.files))

        def fill(piece: Piece) -> None:
            path = f"{self._prefix}/{piece.file}"
            if self._copy is None:
                if not read_piece(self._backend, path, piece, out, check):
                    raise self.damage(piece.file, "is missing or damaged")
            elif not read_piece(self._copy, path, piece, out, check):
                put_piece(self._fetched(piece.file), piece, out)

        drain(self._backend.map(fill, spread(chunks, self._backend.concurrency)))
        return out

    @property
    def _next_step(self) -> str:
        return (
            f"'fusion cache verify --cache {printable(str(self._backend))}' shows the whole damage, and "
            "'fusion cache repair' mends it."
        )


def _cut(content: bytes, byte_range: ByteRequest | None) -> bytes:
    match byte_range:
        case RangeByteRequest(start, end):
            return content[start:end]
        case OffsetByteRequest(offset):
            return content[offset:]
        case SuffixByteRequest(suffix):
            return content[max(0, len(content) - suffix) :]
        case _:
            return content
