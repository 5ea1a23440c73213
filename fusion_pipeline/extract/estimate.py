"""A folder of images and backbones into what extracting them would compute, write and take, with nothing written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from fusion_pipeline.extract import hub, producers
from fusion_pipeline.extract.backbones import Backbone
from fusion_pipeline.extract.engines.choice import (
    COMPILE_SECONDS,
    COMPILED_GAIN,
    Choice,
    choose_engine,
    find_device,
    foresee_engine,
)
from fusion_pipeline.extract.engines.compiled import CompiledEngine
from fusion_pipeline.extract.forecast import (
    ANY_WEIGHTS,
    Forecaster,
    Outlook,
    PlannedArray,
    State,
    planned_arrays,
    published_arrays,
)
from fusion_pipeline.extract.index_target import IndexTarget
from fusion_pipeline.extract.network import (
    Network,
    build_network,
    build_untrained,
    find_preprocessing,
    with_trained_arguments,
)
from fusion_pipeline.extract.options import Options
from fusion_pipeline.extract.plan import Plan
from fusion_pipeline.extract.sampling import Sample, load_sample, time_forward
from fusion_pipeline.extract.weights import file_sha256, is_published, locate_weights, weights_at_hand
from fusion_pipeline.images.index import refuse_cache_inside
from fusion_pipeline.images.listing import ImageListing
from fusion_pipeline.store import Cache
from fusion_pipeline.store.identity import Recipe
from fusion_pipeline.store.layout import GroupEncoder
from fusion_pipeline.store.storage.places import is_remote


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
        >>> Work(Choice("compiled", "asked for"), 4.0, 8000).seconds == 1000 + COMPILE_SECONDS
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


@dataclass(frozen=True)
class Estimate:
    """What an extraction would do.

    Parameters
    ----------
    rows : int
        Of the data set.
    index : StorePlan
    backbones : tuple of StorePlan
        In the order asked for.
    sample : Sample
        What images took.
    device : str
    threads : int
        That load images.
    writable : bool
        Whether nothing forbids to write to the cache.
    free_bytes : int or None
        Free space at the cache; None where nobody can tell.
    """

    rows: int
    index: StorePlan
    backbones: tuple[StorePlan, ...]
    sample: Sample
    device: str
    threads: int
    writable: bool
    free_bytes: int | None

    @property
    def stores(self) -> tuple[StorePlan, ...]:
        """The index, and the backbones' stores."""
        return self.index, *self.backbones

    @property
    def n_bytes(self) -> int:
        """Length of the values of all arrays that are not published yet, in bytes."""
        return sum(array.n_bytes for plan in self._unpublished for array in plan.arrays)

    @property
    def needed_bytes(self) -> int:
        """Length of the files that are still to be written, about, in bytes."""
        return sum(
            round(array.stored_bytes * (1 - plan.outlook.unfinished / self.rows))
            for plan in self._unpublished
            for array in plan.arrays
        )

    @property
    def has_room(self) -> bool:
        """Whether there is space for these files, as far as anybody can tell."""
        return self.free_bytes is None or self.needed_bytes <= self.free_bytes

    @property
    def load_seconds(self) -> float:
        """Expected seconds of reading and hashing all images, and of decoding those of which rows are computed."""
        left = max(plan.outlook.left for plan in self.stores)
        seconds = self.sample.seconds
        return (self.rows * seconds["read"] + left * (seconds["decode"] + seconds["resize"])) / self.threads

    @property
    def forward_seconds(self) -> float:
        """Expected seconds of all networks, compiling included."""
        return sum(work.seconds for work in self._works)

    @property
    def seconds(self) -> float:
        """Expected duration of the run: networks on a CPU share it with who decodes, those on a GPU do not."""
        both = self.load_seconds, self.forward_seconds
        return sum(both) if self.device == "cpu" else max(both)

    @property
    def limits(self) -> Mapping[str, float | None]:
        """Images per second that each would do alone: reading, decoding (reading included), all networks."""
        read = self.sample.seconds["read"] / self.threads
        decode = sum(self.sample.seconds.values()) / self.threads
        forward = sum(1 / (work.rate * work.gain) for work in self._works)
        return {
            "read": 1 / max(read, 1e-9),
            "decode": 1 / decode if any(plan.outlook.left for plan in self.stores) else None,
            "forward": 1 / forward if forward else None,
        }

    @property
    def slowest(self) -> str:
        """What would hold the run back: one of `limits`."""
        if self.forward_seconds >= self.load_seconds:
            return "forward"
        return "decode" if any(plan.outlook.left for plan in self.stores) else "read"

    @property
    def _unpublished(self) -> list[StorePlan]:
        return [plan for plan in self.stores if plan.outlook.state is not State.PUBLISHED]

    @property
    def _works(self) -> list[Work]:
        return [plan.work for plan in self.backbones if plan.work is not None]


