"""Published stores of one cache into the same stores of another, every file checked on its way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import groupby
from time import perf_counter
from typing import Literal

from fusion_pipeline.errors import IncompleteError
from fusion_pipeline.store.cache import CURRENT, Cache, DatasetStores
from fusion_pipeline.store.care.trust import expect_manifests
from fusion_pipeline.store.making.publication import Publication
from fusion_pipeline.store.making.unfinished import join_writers, living_writers, tidy_published
from fusion_pipeline.store.manifest import FileEntry
from fusion_pipeline.store.paths import ATTEMPTS, group_folder
from fusion_pipeline.store.reader import Store
from fusion_pipeline.store.storage.backend import Backend

WAVE_BYTES = 128 << 20
"""How much is on its way at once, at most, unless a single file is longer: that much memory is needed."""

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], object]]]
"""Called with the name of a store and its bytes; gives what to call with the bytes that have arrived since."""

State = Literal["copied", "resumed", "there already"]


@dataclass(frozen=True)
class Transferred:
    """One store that is in the target now.

    Parameters
    ----------
    source, store : Store
        In the source, and in the target. Their manifests differ if somebody else made the one that was there already.
    state : {"copied", "resumed", "there already"}
    copied, found : int
        Bytes that were copied, and that an earlier, broken transfer had copied.
    seconds : float
    """

    source: Store
    store: Store
    state: State
    copied: int = 0
    found: int = 0
    seconds: float = 0.0

    @property
    def is_same(self) -> bool:
        """Whether the target's manifest is the source's, byte for byte."""
        return self.store.manifest_digest == self.source.manifest_digest


def transfer(
    stores: Sequence[Store], source: Cache, target: Cache, progress: Progress, expected: Sequence[str] = ()
) -> list[Transferred]:
    """Copy stores into another cache, unless it has them.

    What came and is current in the source becomes so in the target. A store of the target is never touched: not even
    where its bytes are other ones than the source's, as another device makes them. What a broken transfer left is
    gone on with. A store appears in the target as a whole or not at all.

    Parameters
    ----------
    stores : sequence of Store
        Of the source.
    source, target : Cache
    progress : callable
        See `Progress`.
    expected : sequence of str
        Digests of the manifests that the stores must have, in the target too; none asks for nothing.

    Returns
    -------
    list of Transferred
        One for each store, in order.

    Raises
    ------
    RefusedError
        If a store has another manifest than those expected, before anything is copied.
    IntegrityError
        If a file of the source is not what was published, naming it: that store is not published. Or if the manifest
        of a store in the target is damaged, before anything is copied.
    StorageError
        If a storage fails; what has arrived is found by the next call.
    """
    found = [_published(target, store) for store in stores]
    expect_manifests((there or store for store, there in zip(stores, found, strict=True)), expected)
    if None in found:
        target.backend.check_writable()
    for dataset in {store.dataset for store in stores}:
        tidy_published(target.backend, dataset)
    done = [
        Transferred(store, there, "there already") if there is not None else _Shipment(store, target).run(progress)
        for store, there in zip(stores, found, strict=True)
    ]
    expect_manifests((item.store for item in done), expected)  # somebody else may have published one meanwhile
    for dataset, items in groupby(done, key=lambda item: item.store.dataset):
        mark_arrived(source[dataset], target, items)
    return done


def bring(store: Store, target: Cache, progress: Progress) -> Transferred:
    """Copy one store into another cache, unless it has it; what is current there stays so. See `transfer`."""
    there = _published(target, store)
    if there is not None:
        return Transferred(store, there, "there already")
    return _Shipment(store, target).run(progress)


@dataclass(frozen=True)
class _Shipment:
    """One store on its way."""

    store: Store
    target: Cache

    def run(self, progress: Progress) -> Transferred:
        """Copy the store and publish it."""
        started = perf_counter()
        publication = Publication(self.target.backend, self.store.dataset, self.store.manifest)
        with _announced(publication):
            copied, found = self._copy_all(group_folder(publication.store, self.store.manifest.attempt), progress)
            _, won = publication.finish(content=self.store.manifest_bytes)
        state: State = "there already" if not won else "resumed" if found else "copied"
        return Transferred(self.store, _open(self.target, self.store), state, copied, found, perf_counter() - started)

    def _copy_all(self, group: str, progress: Progress) -> tuple[int, int]:
        """Bring all files into the group's folder; return the bytes that were copied, and that were there."""
        target, total = self.target.backend, {True: 0, False: 0}
        files = self.store.manifest.files
        lengths = {file.path: file.length for file in target.walk(group)}
        there = {name for name, entry in files.items() if lengths.get(f"{group}/{name}") == entry.length}
        busier = max(self.store.backend, target, key=lambda backend: backend.concurrency)
        with progress(f"{self.store.dataset}/{self.store.folder}", self.store.n_bytes) as advance:
            for wave in _waves(files):
                results = busier.map(lambda name: self._copy(name, group, resumes=name in there), wave)
                for name, copied in zip(wave, results, strict=True):
                    total[copied] += files[name].length
                    advance(files[name].length)
        return total[True], total[False]

    def _copy(self, name: str, group: str, *, resumes: bool) -> bool:
        """Bring one file; return whether it had to be copied."""
        target, path, entry = self.target.backend, f"{group}/{name}", self.store.manifest.files[name]
        if resumes and target.is_local and _holds(target, path, entry):
            return False
        content = self.store.content(name)
        if resumes and not target.is_local and target.holds(path, content):
            return False
        target.write(path, content)
        return True


