"""The files of a cache into the list of what nobody needs any more."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fusion_pipeline.errors import FusionError, printable
from fusion_pipeline.store.cache import Cache
from fusion_pipeline.store.making.publication import Publication, has_copy, read_manifest
from fusion_pipeline.store.making.unfinished import living_writers
from fusion_pipeline.store.paths import ATTEMPTS, MANIFEST, group_folder
from fusion_pipeline.store.storage.backend import Backend, StoredFile, is_partial

_PROBES = (".clock", ".probe")


@dataclass(frozen=True)
class Garbage:
    """Something in a cache that nobody needs.

    Parameters
    ----------
    path : str
        A folder or a file, relative to the cache.
    n_bytes : int
        Length of its files.
    reason : str
        What it is, and for how long nobody has touched it.
    newest : float
        When it was last written, by the clock of the storage.
    folders : frozenset of str
        The folders from which something has to be removed.
    store : str
        Folder of the store that is not made of it; empty if it is no group.
    announces : frozenset of str
        If it is an attempt: the groups that it was about to publish. They go first, or it stays.
    is_file : bool
        Whether it is one file.
    """

    path: str
    n_bytes: int
    reason: str
    newest: float
    folders: frozenset[str]
    store: str = ""
    announces: frozenset[str] = frozenset()
    is_file: bool = False


@dataclass(frozen=True)
class Grace:
    """How old is old enough, by the clock of the storage.

    Parameters
    ----------
    now : float
        The time there.
    seconds : float
        For how long nothing may have changed.
    """

    now: float
    seconds: float

    def is_over(self, newest: float) -> bool:
        """Return whether what was last written at a time is old enough."""
        return self.now - newest > self.seconds

    def untouched(self, newest: float) -> str:
        """Return how old that is.

        Examples
        --------
        >>> Grace(1e6, 0).untouched(1e6 - 8 * 86400), Grace(1e6, 0).untouched(1e6 - 90)
        ('untouched for 8 days', 'untouched for 2 minutes')
        """
        seconds = self.now - newest
        for length, unit in ((86_400, "days"), (3_600, "hours")):
            if seconds >= 2 * length:
                return f"untouched for {seconds / length:,.0f} {unit}"
        return f"untouched for {seconds / 60:,.0f} minutes"


def find_garbage(cache: Cache, names: Sequence[str], grace: Grace) -> list[Garbage]:
    """Return what nobody needs any more, groups before the attempts that tell of them.

    Parameters
    ----------
    cache : Cache
    names : sequence of str
        The only data sets to look at; none for all, and for what belongs to no data set.
    grace : Grace

    Returns
    -------
    list of Garbage

    Raises
    ------
    IncompleteError
        If there is no such data set.
    StorageError
        If something cannot be listed or read.
    IntegrityError, FormatError, RefusedError
        If it cannot be told from a manifest which group is a store's.
    """
    homes = [cache[name].name for name in (names or cache)]
    found = [item for name in homes for item in _Search(cache.backend, name, grace).garbage()]
    return found if names else [*found, *_left_probes(cache.backend, grace)]


def _left_probes(backend: Backend, grace: Grace) -> Iterator[Garbage]:
    for folder in _PROBES:
        for file in backend.walk(folder):
            if grace.is_over(file.modified):
                extent = _Extent()
                extent.add(file)
                yield extent.garbage(file.path, "probe of the storage", grace, is_file=True)


@dataclass
class _Extent:
    """What several files are together."""

    n_bytes: int = 0
    newest: float = -math.inf
    folders: set[str] = field(default_factory=set)

    def add(self, file: StoredFile) -> None:
        self.n_bytes += file.length
        self.newest = max(self.newest, file.modified)
        self.folders.add(_parent(file.path))

    def garbage(
        self,
        path: str,
        what: str,
        grace: Grace,
        *,
        store: str = "",
        announces: frozenset[str] = frozenset(),
        is_file: bool = False,
    ) -> Garbage:
        reason = f"{what}, {grace.untouched(self.newest)}"
        folders = frozenset({*self.folders, _parent(path)})
        return Garbage(path, self.n_bytes, reason, self.newest, folders, store, announces, is_file)


class _Search:
    """The files of one data set, by what they belong to.

    A listing of millions of files takes little memory so.
    """

    def __init__(self, backend: Backend, dataset: str, grace: Grace) -> None:
        self._backend = backend
        self._grace = grace
        self._attempts: dict[str, _Extent] = defaultdict(_Extent)
        self._groups: dict[str, _Extent] = defaultdict(_Extent)
        self._unfinished: dict[str, _Extent] = defaultdict(_Extent)
        self._unfinished_files: set[str] = set()
        self._manifests: dict[str, float] = {}
        for file in backend.walk(dataset):
            self._add(file)

    def _add(self, file: StoredFile) -> None:
        parts = file.path.split("/")
        # Nobody removes a data set or a store as a whole: a folder that is called so is one nevertheless.
        below = range(min(2, len(parts) - 1), len(parts))
        half = next((number for number in below if is_partial(parts[number])), None)
        if half is not None:
            path = "/".join(parts[: half + 1])
            self._unfinished[path].add(file)
            if path == file.path:
                self._unfinished_files.add(path)
        match parts:
            case [_, folder, name, _, *_] if folder == ATTEMPTS and not is_partial(name):
                self._attempts["/".join(parts[:3])].add(file)
            case [_, _, folder, name, _, *_] if folder == ATTEMPTS and not is_partial(name):
                self._groups["/".join(parts[:4])].add(file)
            case [_, _, folder, name] if folder == ATTEMPTS and name.endswith(".json"):
                self._groups[file.path.removesuffix(".json")].add(file)
            case [_, _, name] if name == MANIFEST:
                self._manifests[_parent(file.path)] = file.modified

    def garbage(self) -> Iterator[Garbage]:
        """Yield what nobody needs, groups before the attempts that tell of them."""
        living = {path for path, extent in self._attempts.items() if self._is_living(path, extent)}
        announced = {path: self._announced_in(path) for path in self._attempts}
        published = self._published() | self._restorable(announced)
        found = [*self._old_groups(published, living, announced)]
        staying = set(self._groups) - {item.path for item in found} - published
        found += self._old_attempts(living, announced, staying)
        yield from found
        yield from self._old_unfinished([*living, *(item.path for item in found)])

    def _published(self) -> set[str]:
        """Return the paths of the groups that a manifest names."""
        stores = list(self._manifests)
        return {group_folder(*named) for named in zip(stores, self._backend.map(self._named, stores), strict=True)}

    def _restorable(self, announced: Mapping[str, frozenset[str]]) -> set[str]:
        """Return the groups without a manifest that were announced, and that a copy of it would publish."""
        told = {group for groups in announced.values() for group in groups} & set(self._groups)
        return {
            path
            for path in told
            if (store := _parent(_parent(path))) not in self._manifests
            and has_copy(self._backend, store, path.rpartition("/")[2])
        }

    def _named(self, store: str) -> str:
        try:
            manifest = read_manifest(self._backend, store)
        except FusionError as error:
            raise type(error)(
                f"Nothing was removed: no one can tell what '{printable(store)}' needs. {error}"
            ) from error
        return "" if manifest is None else manifest.attempt

    def _is_living(self, attempt: str, extent: _Extent) -> bool:
        if not self._grace.is_over(extent.newest):
            return True
        return living_writers(self._backend, attempt, silent=True)

    def _announced_in(self, attempt: str) -> frozenset[str]:
        markers = Publication.markers(self._backend, attempt)
        return frozenset(group_folder(intent.store, uuid) for uuid, intent in markers)

    def _old_groups(
        self, published: set[str], living: set[str], announced: Mapping[str, frozenset[str]]
    ) -> Iterator[Garbage]:
        """Yield the groups that no store is made of, or no store any more.

        Without a manifest in its folder a group may be a store that lost it, unless an attempt announces that it was
        on its way, and it has no good copy of one either.
        """
        safe = {group for attempt in living for group in announced[attempt]}
        told = {group for groups in announced.values() for group in groups}
        for path, extent in sorted(self._groups.items()):
            store = _parent(_parent(path))
            replaced = self._manifests.get(store)
            if path in published or path in safe or (replaced is None and path not in told):
                continue
            if replaced is not None:
                # Who began to read before a repair goes on with what it replaced, whose own files may be years old.
                extent.newest = max(extent.newest, replaced)
            if self._grace.is_over(extent.newest):
                what = "group of a publication that was stopped" if replaced is None else "group that was replaced"
                yield extent.garbage(path, what, self._grace, store=store)

    def _old_attempts(
        self, living: set[str], announced: Mapping[str, frozenset[str]], staying: set[str]
    ) -> Iterator[Garbage]:
        """Yield the attempts that nobody is at work on, but for those that tell of a group that stays."""
        for path in sorted(set(self._attempts) - living):
            if not announced[path] & staying:
                what = "attempt that nobody is at work on"
                yield self._attempts[path].garbage(path, what, self._grace, announces=announced[path])

    def _old_unfinished(self, covered: Sequence[str]) -> Iterator[Garbage]:
        """Yield what was never finished, unless it lies in one of some folders."""
        for path, extent in sorted(self._unfinished.items()):
            if self._grace.is_over(extent.newest) and not any(path.startswith(f"{folder}/") for folder in covered):
                is_file = path in self._unfinished_files
                what = "half-written file" if is_file else "half-removed folder"
                yield extent.garbage(path, what, self._grace, is_file=is_file)


def _parent(path: str) -> str:
    return path.rpartition("/")[0]