def estimate(folder: ImageListing, backbones: Sequence[Backbone], cache: Cache, options: Options) -> Estimate:
    """Return what `extract` would do with the same arguments; a few images are opened, and nothing is written.

    Parameters
    ----------
    folder : ImageListing
        The images, in their row order.
    backbones : sequence of Backbone
        Which networks to run. Of weights that are not at hand nothing is downloaded.
    cache : Cache
        Where the stores would go.
    options : Options
        How to run.

    Returns
    -------
    Estimate

    Raises
    ------
    FusionError
        What `extract` raises before it opens an image, but for a cache that cannot be written.
    """
    if not is_remote(cache.location):
        refuse_cache_inside(folder.root, cache.location)
    plan = options.plan(find_device(options.device))
    drafts = [_Draft(backbone, options, plan) for backbone in backbones]
    forecaster = Forecaster(cache, folder, anew=options.anew)
    index = IndexTarget(folder, options.budget)
    index_outlook = forecaster.look_up(index.name, index.recipe)
    outlooks = [forecaster.look_up(draft.name, draft.recipe) for draft in drafts]
    made: dict[int, producers.BackboneProducer] = {
        number: draft.producer for number, draft in enumerate(drafts) if outlooks[number].left
    }
    index_producer = [index.producer] if index_outlook.left else []
    sample = load_sample(folder, options, plan.device, [*index_producer, *made.values()])
    rates = {number: 1 / time_forward(producer, sample.images) for number, producer in made.items()}
    return Estimate(
        rows=len(folder),
        index=StorePlan(index.name, index_outlook, _index_arrays(index, index_outlook, folder, options)),
        backbones=tuple(
            draft.to_plan(outlooks[number], rates.get(number), len(folder)) for number, draft in enumerate(drafts)
        ),
        sample=sample,
        device=plan.device,
        threads=options.threads,
        writable=cache.backend.may_write(""),
        free_bytes=cache.backend.free_bytes(),
    )


def _index_arrays(
    index: IndexTarget, outlook: Outlook, folder: ImageListing, options: Options
) -> tuple[PlannedArray, ...]:
    if outlook.store is not None:
        return published_arrays(outlook.store)
    return planned_arrays(GroupEncoder(index.specs(folder), len(folder), options.partition_rows))


class _Draft:
    """A backbone of which a store is to be made, with its weights or still without."""

    def __init__(self, backbone: Backbone, options: Options, plan: Plan) -> None:
        self.name = backbone.name
        self._options = options
        self._plan = plan
        self._preprocessing = find_preprocessing(backbone)
        self._backbone = with_trained_arguments(backbone)
        self._weights = weights_at_hand(backbone)
        self._url: str | None = None
        if self._weights is None and is_published(backbone):
            self._url = hub.needed_files(backbone)[0].url
        elif self._weights is None:
            self._weights = locate_weights(backbone)  # or why that cannot be
        self._sha256 = ANY_WEIGHTS if self._weights is None else file_sha256(self._weights)

    @property
    def recipe(self) -> Recipe:
        """How its store is made."""
        options = self._options
        return producers.backbone_recipe(
            self._backbone, self._preprocessing, self._sha256, options.dtype, options.budget, options.precision
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
            choice = foresee_engine(self.name, network.multiply_adds, self._plan, outlook.unlike)
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
