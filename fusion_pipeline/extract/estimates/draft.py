"""A backbone, with its weights or still without, into its part of an estimate: arrays, weights, engine and duration."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from fusion_pipeline.extract import producers
from fusion_pipeline.extract.engines.before import as_before
from fusion_pipeline.extract.engines.choice import (
    COMPILE_SECONDS,
    COMPILED_GAIN,
    Choice,
    choose_engine,
    describe_device,
    foresee_engine,
)
from fusion_pipeline.extract.engines.compiled import CompiledEngine
from fusion_pipeline.extract.estimates.forecast import (
    ANY_WEIGHTS,
    Outlook,
    PlannedArray,
    State,
    planned_arrays,
    published_arrays,
)
from fusion_pipeline.extract.networks import hub
from fusion_pipeline.extract.networks.backbones import Backbone
from fusion_pipeline.extract.networks.network import (
    Network,
    build_network,
    build_untrained,
    find_preprocessing,
    with_trained_arguments,
)
from fusion_pipeline.extract.networks.taps import tap_rule
from fusion_pipeline.extract.networks.weights import checked_sha256, is_published, locate_weights, weights_at_hand
from fusion_pipeline.extract.options import Options
from fusion_pipeline.extract.plan import Plan
from fusion_pipeline.store.identity import Recipe
from fusion_pipeline.store.layout import GroupEncoder


@dataclass(frozen=True)
class WeightsFile:
    """The weights of a backbone.

    Parameters
    ----------
    path : Path or None
        Where they are on this machine.
    url : str or None
        Where they would be downloaded from.
    n_bytes : int or None
        Length of the file; of one that is not at hand about, from the number of parameters, and None if not known.
    """

    path: Path | None
    url: str | None
    n_bytes: int | None


@dataclass(frozen=True)
class Work:
    """What a network has to do.

    Parameters
    ----------
    choice : Choice
        The engine that would run it, and why.
    rate : float
        Images per second: measured, and where the engine is to be compiled measured before that.
    images : int
        How many there are.
    """

    choice: Choice
    rate: float
    images: int

    @property
    def is_compiled(self) -> bool:
        """Whether the network would be compiled first."""
        return self.choice.engine == CompiledEngine.name

    @property
    def gain(self) -> float:
        """How many times as fast as measured the network is expected to be."""
        return COMPILED_GAIN if self.is_compiled else 1.0

    @property
    def compile_seconds(self) -> float:
        """Expected duration of compiling."""
        return COMPILE_SECONDS if self.is_compiled else 0.0

    @property
    def seconds(self) -> float:
        """Expected duration, compiling included.

        Examples
        --------
        >>> Work(Choice("eager", "asked for"), 4.0, 100).seconds
        25.0
        >>> Work(Choice("compiled", "asked for"), 4.0, 8000).seconds == 2000 / COMPILED_GAIN + COMPILE_SECONDS
        True
        """
        return self.compile_seconds + self.images / (self.rate * self.gain)


@dataclass(frozen=True)
class StorePlan:
    """One store that an extraction would end with.

    Parameters
    ----------
    name : str
    outlook : Outlook
        What the cache has of it.
    arrays : tuple of PlannedArray
    weights : WeightsFile or None
        None for the index.
    work : Work or None
        None where no network has anything to do.
    """

    name: str
    outlook: Outlook
    arrays: tuple[PlannedArray, ...]
    weights: WeightsFile | None = None
    work: Work | None = None


class Draft:
    """A backbone of which a store is to be made, with its weights or still without."""

    def __init__(self, backbone: Backbone, options: Options, plan: Plan) -> None:
        self.name = backbone.name
        self._options = options
        self._plan = plan
        self._preprocessing = find_preprocessing(backbone)
        self._backbone = with_trained_arguments(backbone)
        self._tap = tap_rule(self._backbone)
        self._weights = weights_at_hand(backbone)
        self._url: str | None = None
        if self._weights is None and is_published(backbone):
            self._url = hub.needed_files(backbone)[0].url
        elif self._weights is None:
            self._weights = locate_weights(backbone)  # or why that cannot be
        self._sha256 = ANY_WEIGHTS if self._weights is None else checked_sha256(backbone, self._weights)

    @property
    def recipe(self) -> Recipe:
        """How its store is made."""
        options = self._options
        return producers.backbone_recipe(
            self._backbone,
            self._preprocessing,
            self._sha256,
            options.dtype,
            options.budget,
            options.precision,
            self._tap,
        )

    @cached_property
    def producer(self) -> producers.BackboneProducer:
        """Who makes its rows, with nothing compiled."""
        plan = replace(self._plan, engine="eager")
        engine = choose_engine(self.name, self._network, self._preprocessing, plan)
        return producers.BackboneProducer(self.name, self._preprocessing, engine)

    def to_plan(self, outlook: Outlook, rate: float | None, rows: int) -> StorePlan:
        """Return what is to become of it, given the images per second of its network and the number of rows."""
        if outlook.state is State.PUBLISHED and outlook.store is not None:
            return StorePlan(self.name, outlook, published_arrays(outlook.store), self._weights_file(None))
        network = self._network
        specs = producers.backbone_specs(network, self._options.dtype)
        arrays = planned_arrays(GroupEncoder(specs, rows, self._options.partition_rows))
        work = None
        if rate is not None:
            device = str(describe_device(self._plan.device)["device"])
            plan = as_before(self._plan, device, outlook.made)
            choice = foresee_engine(self.name, network.multiply_adds, plan, outlook.unlike)
            work = Work(choice, rate, outlook.left)
        values = network.module.state_dict().values()
        return StorePlan(self.name, outlook, arrays, self._weights_file(sum(item.nbytes for item in values)), work)

    def _weights_file(self, about: int | None) -> WeightsFile:
        return WeightsFile(self._weights, self._url, about if self._weights is None else self._weights.stat().st_size)

    @cached_property
    def _network(self) -> Network:
        size = self._preprocessing.input_size
        if self._weights is None:
            return build_untrained(self._backbone, size)
        return build_network(self._backbone, self._weights, size, self._sha256)
