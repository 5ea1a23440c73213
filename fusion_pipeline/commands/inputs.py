"""Settings into the objects that the library's functions take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fusion_pipeline.config import Settings
from fusion_pipeline.errors import IncompleteError, UsageError, printable

if TYPE_CHECKING:
    from fusion_pipeline.extract.backbones import Backbone
    from fusion_pipeline.extract.run import Options
    from fusion_pipeline.images.index import ImageFolder

_SUFFIXES = (".safetensors", ".pth", ".pt")


def image_folder(settings: Settings) -> ImageFolder:
    """Return the images that the settings name."""
    from fusion_pipeline.images.index import list_image_folder  # noqa: PLC0415

    if settings.data is None:
        raise UsageError(
            'Which images? Give --data DIR, set FUSION_DATA, or write data = "DIR" into fusion.toml: '
            "a folder with one folder of images per class."
        )
    return list_image_folder(settings.data, name=settings.dataset, follow_symlinks=settings.follow_symlinks)


def dataset_name(settings: Settings) -> str | None:
    """Return the name of the data set in the cache, or None if the settings leave it open."""
    from fusion_pipeline.store.identity import slug  # noqa: PLC0415

    if settings.dataset is not None:
        return slug(settings.dataset)
    return None if settings.data is None else slug(Path(settings.data).expanduser().absolute().name)


def chosen_backbones(settings: Settings, names: Sequence[str]) -> tuple[Backbone, ...]:
    """Return the records of the backbones that were asked for: those named, or the configuration's."""
    from fusion_pipeline.extract.backbones import expand_names, find_backbone  # noqa: PLC0415

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
    from fusion_pipeline.extract.run import Options  # noqa: PLC0415
    from fusion_pipeline.images.decode import DecodeBudget  # noqa: PLC0415

    return Options(
        dtype=settings.dtype,
        device=settings.device,
        batch_size=settings.batch_size,
        workers=settings.workers,
        partition_rows=settings.partition_rows,
        on_bad=settings.on_bad,
        budget=DecodeBudget(max_pixels=int(settings.max_megapixels * 1e6)),
    )


def _with_weights(backbone: Backbone, weights: str | None, *, alone: bool) -> Backbone:
    """Point a backbone at ``--weights``: the file itself, or the backbone's file in that folder, if it is there."""
    if weights is None:
        return backbone
    path = Path(weights).expanduser()
    if path.is_dir():
        found = [path / f"{backbone.name}{suffix}" for suffix in _SUFFIXES]
        file = next((candidate for candidate in found if candidate.is_file()), None)
        return backbone if file is None else replace(backbone, weights=str(file), in_order=False)
    if not path.is_file():
        raise IncompleteError(f"No weights at '{printable(weights)}'. Correct --weights or FUSION_WEIGHTS.")
    if not alone:
        raise UsageError(
            f"--weights '{printable(weights)}' is one file for several backbones. Name one backbone, or give a folder "
            "of BACKBONE.safetensors files."
        )
    return replace(backbone, weights=str(path), in_order=False)
