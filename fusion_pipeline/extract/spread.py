"""An extraction on many machines: each partition a call, which whoever is free makes and writes into the one cache."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Protocol

from fusion_pipeline import __version__
from fusion_pipeline.errors import ClusterError, printable
from fusion_pipeline.extract.backbone_target import BackboneTarget
from fusion_pipeline.extract.backbones import Backbone
from fusion_pipeline.extract.engines.choice import find_device
from fusion_pipeline.extract.index_target import IndexTarget
from fusion_pipeline.extract.loading import ImageLoader
from fusion_pipeline.extract.meter import Meter
from fusion_pipeline.extract.options import Options
from fusion_pipeline.extract.passes import Passes, silent
from fusion_pipeline.extract.rows import PartitionRows
from fusion_pipeline.extract.targets import Target
from fusion_pipeline.images.decode import Reason
from fusion_pipeline.images.listing import ImageListing
from fusion_pipeline.store import Cache
from fusion_pipeline.store.identity import differences, digest

_IDLE_SECONDS = 60.0


class Spread(Protocol):
    """Whoever makes calls elsewhere: `fusion_pipeline.cluster.Cluster`."""

    def map(
        self, function: Callable[[Any, int], Done], shared: Any, items: Sequence[int], names: Sequence[str]
    ) -> Iterator[tuple[int, Done]]:
        """Call a function with what all calls share and an item each; yield what is done first."""
        ...

    def everywhere(self, function: Callable[[], object]) -> None:
        """Call a function once in each process that may have been called."""
        ...


@dataclass(frozen=True)
class Assignment:
    """What every worker is to make.

    Parameters
    ----------
    folder : ImageListing
        The images, at a path that all workers have.
    backbones : tuple of Backbone
    cache : str
        At a place that all workers have.
    single_writer : bool
    options : Options
    wanted : mapping of str to dict
        The recipe of each store that is not published yet, by its name.
    token : str
        Of the extraction.
    version : str
        Of this program.
    """

    folder: ImageListing
    backbones: tuple[Backbone, ...]
    cache: str
    single_writer: bool
    options: Options
    wanted: Mapping[str, Mapping[str, Any]]
    token: str
    version: str = __version__


@dataclass(frozen=True)
class Done:
    """What one call did.

    Parameters
    ----------
    sha256 : tuple of str
        Of the partition's images.
    bad : mapping of int to Reason
        Its rows without an image.
    computed : mapping of str to int
        Rows that were computed, by the name of the store.
    measured : mapping of str to mapping
        What was measured of the device that computed them, by the name of the store.
    meter : Meter
        What the call cost.
    worker : str
        Where it was made.
    """

    sha256: tuple[str, ...]
    bad: Mapping[int, Reason]
    computed: Mapping[str, int]
    measured: Mapping[str, Mapping[str, Any]]
    meter: Meter
    worker: str


class SpreadPasses(Passes):
    """Passes whose first one is made by others; what they leave undone is completed here.

    Parameters
    ----------
    spread : Spread
        Who makes it.
    backbones : sequence of Backbone
        Those of the targets.
    *arguments
        As `Passes` has them.
    """

    def __init__(self, spread: Spread, backbones: Sequence[Backbone], *arguments: Any) -> None:
        super().__init__(*arguments)
        self._spread = spread
        self._backbones = tuple(backbones)

    def _first_pass(self) -> dict[int, Reason]:
        wanted = {target.name: dict(target.recipe) for target in self._targets if target.is_open}
        assignment = Assignment(
            replace(self._folder, root=self._folder.root.absolute()),
            self._backbones,
            self._cache.location,
            self._cache.single_writer,
            self.options,
            wanted,
            uuid.uuid4().hex,
        )
        numbers = [number for number, _ in self._partitions()]
        done: dict[int, Done] = {}
        names = [f"Partition {number}" for number in numbers]
        with self._progress(", ".join(wanted) or "checking", len(self._folder)) as advance:
            try:
                for number, result in self._spread.map(work_on, assignment, numbers, names):
                    done[number] = result
                    advance(len(result.sha256))
            finally:
                self._spread.everywhere(leave_work)
        for number in numbers:
            self._take(done[number])
        if self.options.on_bad != "stop":
            return {}
        return {row: reason for result in done.values() for row, reason in result.bad.items()}

    def _take(self, result: Done) -> None:
        self._sha256 += result.sha256
        self.meter.add(result.meter)
        self.meter.duration += result.meter.duration
        for target in self._targets:
            target.computed += result.computed.get(target.name, 0)
            target.measured_elsewhere = result.measured.get(target.name) or target.measured_elsewhere


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
    return _Station.of(assignment).work_on(number)


def leave_work() -> None:
    """Leave whatever this process was at work on; others need not wait for it then."""
    _Station.close_all()


class _Station:
    """What a process keeps between two calls for one extraction: networks, threads, and its place among the writers."""

    _all: dict[str, _Station] = {}  # noqa: RUF012 - of this process
    _lock = threading.Lock()

    def __init__(self, assignment: Assignment) -> None:
        self._work = threading.Lock()
        self._run = _WorkerPasses(assignment)
        self._timer: threading.Timer | None = None

    @classmethod
    def of(cls, assignment: Assignment) -> _Station:
        """Return this process's station for an extraction."""
        with cls._lock:
            if assignment.token not in cls._all:
                cls._all[assignment.token] = cls(assignment)
            return cls._all[assignment.token]

    @classmethod
    def close_all(cls) -> None:
        """Close all stations of this process."""
        with cls._lock:
            stations, cls._all = list(cls._all.values()), {}
        for station in stations:
            station.close()

    def work_on(self, number: int) -> Done:
        """Compute a partition; one call at a time, for a network takes all of a device."""
        with self._work:
            if self._timer is not None:
                self._timer.cancel()
            try:
                return self._run.work_on(number)
            finally:
                # Whoever waits for partitions of this process must not wait for ever if nobody calls again.
                self._timer = threading.Timer(_IDLE_SECONDS, self.close_all)
                self._timer.daemon = True
                self._timer.start()

    def close(self) -> None:
        """Leave the attempts, and let go of threads and processes."""
        with self._work:
            if self._timer is not None:
                self._timer.cancel()
            self._run.leave()


