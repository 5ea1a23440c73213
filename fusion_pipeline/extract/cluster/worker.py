"""An assignment into partitions in the cache, one as each is asked for: the passes of one worker."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from fusion_pipeline import __version__
from fusion_pipeline.errors import ClusterError, IncompleteError, UsageError, printable
from fusion_pipeline.extract.backbone_target import BackboneTarget
from fusion_pipeline.extract.cluster.assignment import Assignment, Done, Maker
from fusion_pipeline.extract.engines.choice import check_engine, find_device
from fusion_pipeline.extract.index_target import IndexTarget
from fusion_pipeline.extract.loading.loader import ImageLoader
from fusion_pipeline.extract.meter import Meter
from fusion_pipeline.extract.passes import Passes, silent
from fusion_pipeline.extract.rows import PartitionRows
from fusion_pipeline.extract.targets import Target
from fusion_pipeline.store import Cache
from fusion_pipeline.store.identity import differences, digest


class Worker(Passes):
    """The passes of one worker: partition by partition, as they are asked for.

    Parameters
    ----------
    assignment : Assignment

    Raises
    ------
    ClusterError
        If this process does not see the images, the weights or the cache, or would make other features.
    """

    _computes_a_few = True

    def __init__(self, assignment: Assignment) -> None:
        check_worker(assignment)
        options, folder = assignment.options, assignment.folder
        cache = Cache(assignment.cache)
        super().__init__(folder, _targets(assignment), cache, options, silent, lambda _line: None)
        try:
            self._begin(self._targets)
            self._check_place(cache)
        except BaseException:
            self.close()
            raise
        self._measured: dict[str, Mapping[str, float]] = {}
        self._stack = ExitStack()
        self._loading: ImageLoader | None = None

    def work_on(self, number: int) -> Done:
        """Compute a partition, or wait for whoever is at it, or was."""
        started = time.perf_counter()
        self.meter = Meter()
        before = {target.name: target.computed for target in self._targets}
        missing = [target for target in self._targets if target.is_open and not target.has(number)]
        pending = [target for target in missing if target.claim(number)]
        result = self._compute(number, pending)
        late = [target for target in missing if target not in pending]
        late = [target for target in late if target.is_open and not target.wait(number, result.sha256)]
        if late and not result.bad:
            self._compute(number, late)
        self.meter.duration += time.perf_counter() - started
        computed = {target.name: target.computed - before[target.name] for target in self._targets}
        measured = {target.name: self._measure(target) for target in self._targets}
        maker = Maker(_place(), self._device, self.options.threads, self._readers)
        return Done(result.sha256, result.bad, computed, measured, self.meter, maker)

    def leave(self) -> None:
        """Leave the attempts, and let go of threads and processes."""
        self.meter = Meter()  # what the calls cost is told by now
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

    def _measure(self, target: Target) -> Mapping[str, float]:
        """Return what was measured of a target's engine, once it has computed something."""
        if target.name not in self._measured:
            measured = dict(target.measured())
            if not measured:
                return {}
            self._measured[target.name] = measured
        return self._measured[target.name]

    def _check_place(self, cache: Cache) -> None:
        """Refuse to work where who submits, who is among the writers of each store, is not met."""
        if not all(target.others() for target in self._targets):
            raise ClusterError(
                f"Worker {_place()} does not see the others in the cache '{printable(cache.location)}'. "
                "Give --cache a place that all workers share."
            )


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


def _targets(assignment: Assignment) -> list[Target]:
    """Return the stores that are wanted, as they are to be made."""
    options = assignment.options
    try:
        plan = check_engine(options.plan(find_device(options.device)))
        targets: list[Target] = [IndexTarget(assignment.folder, options.budget)]
        for backbone in assignment.backbones:
            worth = assignment.worth_compiling.get(backbone.name)
            own = replace(plan, worth_compiling=worth)
            targets.append(BackboneTarget(backbone, options.dtype, own, options.budget))
    except (UsageError, IncompleteError) as error:
        raise ClusterError(f"Worker {_place()} cannot begin: {error}") from None
    needed = [target for target in targets if target.name in assignment.wanted]
    for target in needed:
        _check_recipe(target, assignment.wanted[target.name])
    return needed


def _check_recipe(target: Target, wanted: Mapping[str, Any]) -> None:
    if digest(dict(target.recipe)) != digest(dict(wanted)):
        listed = "; ".join(differences(dict(wanted), dict(target.recipe)))
        raise ClusterError(
            f"Worker {_place()} would make '{printable(target.name)}' otherwise: {printable(listed)}. "
            "Install the same versions and weights there."
        )


def _place() -> str:
    return f"'{printable(os.uname().nodename)}' (process {os.getpid()})"