def _open(target: Cache, store: Store) -> Store:
    """Return the target's store with the same key."""
    publication = Publication(target.backend, store.dataset, store.manifest)
    return DatasetStores(target, store.dataset).open(publication.store.removeprefix(f"{store.dataset}/"))


def _published(target: Cache, store: Store) -> Store | None:
    try:
        return _open(target, store)
    except IncompleteError:
        return None


def _holds(backend: Backend, path: str, entry: FileEntry) -> bool:
    content = backend.read(path, at_most=entry.length)
    return content is not None and entry.matches(content)


def _waves(files: Mapping[str, FileEntry]) -> Iterator[list[str]]:
    """Yield the names of all files, in groups of at most `WAVE_BYTES`."""
    wave: list[str] = []
    size = 0
    for name, entry in files.items():
        if wave and size + entry.length > WAVE_BYTES:
            yield wave
            wave, size = [], 0
        wave.append(name)
        size += entry.length
    yield wave


@contextmanager
def _announced(publication: Publication) -> Iterator[None]:
    """Keep others from taking a group that is not published yet for litter, or its store for one that is damaged."""
    backend = publication.backend
    attempt = f"{publication.dataset}/{ATTEMPTS}/transfer-{publication.manifest.attempt}"
    presence = join_writers(backend, attempt)
    try:
        publication.announce(attempt, presence.nonce)
        yield
    finally:
        presence.leave()
    if not living_writers(backend, attempt):
        backend.remove(attempt)


def mark_arrived(home: DatasetStores, target: Cache, items: Iterable[Transferred]) -> None:
    """Make current in the target what came now and is current in the source; what was there already moves nothing.

    Parameters
    ----------
    home : DatasetStores
        The data set in the source.
    target : Cache
    items : iterable of Transferred
        Its stores that are in the target now.
    """
    arrived = {item.source.folder: item for item in items}
    if all(item.store.is_backbone for item in arrived.values()):
        return
    found = home.found()
    index = found.find_index()
    if index is None or index.folder not in arrived:
        return
    there = arrived[index.folder]
    new = [arrived[store.folder] for store in found.of_version(index).values() if store.folder in arrived]
    if there.state == "there already" and target.backend.length(f"{home.name}/{CURRENT}") is not None:
        new = [item for item in new if item.state != "there already"]
        if not new or target[home.name].index().folder != there.store.folder:
            return  # the team may have gone on to another version of the images
    target[home.name].mark_current(there.store, [item.store for item in new])
