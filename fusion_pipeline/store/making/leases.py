"""A partition into the one living writer who computes it just now: advice, so that no work is done twice."""

from __future__ import annotations

import itertools
import re
from enum import Enum

from fusion_pipeline.store.making.presence import Watch
from fusion_pipeline.store.making.unfinished import CLAIMS, WRITERS, join_writers
from fusion_pipeline.store.storage.backend import Backend

_NONCE = re.compile(rb"[0-9a-f]{16}")


class Lease(Enum):
    """How asking for the lease of a partition ended."""

    MINE = "mine"
    FROM_THE_DEAD = "taken over from a dead writer"
    HELD = "held by a living writer"


class Leases:
    """One writer's leases in an attempt, and the writer's own presence there.

    A lease is a file that is created if absent and holds the writer's nonce. It is never given back: a partition that
    is done has a record, and who dies or leaves is no longer present. The lease of such a writer is not broken but
    followed by one of the next generation, so that of several who take it over exactly one does.

    Parameters
    ----------
    backend : Backend
        The cache.
    folder : str
        The attempt's.
    """

    def __init__(self, backend: Backend, folder: str) -> None:
        self._backend = backend
        self._folder = folder
        self._presence = join_writers(backend, folder)
        self._watch = Watch(backend, f"{folder}/{WRITERS}")
        self._generations: dict[int, int] = {}

    @property
    def nonce(self) -> str:
        """Name of this writer."""
        return self._presence.nonce

    def take(self, partition: int) -> Lease:
        """Take the lease of a partition, unless a living writer holds it."""
        first = self._generations.get(partition, 0)
        for generation in itertools.count(first):
            self._generations[partition] = generation
            holder = self._hold(f"{self._folder}/{CLAIMS}/{partition}-{generation}")
            if holder == self.nonce:
                return Lease.MINE if generation == 0 else Lease.FROM_THE_DEAD
            if self._watch.lives(holder):
                break
        return Lease.HELD

    def others(self) -> list[str]:
        """Return who else is at work on the attempt, for people."""
        found = (nonce for nonce in self._watch.writers() if nonce != self.nonce)
        return [self._watch.describe(nonce) for nonce in found if self._watch.lives(nonce)]

    def is_surely_dead(self, nonce: str) -> bool:
        """Return whether a writer has left, or the operating system says that it is dead."""
        return self._watch.is_surely_dead(nonce)

    def leave(self) -> None:
        """End this writer's presence, and with it all its leases."""
        self._presence.leave()

    def _hold(self, path: str) -> str:
        """Create a lease, or find it; return whose it is, or nothing if it is damaged: then it is nobody's."""
        if self._backend.create(path, self.nonce.encode()):
            return self.nonce
        holder = self._backend.read(path) or b""
        return holder.decode() if _NONCE.fullmatch(holder) else ""
