"""Settings into the objects that the library's functions take."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fusion_pipeline.config import Settings
from fusion_pipeline.errors import FusionError, IncompleteError, UsageError, printable

if TYPE_CHECKING:
    from fusion_pipeline.extract.backbones import Backbone
    from fusion_pipeline.extract.options import Options
    from fusion_pipeline.extract.passes import Progress
    from fusion_pipeline.extract.repair import Repair
    from fusion_pipeline.extract.run import Extraction
    from fusion_pipeline.extract.source import SourceDifference
    from fusion_pipeline.images.index import ImageFolder
    from fusion_pipeline.predict import Predictor
    from fusion_pipeline.store import Cache
    from fusion_pipeline.train.run import Training

_SUFFIXES = (".safetensors", ".pth", ".pt")


def image_folder(settings: Settings) -> ImageFolder:
    """Return the images that the settings name."""
    from fusion_pipeline.images.index import list_image_folder, refuse_cache_inside
    from fusion_pipeline.store.storage.places import is_remote

    if settings.data is None:
        raise UsageError(
            'Which images? Give --data DIR, set FUSION_DATA, or write data = "DIR" into fusion.toml: '
            "a folder with one folder of images per class."
        )
    root = os.path.expanduser(settings.data)
    if not is_remote(settings.cache):
        refuse_cache_inside(root, settings.cache)
    return list_image_folder(root, name=settings.dataset, follow_symlinks=settings.follow_symlinks)


def chosen_dataset(settings: Settings) -> str | None:
    """Return the name of the data set in the cache, or None if the settings leave it open."""
    from fusion_pipeline.images.index import dataset_name

    if settings.dataset is not None:
        return dataset_name(settings.dataset)
    if settings.data is None:
        return None
    return dataset_name(os.path.basename(os.path.abspath(os.path.expanduser(settings.data))))


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
    from fusion_pipeline.images.index import dataset_name

    found = [dataset_name(name) for name in names]
    for name in found:
        if name not in home:
            known = ", ".join(f"'{printable(other)}'" for other in home) or "nothing yet"
            raise IncompleteError(
                f"Cache '{printable(home.location)}' has no data set '{printable(name)}' (it has {known}). Correct the "
                "name, or the place of the cache."
            )
    return found


def chosen_backbones(settings: Settings, names: Sequence[str]) -> tuple[Backbone, ...]:
    """Return the records of the backbones that were asked for: those named, or the configuration's."""
    from fusion_pipeline.extract.backbones import expand_names, find_backbone

    expanded = expand_names(names or settings.backbones, settings.backbones)
    if not expanded:
        raise UsageError(
            "Which backbones? Give --backbone xception (fusion backbones lists them), or write "
            'backbones = ["xception"] into fusion.toml.'
        )
    records = [find_backbone(name, settings.backbone) for name in expanded]
    return tuple(_with_weights(record, settings.weights, alone=len(records) == 1) for record in records)


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
        batch_size=settings.batch_size,
        workers=settings.workers,
        partition_rows=settings.partition_rows,
        on_bad=settings.on_bad,
        budget=DecodeBudget(max_pixels=int(settings.max_megapixels * 1e6)),
    )


def configured_backbone(settings: Settings, name: str) -> Backbone | None:
    """Return the record of a backbone that a model names, or None if nothing at hand knows it."""
    from fusion_pipeline.extract.backbones import KNOWN, find_backbone

    if name not in KNOWN and name not in settings.backbone and ":" not in name:
        return None
    record = find_backbone(name, settings.backbone)
    if settings.weights is not None and Path(settings.weights).expanduser().is_dir():
        file = _file_in(Path(settings.weights).expanduser(), name)
        return record if file is None else replace(record, weights=str(file), in_order=False)
    return _with_weights(record, settings.weights, alone=True)


def load_predictor(settings: Settings, model: str | Path) -> Predictor:
    """Load a model with its networks, from where the settings say."""
    from fusion_pipeline.predict import Predictor

    return Predictor(model, lambda name: configured_backbone(settings, name), extraction_options(settings))


def opened_cache(settings: Settings) -> Cache:
    """Return the cache that the settings name."""
    from fusion_pipeline.store import Cache

    return Cache(settings.cache, copy=settings.local_copy, single_writer=settings.single_writer)


def source_differences(home: Cache, folder: ImageFolder) -> tuple[SourceDifference, ...]:
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
    find = functools.partial(configured_backbone, settings)
    result = repair(folder, home, find, options, progress, tell, dataset=chosen, semantic=semantic)
    if not (result.looked_at or result.restored):
        raise no_store("to repair", home, chosen)
    return result


def _images_at_hand(settings: Settings, tell: Callable[[str], object]) -> ImageFolder | None:
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
    folder: ImageFolder,
    names: Sequence[str],
    progress: Progress,
    tell: Callable[[str], object],
    *,
    anew: bool = False,
) -> Extraction:
    """Extract what the settings ask for."""
    from fusion_pipeline.extract.run import extract

    backbones = chosen_backbones(settings, names)
    options = replace(extraction_options(settings), anew=anew)
    return extract(folder, backbones, opened_cache(settings), options, progress, tell)


def run_training(
    settings: Settings,
    names: Sequence[str],
    index: str | None,
    progress: Callable[[int, int], None],
) -> Training:
    """Train what the settings ask for."""
    from fusion_pipeline.executors import make_executor
    from fusion_pipeline.extract.backbones import expand_names
    from fusion_pipeline.store.care.trust import expect_manifests
    from fusion_pipeline.train.folds import Split
    from fusion_pipeline.train.run import choose_stores, train

    backbones = expand_names(names or settings.backbones, settings.backbones)
    stores = choose_stores(opened_cache(settings), chosen_dataset(settings), backbones, index)
    expect_manifests([stores[0].index, *stores], settings.expect_manifest)
    return train(
        stores,
        gate=settings.gate,
        split=Split(settings.folds, settings.seed),
        executor=make_executor(settings.executor, settings.workers or None),
        runs=settings.runs,
        seed=settings.seed,
        progress=progress,
    )


def _file_in(folder: Path, name: str) -> Path | None:
    found = (folder / f"{name}{suffix}" for suffix in _SUFFIXES)
    return next((file for file in found if file.is_file()), None)


def _with_weights(backbone: Backbone, weights: str | None, *, alone: bool) -> Backbone:
    """Point a backbone at ``--weights``: the file itself, or the backbone's file in that folder.

    A folder may lack the file of a backbone that says itself where its weights are.
    """
    if weights is None:
        return backbone
    path = Path(weights).expanduser()
    if path.is_dir():
        file = _file_in(path, backbone.name)
        if file is None and backbone.weights is None:
            raise IncompleteError(
                f"'{printable(weights)}' has no {printable(backbone.name)}.safetensors, .pth or .pt. Put it there, "
                "name it in fusion.toml, or leave out --weights to take what the library publishes."
            )
        return backbone if file is None else replace(backbone, weights=str(file), in_order=False)
    if not path.is_file():
        raise IncompleteError(f"No weights at '{printable(weights)}'. Correct --weights or FUSION_WEIGHTS.")
    if not alone:
        raise UsageError(
            f"--weights '{printable(weights)}' is one file for several backbones. Name one backbone, or give a folder "
            "of BACKBONE.safetensors files."
        )
    return replace(backbone, weights=str(path), in_order=False)
