"""Settings into the objects that the library's functions take."""

from __future__ import annotations

import functools
import math
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fusion_pipeline.commands import clusters, shelf
from fusion_pipeline.config import Settings
from fusion_pipeline.errors import FusionError, IncompleteError, UsageError, printable

if TYPE_CHECKING:
    from fusion_pipeline.extract.estimates.estimate import Estimate
    from fusion_pipeline.extract.options import Options
    from fusion_pipeline.extract.passes import Progress
    from fusion_pipeline.extract.repair import Repair
    from fusion_pipeline.extract.run import Extraction
    from fusion_pipeline.extract.source import SourceDifference
    from fusion_pipeline.images.listing import ImageListing
    from fusion_pipeline.predict import Predictor
    from fusion_pipeline.store import Cache
    from fusion_pipeline.train.fusion import Fusion
    from fusion_pipeline.train.run import Training


def image_folder(
    settings: Settings, fetch: Callable[[str], object] | None = None, *, keep_absent: bool = False
) -> ImageListing:
    """Return the images that the settings name.

    Parameters
    ----------
    settings : Settings
    fetch : callable, optional
        Allows a data set that goes by name to be downloaded, and takes lines for people about that.
    keep_absent : bool
        Keep rows for images that a manifest or an official list names and that are not there.
    """
    from fusion_pipeline.images.index import refuse_cache_inside
    from fusion_pipeline.images.inputs import list_images
    from fusion_pipeline.store.storage.places import is_remote

    if settings.data is None:
        raise UsageError(
            'Which images? Give --data DIR, set FUSION_DATA, or write data = "DIR" into fusion.toml: a folder with one '
            "folder of images per class, a manifest, a tar file, or a name that 'fusion datasets' lists."
        )
    root = _place_of(settings, settings.data, fetch)
    if not is_remote(settings.cache):
        refuse_cache_inside(root, settings.cache)
    links = settings.follow_symlinks
    return list_images(root, name=settings.dataset, follow_symlinks=links, keep_absent=keep_absent)


def _place_of(settings: Settings, data: str, fetch: Callable[[str], object] | None) -> str:
    """Return where images lie: what is there is that; else a known data set has a copy in the home of data sets."""
    from fusion_pipeline.images.datasets.registry import DATASETS, find_copy, refuse_missing

    place, name = os.path.expanduser(data), _bare_name(settings, data)
    if os.path.lexists(place) or name not in DATASETS:
        return place
    home = data_home(settings)
    copy = find_copy(name, home)
    if copy is None and fetch is not None:
        from fusion_pipeline.images.datasets.download import download

        copy = download(DATASETS[name], home, fetch)
    if copy is None:
        fetching = [f"fusion datasets {name} --download"]
        fetching += [f"--data-home {shlex.quote(settings.data_home)}"] if "data_home" in settings.given else []
        refuse_missing(name, home, printable(" ".join(fetching)))
    return str(copy)


def _bare_name(settings: Settings, data: str) -> str:
    """Return what `data` says as a name: fusion.toml's is taken for a path beside it, for it may be one."""
    folder, name = os.path.split(data)
    beside = settings.source is not None and Path(folder) == settings.source.parent and "data" not in settings.given
    return name if beside else data


def data_home(settings: Settings) -> Path:
    """Return the folder of the copies of data sets that go by name."""
    return Path(settings.data_home).expanduser().absolute()


def chosen_dataset(settings: Settings) -> str | None:
    """Return the name of the data set in the cache, or None if the settings leave it open."""
    from fusion_pipeline.images.listing import dataset_name, default_name

    if settings.dataset is not None:
        return dataset_name(settings.dataset)
    if settings.data is None:
        return None
    return dataset_name(default_name(settings.data))


def named_dataset(settings: Settings, home: Cache) -> str | None:
    """Return the name of the data set that the command line asks for, or None if it asks for none.

    Who looks after a cache means all of it: the images that fusion.toml or a variable names narrow nothing.

    Raises
    ------
    IncompleteError
        If the cache has none of it.
    """
    name = chosen_dataset(settings) if settings.given & {"data", "dataset"} else None
    return None if name is None else named_datasets(home, [name])[0]


def named_datasets(home: Cache, names: Sequence[str]) -> list[str]:
    """Return the names that data sets have in the cache, of those that were given.

    Raises
    ------
    IncompleteError
        If the cache has none of one.
    """
    from fusion_pipeline.images.listing import dataset_name

    found = [dataset_name(name) for name in names]
    for name in found:
        if name not in home:
            known = ", ".join(f"'{printable(other)}'" for other in home) or "nothing yet"
            raise IncompleteError(
                f"Cache '{printable(home.location)}' has no data set '{printable(name)}' (it has {known}). Correct the "
                "name, or the place of the cache."
            )
    return found


