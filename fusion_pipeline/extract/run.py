"""A folder of images into published stores, in one pass over the images."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from fusion_pipeline.errors import UsageError
from fusion_pipeline.extract.backbone_target import BackboneTarget
from fusion_pipeline.extract.cluster.spread import Spread, SpreadPasses, device_here
from fusion_pipeline.extract.engines.choice import check_engine, find_device
from fusion_pipeline.extract.index_target import IndexTarget
from fusion_pipeline.extract.networks.backbones import Backbone
from fusion_pipeline.extract.options import Options
from fusion_pipeline.extract.passes import Passes, Progress, StoreResult, silent
from fusion_pipeline.extract.targets import Target
from fusion_pipeline.extract.verdict import Verdict, judge
from fusion_pipeline.images.decode import Reason
from fusion_pipeline.images.index import refuse_cache_inside
from fusion_pipeline.images.listing import ImageListing
from fusion_pipeline.store import Cache
from fusion_pipeline.store.making.unfinished import tidy_published
from fusion_pipeline.store.storage.places import is_remote


@dataclass(frozen=True)
class Extraction:
    """What `extract` did.

    Parameters
    ----------
    index : StoreResult
        The data set's index.
    backbones : tuple of StoreResult
        One for each backbone, in the order asked for.
    bad : mapping of str to Reason
        The samples that could not be decoded.
    opens : int
        Image files opened.
    seconds : float
        Duration.
    verdict : Verdict
        What held the run back.
    """

    index: StoreResult
    backbones: tuple[StoreResult, ...]
    bad: Mapping[str, Reason]
    opens: int
    seconds: float
    verdict: Verdict

    @property
    def images_per_second(self) -> float:
        """Images of the data set per second of the whole run."""
        return self.index.store.rows / self.seconds


def extract(
    folder: ImageListing,
    backbones: Sequence[Backbone],
    cache: Cache,
    options: Options | None = None,
    progress: Progress | None = None,
    tell: Callable[[str], object] = lambda _line: None,
    spread: Spread | None = None,
) -> Extraction:
    """Run backbones over a folder of images and publish what they give, or find it published.

    Every image file is opened once, whatever the number of backbones; a second time only if its data set changed.
    A stopped run is resumed by the same call.

    Parameters
    ----------
    folder : ImageListing
        The images, in their row order.
    backbones : sequence of Backbone
        Which networks to run.
    cache : Cache
        Where the stores go.
    options : Options, optional
        How to run.
    progress : callable, optional
        Shows how far the run is.
    tell : callable, optional
        Takes a line for people about what happens.
    spread : Spread, optional
        Where partitions are computed, if not here.

    Returns
    -------
    Extraction

    Raises
    ------
    UnusableDataError
        If images cannot be decoded and ``on_bad`` is ``"stop"``, or features are not finite.
    UsageError
        If options do not go together, or this machine has no such device.
    StaleError
        If an image changes while the run reads it.
    StorageError
        If the cache cannot be written; finished partitions stay and the same call resumes.
    ClusterError
        If workers, or what they have in common, are lost.
    """
    started = time.perf_counter()
    options = options or Options()
    if not is_remote(cache.location):
        refuse_cache_inside(folder.root, cache.location)
    cache.backend.check_writable()
    tidy_published(cache.backend, folder.name)
    if spread is not None and cache.single_writer:
        raise UsageError("--single-writer and --scheduler exclude each other: every worker writes into the cache.")
    here = options if spread is None else replace(options, device=device_here(options.device))
    plan = here.plan(find_device(here.device))
    if spread is None:
        check_engine(plan)
    targets: list[Target] = [
        IndexTarget(folder, options.budget),
        *(BackboneTarget(backbone, options.dtype, plan, options.budget, tell) for backbone in backbones),
    ]
    arguments = folder, targets, cache, here, progress or silent, tell
    run = Passes(*arguments) if spread is None else SpreadPasses(spread, options, backbones, *arguments)
    try:
        index, *stores = run.publish_all()
    finally:
        run.close()
    cache[folder.name].mark_current(index.store, [result.store for result in stores])
    seconds = time.perf_counter() - started
    return Extraction(index, tuple(stores), index.bad, run.meter.opens, seconds, _judged(run, options))


def _judged(run: Passes, options: Options) -> Verdict:
    crew = run.crew
    return judge(
        run.meter,
        crew.decoders,
        _faster(options, crew.device),
        readers=crew.readers,
        machines=crew.machines,
        by_turns=crew.device == "cpu",
    )


def _faster(options: Options, device: str) -> str:
    """Return what would make forward passes faster."""
    if device != "cpu":
        return "--precision float16" if options.precision == "float32" else "Another GPU, or fewer backbones,"
    return "--engine auto" if options.engine == "eager" else "A GPU, or fewer backbones,"


def mend(
    folder: ImageListing,
    target: Target,
    cache: Cache,
    options: Options,
    progress: Progress,
    tell: Callable[[str], object],
) -> StoreResult:
    """Make a damaged store anew of what is left of it, computing only the partitions that are not good any more.

    Parameters
    ----------
    folder : ImageListing
        The very images that it was made of.
    target : Target
        The store.
    cache, options, progress, tell
        As `extract` has them; partition rows and batch size should be those of the store.

    Returns
    -------
    StoreResult
        The store as it is published now.
    """
    run = Passes(folder, [target], cache, replace(options, mend=True), progress, tell)
    try:
        (result,) = run.publish_all()
    finally:
        run.close()
    return result
