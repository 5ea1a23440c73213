"""Calls for partitions into the one worker that a process has for each extraction, kept from call to call."""

from __future__ import annotations

import asyncio
import threading

from fusion_pipeline.errors import ClusterError
from fusion_pipeline.extract.cluster.assignment import Assignment, Done
from fusion_pipeline.extract.cluster.worker import Worker

_IDLE_SECONDS = 60.0
_LEAVE_SECONDS = 10.0


def work_on(assignment: Assignment, number: int) -> Done:
    """Compute one partition in this process, and write it into the cache, unless that is done already.

    Parameters
    ----------
    assignment : Assignment
    number : int
        Of the partition.

    Returns
    -------
    Done

    Raises
    ------
    ClusterError
        If this process does not see the images or the cache, or would make other features.
    """
    done = None
    while done is None:  # a station may end between the two
        done = Station.of(assignment).work_on(number)
    return done


async def leave_work(token: str) -> None:
    """Leave an extraction; others need not wait for this process then.

    What it is just at it ends first, and nobody waits for that: an event loop that stood still so long would have the
    whole process taken for dead.
    """
    closing = Station.leave(token)
    if closing is not None:
        await asyncio.to_thread(closing.join, _LEAVE_SECONDS)


class Station:
    """What a process keeps between two calls for one extraction: networks, threads, and its place among the writers.

    Parameters
    ----------
    assignment : Assignment
    """

    _all: dict[str, Station] = {}  # noqa: RUF012 - of this process
    _lock = threading.Lock()

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._work = threading.Lock()
        self._worker: Worker | None = None
        self._calls = 0
        self._idle: threading.Timer | None = None
        self._was_left = self._is_closed = False

    @classmethod
    def of(cls, assignment: Assignment) -> Station:
        """Return this process's station for an extraction."""
        with cls._lock:
            return cls._all.setdefault(assignment.token, cls(assignment))

    @classmethod
    def leave(cls, token: str) -> threading.Thread | None:
        """Begin to close the station for an extraction; return what does so, where it has nothing to wait for."""
        with cls._lock:
            station = cls._all.get(token)
        if station is None:
            return None
        station._was_left = True
        is_idle = not station._work.locked()
        closing = threading.Thread(target=station.close, daemon=True, name="leave")
        closing.start()
        return closing if is_idle else None

    def work_on(self, number: int) -> Done | None:
        """Compute a partition; one call at a time, for a network takes all of a device. None if it is closed.

        Raises
        ------
        ClusterError
            As `work_on` says, and if the extraction was left meanwhile: nobody waits for the partition.
        """
        with self._work:
            if self._was_left:
                raise ClusterError("The extraction ended before this partition was begun. Run the same command again.")
            if self._is_closed:
                return None
            self._calls += 1
            if self._idle is not None:
                self._idle.cancel()
            try:
                if self._worker is None:
                    self._worker = Worker(self._assignment)
                return self._worker.work_on(number)
            finally:
                # Whoever waits for partitions of this process must not wait for ever if nobody calls again.
                self._idle = threading.Timer(_IDLE_SECONDS, self.close, kwargs={"unless_called_since": self._calls})
                self._idle.daemon = True
                self._idle.start()

    def close(self, *, unless_called_since: int | None = None) -> None:
        """Leave the attempts, and let go of threads and processes, once nobody is at work."""
        with self._work:
            if self._is_closed or unless_called_since not in (None, self._calls):
                return
            self._is_closed = True
            with self._lock:
                self._all.pop(self._assignment.token, None)
            if self._worker is not None:
                self._worker.leave()
                self._worker = None
