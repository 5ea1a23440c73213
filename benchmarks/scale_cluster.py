"""A cluster that makes partitions, event by event, into the hours it takes, the work it loses and who stands idle.

Workers take the partitions in order. Each has its own rate, all share the storage, through which the bytes of a
partition go while it is computed. A worker dies at random times and comes back; what it was at is lost. The scheduler
gives the partition to another worker, who waits for the dead one's lease to lapse, as the constants of this project
have it. A worker that begins, or begins again, first reads and compares what is finished if that is asked for.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from fusion_pipeline.store.making.presence import SILENT_SECONDS

ALLOWED_FAILURES = 3
"""How often Dask makes a call again whose worker died; once more, and the run stops and has to be begun again."""

WORKER_TTL_SECONDS = 300.0
"""After how long Dask's scheduler takes a machine that fell silent for dead, by its defaults."""


@dataclass(frozen=True)
class ClusterPlan:
    """A cluster and its work.

    Parameters
    ----------
    images : int
    partition_rows : int
        Images of one call.
    workers : int
    rate : float
        Images per second of a worker.
    bytes_per_image : float
        What an image moves through the storage: its file, and its rows of all stores.
    bandwidth : float
        Bytes per second of the storage, for all together.
    overhead : float
        Seconds of a call in which nothing is computed: leases, records, syncing, the scheduler.
    between_failures : float
        Mean seconds of work after which a worker dies; infinite for never.
    away : float
        Seconds until it is back.
    noticed : float
        Seconds until the scheduler knows that it is dead.
    lease : float
        Seconds for which the next one waits for the lease.
    checked_bytes : float
        Bytes per image that a worker reads of what is finished when it begins.
    read_rate : float
        Bytes per second at which one worker reads and compares them.
    seed : int
    """

    images: int
    partition_rows: int
    workers: int
    rate: float
    bytes_per_image: float = 0.0
    bandwidth: float = math.inf
    overhead: float = 0.0
    between_failures: float = math.inf
    away: float = 120.0
    noticed: float = WORKER_TTL_SECONDS
    lease: float = SILENT_SECONDS
    checked_bytes: float = 0.0
    read_rate: float = 1e9
    seed: int = 0

    @property
    def partitions(self) -> int:
        """Number of calls."""
        return -(-self.images // self.partition_rows)

    def rows(self, partition: int) -> int:
        """Images of one partition: the last one may have fewer."""
        return min(self.partition_rows, self.images - partition * self.partition_rows)


@dataclass(frozen=True)
class ClusterRun:
    """What a simulation showed.

    Parameters
    ----------
    seconds : float
        From the first call to the last result.
    lost : float
        Share of all computing that was lost with its workers.
    idle : float
        Share of the workers' time in which there was no partition left to take.
    waited : float
        Share of the workers' time that was waited for storage, leases and checks.
    deaths : int
    most_losses : int
        How often the unluckiest partition was lost.
    """

    seconds: float
    lost: float
    idle: float
    waited: float
    deaths: int
    most_losses: int

    @property
    def stops(self) -> bool:
        """Whether a partition was lost so often that Dask gives up."""
        return self.most_losses > ALLOWED_FAILURES


class _Happens(IntEnum):
    DONE, DIED, BACK, READY, AGAIN = range(5)


@dataclass(order=True, frozen=True)
class _Event:
    at: float
    number: int
    what: _Happens
    worker: int = -1
    partition: int = -1
    started: float = 0.0


class _Simulation:
    """The state of a cluster between two events."""

    def __init__(self, plan: ClusterPlan) -> None:
        self._plan = plan
        self._random = random.Random(plan.seed)
        self._events: list[_Event] = []
        self._numbers = itertools.count()
        self._fresh = iter(range(plan.partitions))
        self._again: deque[int] = deque()
        self._idle: dict[int, float] = {}
        self._losses: Counter[int] = Counter()
        self._storage_free = self._now = 0.0
        self._finished_rows = 0
        self._lost = self._computed = self._waited = self._idled = 0.0

    def run(self) -> ClusterRun:
        """Go from event to event until every partition is done."""
        for worker in range(self._plan.workers):
            self._take(worker)
        for _ in range(self._plan.partitions):
            self._until_one_is_done()
        total = self._plan.workers * self._now
        self._idled += sum(self._now - since for since in self._idle.values())
        return ClusterRun(
            seconds=self._now,
            lost=self._lost / (self._computed + self._lost),
            idle=self._idled / total,
            waited=self._waited / total,
            deaths=self._losses.total(),
            most_losses=max(self._losses.values(), default=0),
        )

    def _until_one_is_done(self) -> None:
        while True:
            event = heapq.heappop(self._events)
            self._now = event.at
            match event.what:
                case _Happens.DONE:
                    return self._finish(event)
                case _Happens.DIED:
                    self._lose(event)
                case _Happens.BACK:
                    self._check(event.worker)
                case _Happens.READY:
                    self._take(event.worker)
                case _Happens.AGAIN:
                    self._offer(event.partition)

    def _take(self, worker: int) -> None:
        """Give a worker its next partition; without one it stands idle."""
        plan, was_lost = self._plan, bool(self._again)
        partition = self._again.popleft() if was_lost else next(self._fresh, None)
        if partition is None:
            self._idle[worker] = self._now
            return
        rows, start = plan.rows(partition), self._now + (plan.lease if was_lost else 0.0)
        # Whoever comes first is served first, at full width: all together wait as long as if they shared it.
        self._storage_free = max(self._now, self._storage_free) + rows * plan.bytes_per_image / plan.bandwidth
        computed = start + rows / plan.rate
        end = max(computed, self._storage_free) + plan.overhead
        dies = self._now + self._lifetime()
        if dies < end:
            self._put(dies, _Happens.DIED, worker, partition, start)
        else:
            self._waited += start - self._now + max(0.0, end - plan.overhead - computed)
            self._put(end, _Happens.DONE, worker, partition, start)

    def _finish(self, event: _Event) -> None:
        rows = self._plan.rows(event.partition)
        self._finished_rows += rows
        self._computed += rows / self._plan.rate
        self._take(event.worker)

    def _lose(self, event: _Event) -> None:
        plan = self._plan
        self._lost += min(max(0.0, self._now - event.started), plan.rows(event.partition) / plan.rate)
        self._losses[event.partition] += 1
        self._put(self._now + plan.noticed, _Happens.AGAIN, partition=event.partition)
        self._put(self._now + plan.away, _Happens.BACK, event.worker)

    def _check(self, worker: int) -> None:
        """Take a worker back, who reads what is finished before it does anything."""
        seconds = self._finished_rows * self._plan.checked_bytes / self._plan.read_rate
        self._waited += seconds
        self._put(self._now + seconds, _Happens.READY, worker)

    def _offer(self, partition: int) -> None:
        """Have a lost partition made by who is next, at once if somebody stands idle."""
        self._again.append(partition)
        if self._idle:
            worker, since = self._idle.popitem()
            self._idled += self._now - since
            self._take(worker)

    def _put(self, at: float, what: _Happens, worker: int = -1, partition: int = -1, started: float = 0.0) -> None:
        heapq.heappush(self._events, _Event(at, next(self._numbers), what, worker, partition, started))

    def _lifetime(self) -> float:
        """Return for how long a worker goes on living: that does not depend on how long it has lived."""
        mean = self._plan.between_failures
        return self._random.expovariate(1 / mean) if mean < math.inf else math.inf


def simulate(plan: ClusterPlan) -> ClusterRun:
    """Run a plan."""
    return _Simulation(plan).run()


def cluster_table(plans: Iterable[ClusterPlan]) -> Iterator[str]:
    """Yield a line for each plan, with what its simulation showed."""
    yield (
        f"{'images':>13} {'partition':>9} {'workers':>7} {'hours':>9} {'of ideal':>8} {'lost':>7} {'idle':>7} "
        f"{'waited':>7} {'deaths':>7} {'stops':>5}"
    )
    for plan in plans:
        run = simulate(plan)
        ideal = plan.images / plan.rate / plan.workers
        yield (
            f"{plan.images:>13,} {plan.partition_rows:>9,} {plan.workers:>7,} {run.seconds / 3600:>9.2f} "
            f"{run.seconds / ideal:>8.2f} {run.lost:>7.2%} {run.idle:>7.2%} {run.waited:>7.2%} {run.deaths:>7,} "
            f"{'yes' if run.stops else 'no':>5}"
        )
