"""What nobody needs in a cache into room for what somebody does."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from fusion_pipeline.errors import StorageError
from fusion_pipeline.store.cache import Cache
from fusion_pipeline.store.care.garbage import Garbage, Grace, find_garbage
from fusion_pipeline.store.making.presence import SILENT_SECONDS
from fusion_pipeline.store.making.publication import read_manifest
from fusion_pipeline.store.paths import MANIFEST
from fusion_pipeline.store.storage.backend import Backend

GRACE_SECONDS = 7 * 86_400.0
"""For how long nothing may have changed: who comes back from a week's leave finds the work unfinished, not gone."""


@dataclass(frozen=True)
class Collection:
    """What was removed, or would be.

    Parameters
    ----------
    items : sequence of Garbage
        What was removed, or would be.
    kept : sequence of tuple of Garbage and str
        What nobody needs and cannot be removed, and why.
    removed : bool
        Whether it was more than a look.
    own_clock : bool
        Whether the grace was reckoned by this machine's clock, for the storage cannot be written to.
    """

    items: Sequence[Garbage]
    kept: Sequence[tuple[Garbage, str]]
    removed: bool
    own_clock: bool = False

    @property
    def n_bytes(self) -> int:
        """Length of all items."""
        return sum(item.n_bytes for item in self.items)


def collect(
    cache: Cache, names: Sequence[str] = (), grace_seconds: float = GRACE_SECONDS, *, delete: bool = False
) -> Collection:
    """Find what nobody needs any more, and remove it if that is wanted.

    That is: attempts that nobody is at work on, groups that no store is made of (any more), and what was never
    finished. It is never a published store, nor one that lost its manifest, nor anything that changed within the
    grace by the clock of the storage.

    Parameters
    ----------
    cache : Cache
    names : sequence of str
        The only data sets to look at; none for all, and for what belongs to no data set.
    grace_seconds : float
        For how long nothing may have changed. At least `SILENT_SECONDS`: within them whoever lives shows it.
    delete : bool
        Whether to remove it.

    Returns
    -------
    Collection

    Raises
    ------
    IncompleteError
        If there is no such data set.
    StorageError
        If something cannot be listed or read: then nothing is removed. Or if the storage fails later on.
    IntegrityError, FormatError, RefusedError
        If it cannot be told from a manifest which group is a store's: then nothing is removed.
    """
    if not names and not cache.backend.entries("").folders:
        return Collection((), (), delete)  # and nothing is written at a place that is no cache yet, or misspelt
    names = [cache[name].name for name in names]  # refused for the same reason
    now, own_clock = _now(cache.backend, delete=delete)
    grace = Grace(now, max(grace_seconds, SILENT_SECONDS))
    broom = _Broom(cache.backend)
    for item in find_garbage(cache, names, grace):
        broom.take(item, delete=delete)
    return Collection(tuple(broom.taken), tuple(broom.kept), delete, own_clock)


def _now(backend: Backend, *, delete: bool) -> tuple[float, bool]:
    """Return the time by the storage's clock; by this machine's where somebody who may not write there only looks."""
    try:
        return backend.now(), False
    except StorageError:
        if delete:
            raise
        return time.time(), True


class _Broom:
    """Takes away item by item, and tells what stays."""

    def __init__(self, backend: Backend) -> None:
        self.taken: list[Garbage] = []
        self.kept: list[tuple[Garbage, str]] = []
        self._backend = backend

    def take(self, item: Garbage, *, delete: bool) -> None:
        """Take an item away, or only see whether that can be done."""
        why_not = self._why_not(item)
        if delete and not why_not:
            why_not = self._remove(item)
        if why_not:
            self.kept.append((item, why_not))
        else:
            self.taken.append(item)

    def _why_not(self, item: Garbage) -> str:
        if not all(self._backend.may_write(folder) for folder in item.folders):
            return "It is another user's."
        if item.announces & {kept.path for kept, _ in self.kept}:
            return "It tells of a group that stays."
        return ""

    def _remove(self, item: Garbage) -> str:
        """Remove an item unless somebody needs it by now; return what prevented that."""
        if self._is_needed(item):
            return "Somebody is at work on it again."
        try:
            self._remove_files(item)
        except StorageError as error:
            self._backend.entries("")  # a storage that does not answer at all ends it here
            return str(error)
        return ""

    def _is_needed(self, item: Garbage) -> bool:
        if item.is_file:
            return False
        manifest_file = f"{item.store}/{MANIFEST}"
        files = self._backend.walk(item.store or item.path)
        own = (file for file in files if file.path.startswith(item.path) or file.path == manifest_file)
        if any(file.modified > item.newest for file in own):
            return True
        manifest = read_manifest(self._backend, item.store) if item.store else None
        return manifest is not None and item.path.endswith(f"/{manifest.attempt}")

    def _remove_files(self, item: Garbage) -> None:
        if item.is_file:
            self._backend.remove_file(item.path)
            return
        if item.store:  # first, for without its group it would look like a store that lost its manifest
            self._backend.remove_file(f"{item.path}.json")
        self._backend.remove(item.path)
