"""An extraction on many machines: each partition a call, which whoever is free makes and writes into the one cache."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from fusion_pipeline.errors import UsageError
from fusion_pipeline.extract.backbone_target import BackboneTarget
from fusion_pipeline.extract.cluster.assignment import Assignment, Done, Maker
from fusion_pipeline.extract.cluster.station import leave_work, work_on
from fusion_pipeline.extract.engines.choice import find_device
from fusion_pipeline.extract.networks.backbones import Backbone
from fusion_pipeline.extract.options import Options
from fusion_pipeline.extract.passes import Crew, Passes
from fusion_pipeline.extract.targets import greatest
from fusion_pipeline.images.decode import Reason


class Spread(Protocol):
    """Whoever makes calls elsewhere: `fusion_pipeline.cluster.Cluster`."""

    def map(
        self, function: Callable[[Any, int], Done], shared: Any, items: Sequence[int], names: Sequence[str]
    ) -> Iterator[tuple[int, Done]]:
        """Call a function with what all calls share and an item each; yield what is done first."""
        ...

    def everywhere(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a coroutine function once in each process that may have been called."""
        ...


class SpreadPasses(Passes):
    """Passes whose first one is made by others; what they leave undone is completed here.

    Parameters
    ----------
    spread : Spread
        Who makes it.
    asked : Options
        What they are to go by: `options` is what this machine goes by.
    backbones : sequence of Backbone
        Those of the targets.
    *arguments
        As `Passes` has them.
    """

    def __init__(self, spread: Spread, asked: Options, backbones: Sequence[Backbone], *arguments: Any) -> None:
        super().__init__(*arguments)
        self._spread = spread
        self._asked = asked
        self._backbones = tuple(map(_known_elsewhere, backbones))
        self._makers: dict[str, Maker] = {}

    @property
    def crew(self) -> Crew:
        """Who computes: the workers together, as soon as one of them has made something."""
        makers = self._makers.values()
        if not makers:
            return super().crew
        decoders, readers = sum(maker.decoders for maker in makers), sum(maker.readers for maker in makers)
        return Crew(len(makers), decoders, readers, max(maker.device for maker in makers))

    def _first_pass(self) -> dict[int, Reason]:
        assignment = self._assignment()
        numbers = [number for number, _ in self._partitions()]
        done: dict[int, Done] = {}
        names = [f"Partition {number}" for number in numbers]
        with self._progress(", ".join(assignment.wanted) or "checking", len(self._folder)) as advance:
            try:
                for number, result in self._spread.map(work_on, assignment, numbers, names):
                    done[number] = result
                    advance(len(result.sha256))
            finally:
                self._spread.everywhere(leave_work, assignment.token)
        for number in numbers:
            self._take(done[number])
        # The workers work beside each other: what each took, on average, goes with what all of them can do.
        self.meter.duration += sum(result.meter.duration for result in done.values()) / self.crew.machines
        if self.options.on_bad != "stop":
            return {}
        return {row: reason for result in done.values() for row, reason in result.bad.items()}

    def _assignment(self) -> Assignment:
        begun = [target for target in self._targets if target.is_open]
        return Assignment(
            folder=replace(self._folder, root=self._folder.root.absolute()),
            backbones=self._backbones,
            cache=self._cache.location,
            options=self._asked,
            wanted={target.name: dict(target.recipe) for target in begun},
            worth_compiling={item.name: item.worth_compiling for item in begun if isinstance(item, BackboneTarget)},
            token=uuid.uuid4().hex,
        )

    def _take(self, result: Done) -> None:
        self._sha256 += result.sha256
        self.meter.add(result.meter)
        self._makers[result.maker.name] = result.maker
        for target in self._targets:
            target.computed += result.computed.get(target.name, 0)
            target.measured_elsewhere = greatest(target.measured_elsewhere, result.measured.get(target.name, {}))


def device_here(name: str) -> str:
    """Return the device of this machine for what workers leave undone: theirs, or what there is.

    Parameters
    ----------
    name : str
        The workers' device.

    Examples
    --------
    >>> device_here("cpu")
    'cpu'
    """
    try:
        return find_device(name)
    except UsageError:
        return find_device("auto")


def _known_elsewhere(backbone: Backbone) -> Backbone:
    """Return a record whose weights, if they are a file, are named so that every working directory will do."""
    path = None if backbone.weights is None else Path(backbone.weights).expanduser()
    return backbone if path is None or not path.is_file() else replace(backbone, weights=str(path.absolute()))
