"""A cache of any format that can be read into a cache of the current one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fusion_pipeline.errors import FusionError, StorageError, UsageError, printable
from fusion_pipeline.store.cache import Cache, DatasetStores
from fusion_pipeline.store.care.transfer import Progress, Transferred, bring, mark_arrived
from fusion_pipeline.store.identity import digest_bytes
from fusion_pipeline.store.making.publication import read_manifest
from fusion_pipeline.store.making.unfinished import tidy_published
from fusion_pipeline.store.manifest import FORMAT_MINOR, FileEntry
from fusion_pipeline.store.paths import store_folder
from fusion_pipeline.store.reader import Store

MIGRATED_FROM = "migrated_from"
"""Field of a manifest's `made`: the digest of the manifest that it was made of."""


@dataclass(frozen=True)
class Migrated:
    """What became of one store.

    Parameters
    ----------
    dataset, folder : str
        Where it is in the source.
    arrived : Transferred or None
        The store that the target has of it now; None if it has none.
    error : FusionError or None
        Why it has none.
    """

    dataset: str
    folder: str
    arrived: Transferred | None
    error: FusionError | None = None


def migrate(source: Cache, target: Cache, names: Sequence[str], progress: Progress) -> Iterator[Migrated]:
    """Copy the stores of a cache, of all versions of the images, into another one in the current format.

    The files of a store stay what they are, and so do its key and content. Only its manifest is written anew, where
    it is older than the current format. The source is never written to. A store that the target has already stays as
    it is there; what a broken migration left is gone on with.

    Parameters
    ----------
    source, target : Cache
    names : sequence of str
        The only data sets to copy; none for all.
    progress : callable
        See `fusion_pipeline.store.care.transfer.Progress`.

    Yields
    ------
    Migrated
        For each store, the indexes first. One that is damaged, or cannot be read, stops no other; once all stores of a
        data set are there, what came and is current in the source becomes so in the target.

    Raises
    ------
    IncompleteError
        If there is no such data set.
    UsageError
        If the target lies in the source.
    StorageError
        If a storage fails; the same call goes on.
    """
    if f"{target.location}/".startswith(f"{source.location}/"):
        raise UsageError(
            f"'{printable(target.location)}' lies in the cache that is to be copied. Choose another place."
        )
    homes = [source[name] for name in (names or source)]
    if homes:  # and nothing is made at a place that is misspelt
        target.backend.check_writable()
    for home in homes:
        tidy_published(target.backend, home.name)
        done = []
        for folder, found in _indexes_first(home):
            done.append(_migrated(home.name, folder, found, target, progress))
            yield done[-1]
        _mark_current(home, target, done)


def renewed(store: Store) -> Store:
    """Return a store with the manifest that the current format would have given it.

    Raises
    ------
    IntegrityError
        If a file of the store is not what was published: all are read where the manifest is older.
    """
    if store.manifest.minor >= FORMAT_MINOR:  # a later one is copied as it is: what it adds is not known here
        return store
    names = list(store.manifest.files)
    entries = store.backend.map(lambda name: FileEntry.of(store.content(name)), names)
    manifest = replace(
        store.manifest,
        files=dict(zip(names, entries, strict=True)),
        minor=FORMAT_MINOR,
        made={**store.manifest.made, MIGRATED_FROM: store.manifest_digest},
    )
    again = Store(store.backend, store.dataset, store.folder, store.copy)
    again.manifest, again.manifest_bytes = manifest, manifest.to_bytes()
    again.manifest_digest = digest_bytes(again.manifest_bytes)
    return again


def _indexes_first(home: DatasetStores) -> list[tuple[str, Store | FusionError]]:
    """Return the stores of a data set so that none is ever in the target without its index."""
    return sorted(home.survey(), key=lambda item: not isinstance(item[1], Store) or item[1].is_backbone)


def _migrated(dataset: str, folder: str, found: Store | FusionError, target: Cache, progress: Progress) -> Migrated:
    if isinstance(found, FusionError):
        return Migrated(dataset, folder, None, found)
    try:
        is_there = read_manifest(target.backend, store_folder(dataset, found.name, found.manifest.key)) is not None
        arrived = bring(found if is_there else renewed(found), target, progress)
    except StorageError:
        raise
    except FusionError as error:
        return Migrated(dataset, folder, None, error)
    return Migrated(dataset, folder, arrived)


def _mark_current(home: DatasetStores, target: Cache, done: Sequence[Migrated]) -> None:
    arrived = [item.arrived for item in done if item.arrived is not None]
    if len(arrived) == len(done):
        mark_arrived(home, target, arrived)