def extraction_options(settings: Settings) -> Options:
    """Return how stage one runs."""
    from fusion_pipeline.extract.options import Options
    from fusion_pipeline.images.decode import MAX_PIXELS, DecodeBudget

    if not 1 <= settings.max_megapixels * 1e6 <= MAX_PIXELS:  # not of "nan" either
        most = math.floor(MAX_PIXELS / 1e5) / 10
        raise UsageError(
            f"--max-megapixels {settings.max_megapixels:g} is out of range. Give more than 0, and at most {most}."
        )
    return Options(
        dtype=settings.dtype,
        device=settings.device,
        engine=settings.engine,
        precision=settings.precision,
        batch_size=settings.batch_size,
        workers=settings.workers,
        decode_in=settings.decode_in,
        partition_rows=settings.partition_rows,
        on_bad=settings.on_bad,
        budget=DecodeBudget(max_pixels=int(settings.max_megapixels * 1e6)),
    )


def load_predictor(settings: Settings, model: str | Path) -> Predictor:
    """Load a model with its networks, from where the settings say."""
    from fusion_pipeline.predict import Predictor

    return Predictor(model, lambda name: shelf.configured_backbone(settings, name), extraction_options(settings))


def opened_cache(settings: Settings) -> Cache:
    """Return the cache that the settings name."""
    from fusion_pipeline.store import Cache

    return Cache(settings.cache, copy=settings.local_copy, single_writer=settings.single_writer)


def source_differences(home: Cache, folder: ImageListing) -> tuple[SourceDifference, ...]:
    """Compare images with their index in the cache."""
    from fusion_pipeline.extract.source import compare_with_source

    return compare_with_source(home[folder.name].index(), folder)


def run_repair(
    settings: Settings, progress: Progress, tell: Callable[[str], object], *, semantic: bool = False
) -> Repair:
    """Repair what the command line names, or all: what needs no images, and the stores of those at hand.

    Raises
    ------
    IncompleteError
        If there is nothing to look at.
    """
    from fusion_pipeline.extract.repair import repair

    home = opened_cache(settings)
    chosen = named_dataset(settings, home)
    folder, options = _images_at_hand(settings, tell), extraction_options(settings)
    find = functools.partial(shelf.configured_backbone, settings)
    result = repair(folder, home, find, options, progress, tell, dataset=chosen, semantic=semantic)
    if not (result.looked_at or result.restored):
        raise no_store("to repair", home, chosen)
    return result


def _images_at_hand(settings: Settings, tell: Callable[[str], object]) -> ImageListing | None:
    """Return the images, or None: what needs none must not fail for want of those that only fusion.toml names."""
    try:
        return None if settings.data is None else image_folder(settings)
    except FusionError as error:
        if "data" in settings.given:
            raise
        tell(f"Going on without images. {error}")
        return None


def no_store(purpose: str, home: Cache, dataset: str | None) -> IncompleteError:
    """Return what to say where a cache, or a data set of it, holds no store for some purpose."""
    where = printable(home.location if dataset is None else home.backend.where(dataset))
    return IncompleteError(f"There is no store {purpose} in '{where}'. Check --cache, or finish 'fusion extract'.")


def run_extraction(
    settings: Settings,
    folder: ImageListing,
    names: Sequence[str],
    progress: Progress,
    tell: Callable[[str], object],
    *,
    anew: bool = False,
) -> Extraction:
    """Extract what the settings ask for."""
    from fusion_pipeline.extract.run import extract

    backbones = shelf.chosen_backbones(settings, names)
    options = replace(extraction_options(settings), anew=anew)
    if settings.scheduler is None:
        clusters.refuse_without_scheduler(settings)
        return extract(folder, backbones, opened_cache(settings), options, progress, tell)
    with clusters.opened_cluster(settings, settings.scheduler) as cluster:
        return extract(folder, backbones, opened_cache(settings), options, progress, tell, cluster)


def run_estimate(
    settings: Settings, folder: ImageListing, home: Cache, names: Sequence[str], *, anew: bool
) -> Estimate:
    """Return what the extraction that the settings ask for would do."""
    from fusion_pipeline.extract.estimates.estimate import estimate

    backbones = shelf.chosen_backbones(settings, names)
    options = replace(extraction_options(settings), anew=anew)
    if settings.scheduler is not None:
        clusters.check_cluster(settings, settings.scheduler)
    return estimate(folder, backbones, home, options)


def run_training(
    settings: Settings,
    names: Sequence[str],
    index: str | None,
    progress: Callable[[int, int], None],
    fusion: Fusion | None = None,
) -> Training:
    """Train what the settings ask for; `fusion` says more of the experts than settings do."""
    from fusion_pipeline.executors import make_executor
    from fusion_pipeline.extract.networks.backbones import expand_names
    from fusion_pipeline.store.care.trust import expect_manifests
    from fusion_pipeline.train.folds import Split
    from fusion_pipeline.train.fusion import Fusion
    from fusion_pipeline.train.run import choose_stores, train

    backbones = expand_names(names or settings.backbones, settings.backbones)
    stores = choose_stores(opened_cache(settings), chosen_dataset(settings), backbones, index)
    expect_manifests([stores[0].index, *stores], settings.expect_manifest)
    return train(
        stores,
        fusion=fusion or Fusion(settings.gate),
        split=Split(settings.folds, settings.seed),
        executor=make_executor(settings.executor, settings.workers or None),
        runs=settings.runs,
        seed=settings.seed,
        progress=progress,
    )