class _WorkerPasses(Passes):
    """The passes of one worker: partition by partition, as they are asked for."""

    def __init__(self, assignment: Assignment) -> None:
        check_worker(assignment)
        plan = assignment.options.plan(find_device(assignment.options.device))
        options, folder = assignment.options, assignment.folder
        targets: list[Target] = [
            IndexTarget(folder, options.budget),
            *(BackboneTarget(item, options.dtype, plan, options.budget) for item in assignment.backbones),
        ]
        cache = Cache(assignment.cache, single_writer=assignment.single_writer)
        needed = [target for target in targets if target.name in assignment.wanted]
        for target in needed:
            _check_recipe(target, assignment.wanted[target.name])
        super().__init__(folder, needed, cache, options, silent, lambda _line: None)
        self._begin(needed)
        for target in needed:
            if not target.others():
                self.close()
                raise ClusterError(
                    f"Worker {_place()} does not see the others in the cache '{printable(cache.location)}'. "
                    "Give --cache a place that all workers share."
                )
        self._measured: dict[str, Mapping[str, Any]] = {}
        self._stack = ExitStack()
        self._loading: ImageLoader | None = None

    def work_on(self, number: int) -> Done:
        """Compute a partition, or wait for whoever is at it, or was."""
        self.meter = Meter()
        before = {target.name: target.computed for target in self._targets}
        missing = [target for target in self._targets if target.is_open and not target.has(number)]
        pending = [target for target in missing if target.claim(number)]
        result = self._compute(number, pending)
        late = [target for target in missing if target not in pending]
        late = [target for target in late if target.is_open and not target.wait(number, result.sha256)]
        if late and not result.bad:
            self._compute(number, late)
        computed = {target.name: target.computed - before[target.name] for target in self._targets}
        return Done(
            result.sha256,
            result.bad,
            computed,
            {target.name: self._measure(target) for target in self._targets},
            self.meter,
            _place(),
        )

    def leave(self) -> None:
        """Leave the attempts, and let go of threads and processes."""
        self._stack.close()
        self.close()

    def _compute(self, number: int, targets: Sequence[Target]) -> PartitionRows:
        if self._loading is None:
            self._loading = self._stack.enter_context(self._loader("", 0))
        self._loading.meter = self.meter
        job = self._job(number, self._rows(number), targets, check=bool(targets))
        (result,) = (result for _, _, result in self._results(self._loading, iter([job])))
        if not (result.bad and self.options.on_bad == "stop"):
            self._write(job, self._rows(number), targets, result)
            self._writer.wait()
        return result

    def _measure(self, target: Target) -> Mapping[str, Any]:
        """Return what was measured of a target's engine, once it has computed something."""
        if target.name not in self._measured:
            measured = dict(target.measured())
            if not measured:
                return {}
            self._measured[target.name] = measured
        return self._measured[target.name]


def check_worker(assignment: Assignment) -> None:
    """Refuse to work where the images are not, or by another version of this program.

    Raises
    ------
    ClusterError
    """
    if assignment.version != __version__:
        raise ClusterError(
            f"Worker {_place()} has fusion-pipeline {__version__}, this machine {assignment.version}. Install the same."
        )
    if not os.path.exists(assignment.folder.root):
        raise ClusterError(
            f"Worker {_place()} does not see the images at '{printable(str(assignment.folder.root))}'. "
            "Give --data a path that all workers have."
        )


def _check_recipe(target: Target, wanted: Mapping[str, Any]) -> None:
    if digest(dict(target.recipe)) != digest(dict(wanted)):
        listed = "; ".join(differences(dict(wanted), dict(target.recipe)))
        raise ClusterError(
            f"Worker {_place()} would make '{printable(target.name)}' otherwise: {printable(listed)}. "
            "Install the same versions and weights there."
        )


def _place() -> str:
    return f"'{printable(os.uname().nodename)}' (process {os.getpid()})"
