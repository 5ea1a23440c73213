"""A published store into the list of its damage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fusion_pipeline.store.layout import chunk_files
from fusion_pipeline.store.manifest import FileEntry
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


def missing_files(store: Store) -> Iterator[Damage]:
    """Yield the files of a store that are not there or have another length: all that can be seen without reading.

    Parameters
    ----------
    store : Store
        A published store.

    Yields
    ------
    Damage
        In the order of the file names.
    """
    for name, entry in sorted(store.manifest.files.items()):
        try:
            length = (store.path / name).stat().st_size
        except OSError:
            yield Damage(name, "missing")
            continue
        if length != entry.length:
            yield Damage(name, "length")


def verify(store: Store) -> Iterator[Damage]:
    """Read every file of a store and yield those that are missing or not what the manifest says.

    A chunk that an array needs and the manifest does not name is missing too.

    Parameters
    ----------
    store : Store
        A published store.

    Yields
    ------
    Damage
        In the order of the file names.
    """
    for name, entry in sorted(store.manifest.files.items()):
        try:
            content = (store.path / name).read_bytes()
        except OSError:
            yield Damage(name, "missing")
            continue
        if len(content) != entry.length:
            yield Damage(name, "length")
        elif FileEntry.of(content) != entry:
            yield Damage(name, "content")
        elif name.endswith("/zarr.json"):
            needed = chunk_files(name.removesuffix("/zarr.json"), content)
            yield from (Damage(chunk, "missing") for chunk in sorted(needed - set(store.manifest.files)))
