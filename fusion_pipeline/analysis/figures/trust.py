"""Whom the gate trusts becomes a table of weights by class, beside the images on which it trusts each expert most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isnan
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fusion_pipeline.analysis.figures.drawing import (
    Drawing,
    Table,
    drawing,
    leave_only,
    shown,
)
from fusion_pipeline.analysis.measures import Measures
from fusion_pipeline.analysis.readings import read_trust
from fusion_pipeline.analysis.trust import Trust, TrustedImage

_MOST_CLASSES = 24
_GAP = 16  # the gap between pictures is this part of one


@drawing()
def draw_trust(dataset: str, found: Measures, name: str = "trust") -> Drawing | None:
    """Draw the mean gate weights of each class, and thumbnails of the images at either end of each expert's weights.

    Parameters
    ----------
    dataset : str
        What the data set is called in figures.
    found : Measures
    name : str
        Of the file, without its ending.

    Returns
    -------
    Drawing or None
        None if there is no gate.
    """
    trust = found.trust
    if trust is None:
        return None
    labels = _chosen(trust)
    pictured = trust.adapts and bool(found.pictures)
    wide, tall = 2.4 + 0.75 * len(trust.experts), 1.9 + 0.21 * len(labels)
    if pictured:
        tall = max(tall, 0.6 + 1.0 * len(trust.experts))
    figure = Figure(figsize=(wide + (6.6 if pictured else 0), tall), layout="constrained")
    grid = figure.add_gridspec(1, 2, width_ratios=[wide, 6.6]) if pictured else figure.add_gridspec(1, 1)
    _draw_classes(figure.add_subplot(grid[0]), dataset, found, trust, labels)
    if pictured:
        _draw_pictures(figure, grid[1], found, trust)
    return Drawing(
        name,
        "Whom the gate trusts",
        {dataset: read_trust(trust)},
        figure,
        (
            Table(name, ("dataset", "class", "expert", "mean_weight"), tuple(_by_class(dataset, found, trust))),
            Table(f"{name}-images", _COLUMNS, tuple(_by_image(dataset, found, trust))),
        ),
    )


def _chosen(trust: Trust) -> list[int]:
    """Return the tested classes whose weights differ most from all images', in the order of the labels."""
    if trust.averaged == trust.parts:
        return []  # every class has 1 / K
    tested = np.flatnonzero(~np.isnan(trust.by_class[:, 0]))
    distance = np.abs(trust.by_class[tested] - trust.overall).max(axis=1)
    return sorted(tested[np.argsort(-distance, kind="stable")[:_MOST_CLASSES]].tolist())


def _draw_classes(axes: Axes, dataset: str, found: Measures, trust: Trust, labels: list[int]) -> None:
    weights = np.vstack([trust.overall, trust.by_class[labels]])
    span = max(float(weights.max()), 1e-9)
    axes.imshow(weights, cmap="Blues", vmin=0, vmax=1.8 * span, aspect="auto")
    for (row, column), weight in np.ndenumerate(weights):
        axes.text(column, row, f"{weight:.2f}", ha="center", va="center", fontsize=8)
    axes.axhline(0.5, color="white", linewidth=3)
    names = ["all images", *(shown(found.votes.class_names[label], 24) for label in labels)]
    axes.set_yticks(range(len(names)), names)
    axes.set_xticks(range(len(trust.experts)), [shown(each, 20) for each in trust.experts], rotation=40, ha="right")
    few = "" if len(labels) in (0, len(found.votes.tested_classes)) else f", {len(labels)} classes that differ most"
    fell = f"\nit averaged in {trust.averaged} of {trust.parts} parts" if trust.averaged else ""
    axes.set_title(f"{shown(dataset)}: mean weights of {shown(trust.row)}{few}{fell}", loc="left")
    leave_only(axes)


def _draw_pictures(figure: Figure, place: Any, found: Measures, trust: Trust) -> None:
    grid = place.subgridspec(len(trust.experts), 2)
    for row, expert in enumerate(trust.experts):
        for side, images in enumerate((trust.most[row], trust.least[row])):
            axes = figure.add_subplot(grid[row, side])
            _draw_strip(axes, [found.pictures[each.image] for each in images])
            axes.set_xticks(_centres(images, found), [f"{each.weight:.2f}" for each in images], fontsize=8)
            axes.set_title(f"{shown(expert, 20)} trusted {('most', 'least')[side]}", loc="left", fontsize=8)


def _draw_strip(axes: Axes, pictures: Sequence[NDArray[np.uint8]]) -> None:
    """Draw pictures side by side: as one, since a dozen small axes would not know how to share the room."""
    gap = np.full((len(pictures[0]), len(pictures[0]) // _GAP, 3), 255, dtype=np.uint8)
    axes.imshow(np.hstack([part for each in pictures for part in (each, gap)][:-1]), interpolation="none")
    axes.set_yticks([])
    leave_only(axes)


def _centres(images: Sequence[TrustedImage], found: Measures) -> list[float]:
    size = len(found.pictures[images[0].image])
    return [size / 2 + number * (size + size // _GAP) for number in range(len(images))]


def _by_class(dataset: str, found: Measures, trust: Trust) -> Iterator[tuple[object, ...]]:
    rows = [(None, trust.overall), *zip(found.votes.class_names, trust.by_class, strict=True)]
    for label, weights in rows:
        for expert, weight in zip(trust.experts, weights.tolist(), strict=True):
            yield dataset, label, expert, None if isnan(weight) else weight


_COLUMNS = ("dataset", "image", "class", "predicted", "correct", "effective_experts", "expert", "mean_weight")


def _by_image(dataset: str, found: Measures, trust: Trust) -> Iterator[tuple[object, ...]]:
    """Yield the weights of every tested image, with what the fused row said in the first repeat that tested it."""
    known, names = found.run.predictions, found.votes.class_names
    for image in np.flatnonzero(~np.isnan(trust.by_image[:, 0])).tolist():
        said = _first_said(found, image)
        for expert, weight in zip(trust.experts, trust.by_image[image].tolist(), strict=True):
            truth = int(known.labels[image])
            told = (known.sample_ids[image], names[truth], names[said], int(said == truth))
            yield dataset, *told, float(trust.effective_experts[image]), expert, weight


def _first_said(found: Measures, image: int) -> int:
    assert found.moe is not None
    said = found.moe.predicted[:, image]
    return int(said[said >= 0][0])
