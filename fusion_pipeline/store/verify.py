"""A published store into the list of its damage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fusion_pipeline.errors import FusionError
from fusion_pipeline.store.manifest import FileEntry
from fusion_pipeline.store.metadata import ArrayMetadata
from fusion_pipeline.store.reader import Store


@dataclass(frozen=True)
class Damage:
    """One file of a store that is not what was published.

    Parameters
    ----------
    file : str
        Its path relative to the Zarr group.
    kind : {"missing", "length", "content"}
        What is wrong with it.
    """

    file: str
    kind: str


def verify(store: Store, *, read: bool = True) -> Iterator[Damage]:
    """Yield the files of a store that are missing or not what the manifest says.

    A chunk that an array needs and the manifest does not name is missing too.

    Parameters
    ----------
    store : Store
        A published store.
    read : bool
        Whether to read and hash every file; without it only their presence and lengths are looked at.

    Yields
    ------
    Damage
        In the order of the file names.
    """
    for name, entry in sorted(store.manifest.files.items()):
        path = store.path / name
        try:
            length = path.stat().st_size
            content = store.backend.read(store.file(name), at_most=entry.length) if read else None
        except (OSError, FusionError):
            yield Damage(name, "missing")
            continue
        if length != entry.length:
            yield Damage(name, "length")
        elif content is not None and FileEntry.of(content) != entry:
            yield Damage(name, "content")
        elif content is not None and name.endswith("/zarr.json"):
            yield from _unnamed_chunks(name.removesuffix("/zarr.json"), content, store.manifest.files)


def _unnamed_chunks(array: str, metadata: bytes, files: Mapping[str, FileEntry]) -> Iterator[Damage]:
    name = f"{array}/zarr.json"
    try:
        stated = ArrayMetadata.parse(array, metadata, name)
    except FusionError:
        yield Damage(name, "content")
        return
    if stated.n_chunks > len(files):
        yield Damage(name, "content")
        return
    yield from (Damage(chunk, "missing") for chunk in sorted(stated.chunk_files() - set(files)))
