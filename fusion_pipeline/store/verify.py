"""A published store into the list of its damage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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


def verify(store: Store) -> Iterator[Damage]:
    """Read every file of a store and yield those that are missing or not what the manifest says.

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
