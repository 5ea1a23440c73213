"""Settings into the records of backbones: those of the shelf, those of the configuration, and their weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fusion_pipeline.config import Settings
from fusion_pipeline.errors import FusionError, IncompleteError, UsageError, printable

if TYPE_CHECKING:
    from fusion_pipeline.extract.networks.backbones import Backbone

_SUFFIXES = (".safetensors", ".pth", ".pt")


def chosen_backbones(settings: Settings, names: Sequence[str]) -> tuple[Backbone, ...]:
    """Return the records of the backbones that were asked for: those named, or the configuration's."""
    from fusion_pipeline.extract.networks.backbones import expand_names, find_backbone

    expanded = expand_names(names or settings.backbones, settings.backbones)
    if not expanded:
        raise UsageError(
            "Which backbones? Give --backbone xception (fusion backbones lists them), or write "
            'backbones = ["xception"] into fusion.toml.'
        )
    records = [find_backbone(name, settings.backbone) for name in expanded]
    return tuple(_with_weights(record, settings.weights, alone=len(records) == 1) for record in records)


def configured_backbone(settings: Settings, name: str) -> Backbone | None:
    """Return the record of a backbone that a model names, or None if nothing at hand knows it."""
    from fusion_pipeline.extract.networks.backbones import KNOWN, find_backbone

    if name not in KNOWN and name not in settings.backbone and ":" not in name:
        return None
    record = find_backbone(name, settings.backbone)
    if settings.weights is not None and Path(settings.weights).expanduser().is_dir():
        return _with_file_in(Path(settings.weights).expanduser(), record)
    return _with_weights(record, settings.weights, alone=True)


def listed_backbones(settings: Settings, pattern: str | None) -> dict[str, Backbone | FusionError]:
    """Return the backbones that go by a name, or all that match a pattern: the record, or what is wrong with it."""
    from fusion_pipeline.extract.networks.backbones import KNOWN

    names: Sequence[str] = sorted({*KNOWN, *settings.backbone})
    if pattern is not None:
        from fusion_pipeline.extract.networks.catalogue import search

        names = search(pattern, {name: _stated_model(settings, name) for name in names})
    return {name: _listed_backbone(settings, name, alone=len(names) == 1) for name in names}


def _stated_model(settings: Settings, name: str) -> str:
    from fusion_pipeline.extract.networks.backbones import KNOWN

    known = KNOWN[name].model if name in KNOWN else ""
    return str(settings.backbone.get(name, {}).get("model", known))


def _listed_backbone(settings: Settings, name: str, *, alone: bool) -> Backbone | FusionError:
    from fusion_pipeline.extract.networks.backbones import find_backbone

    try:
        record = find_backbone(name, settings.backbone)
    except FusionError as error:
        return error
    folder = None if settings.weights is None else Path(settings.weights).expanduser()
    if folder is None or folder.is_dir():
        return record if folder is None else _with_file_in(folder, record)
    return _with_weights(record, settings.weights, alone=alone)  # one file is of one backbone


def _file_in(folder: Path, name: str) -> Path | None:
    found = (folder / f"{name}{suffix}" for suffix in _SUFFIXES)
    return next((file for file in found if file.is_file()), None)


def _with_file_in(folder: Path, backbone: Backbone) -> Backbone:
    """Point a backbone at its file in a folder, if it has one there."""
    file = _file_in(folder, backbone.name)
    return backbone if file is None else replace(backbone, weights=str(file), in_order=False)


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
        return _with_file_in(path, backbone)
    if not path.is_file():
        raise IncompleteError(f"No weights at '{printable(weights)}'. Correct --weights or FUSION_WEIGHTS.")
    if not alone:
        raise UsageError(
            f"--weights '{printable(weights)}' is one file for several backbones. Name one backbone, or give a folder "
            "of BACKBONE.safetensors files."
        )
    return replace(backbone, weights=str(path), in_order=False)
