"""A folder of images and backbones into what extracting them would compute, write and take, with nothing written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fusion_pipeline.extract import producers
from fusion_pipeline.extract.engines.choice import find_device
from fusion_pipeline.extract.estimates.draft import Draft, StorePlan, Work
from fusion_pipeline.extract.estimates.forecast import (
    Forecaster,
    Outlook,
    PlannedArray,
    State,
    planned_arrays,
    published_arrays,
)
from fusion_pipeline.extract.estimates.sampling import Sample, load_sample, time_forward
from fusion_pipeline.extract.index_target import IndexTarget
from fusion_pipeline.extract.networks.backbones import Backbone
from fusion_pipeline.extract.options import Options
from fusion_pipeline.images.index import refuse_cache_inside
from fusion_pipeline.images.listing import ImageListing
from fusion_pipeline.store import Cache
from fusion_pipeline.store.layout import GroupEncoder
from fusion_pipeline.store.storage.places import is_remote


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
    drafts = [Draft(backbone, options, plan) for backbone in backbones]
    forecaster = Forecaster(cache, folder, options)
    index = IndexTarget(folder, options.budget)
    index_outlook = forecaster.look_up(index.name, index.recipe)
    outlooks = [forecaster.look_up(draft.name, draft.recipe) for draft in drafts]
    made: dict[int, producers.BackboneProducer] = {
        number: draft.producer for number, draft in enumerate(drafts) if outlooks[number].left
    }
    index_producer = [index.producer] if index_outlook.left else []
    sample = load_sample(folder, options, plan.device, [*index_producer, *made.values()])
    rates = {number: 1 / time_forward(producer, sample) for number, producer in made.items()}
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
