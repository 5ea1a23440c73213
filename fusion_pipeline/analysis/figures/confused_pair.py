"""Figure 6: the two classes that are confused most become counts and projections by backbone, for one data set."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.layout_engine import ConstrainedLayoutEngine

from fusion_pipeline.analysis.confused_pair import ConfusedPair
from fusion_pipeline.analysis.figures.drawing import (
    FAINT,
    QUIET,
    Drawing,
    Table,
    colour,
    drawing,
    leave_only,
    shown,
)
from fusion_pipeline.analysis.measures import Measures
from fusion_pipeline.analysis.readings import read_confused

_ACROSS = 5
_INKS = (colour(0), colour(5))


@drawing()
def draw_confused_pair(dataset: str, found: Measures, name: str = "confused-pair") -> Drawing | None:
    """Draw whom each backbone takes for whom, and where its features lie.

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
        None if no backbone ever errs.
    """
    pair = found.confused
    if pair is None:
        return None
    lines = ceil(len(found.projections) / _ACROSS)
    top = 1.15 + 0.26 * len(pair.experts)
    figure = Figure(figsize=(9.5, top + 2.0 * lines + 0.3), layout=ConstrainedLayoutEngine(w_pad=0.08))
    grid = GridSpec(1 + lines, 1, figure=figure, height_ratios=[top, *[2.0] * lines])
    _draw_counts(figure, grid[0], dataset, found, pair)
    if lines:
        _draw_projections(figure, grid[1:], found, pair)
    return Drawing(
        name,
        "The two classes that are confused most (Figure 6)",
        {dataset: read_confused(pair, found.votes.class_names)},
        figure,
        (
            Table(
                name, ("dataset", "true_class", "backbone", "voted_for", "votes"), tuple(_counts(dataset, found, pair))
            ),
            Table(
                f"{name}-projections",
                ("dataset", "backbone", "class", "image", "x", "y"),
                tuple(_points(dataset, found, pair)),
            ),
        ),
    )


def _draw_counts(figure: Figure, place: Any, dataset: str, found: Measures, pair: ConfusedPair) -> None:
    pictured = any(image in found.pictures for image in pair.mistaken)
    inner = place.subgridspec(1, 4 if pictured else 2, width_ratios=[1, 1.5, 1, 1.5] if pictured else [1, 1])
    for side, label in enumerate((pair.first, pair.second)):
        name = shown(found.votes.class_names[label], 20 if pictured else 32)
        if pictured:
            _draw_picture(figure.add_subplot(inner[2 * side]), found, pair.mistaken[side], side)
        axes = figure.add_subplot(inner[2 * side + 1 if pictured else side])
        _draw_bars(axes, pair, side)
        axes.set_title(f"true class\n{name}", loc="left", color=_INKS[side], weight="bold")
    names = [found.votes.class_names[label] for label in (pair.first, pair.second)]
    figure.suptitle(
        f"{shown(dataset)}: votes for {shown(names[0], 24)} (blue), {shown(names[1], 24)} (red), another class (grey)",
        fontsize=9,
        x=0.01,
        ha="left",
    )


def _draw_picture(axes: Axes, found: Measures, image: int | None, side: int) -> None:
    axes.set_axis_off()
    if image is None or image not in found.pictures:
        return
    axes.imshow(found.pictures[image], interpolation="none")
    axes.set_title(shown(found.run.predictions.sample_ids[image], 24), fontsize=6.5, color=_INKS[side], loc="left")


def _draw_bars(axes: Axes, pair: ConfusedPair, side: int) -> None:
    for height, counts in enumerate(pair.counts[side]):
        left = 0
        for count, ink in zip(counts.tolist(), (*_INKS, QUIET), strict=True):
            axes.barh(height, count, left=left, height=0.72, color=ink)
            left += count
        # Numbers of votes that are narrower than a number would cover it: they stand behind the bar.
        axes.annotate(
            " / ".join(f"{count:,}" for count in counts),
            (left, height),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set_yticks(range(len(pair.experts)), [shown(name, 20) for name in pair.experts])
    axes.set_ylim(len(pair.experts) - 0.4, -0.6)
    axes.set_xlim(0, 1.35 * int(pair.counts[side].sum(axis=1).max()))
    axes.set_xticks([])
    leave_only(axes)


def _draw_projections(figure: Figure, place: Any, found: Measures, pair: ConfusedPair) -> None:
    split, n = len(pair.images[0]), len(found.projections)
    inner = place.subgridspec(ceil(n / _ACROSS), min(n, _ACROSS))
    for number, (name, points) in enumerate(found.projections.items()):
        axes = figure.add_subplot(inner[number // _ACROSS, number % _ACROSS])
        for part, ink, sign in ((points[:split], _INKS[0], "o"), (points[split:], _INKS[1], "^")):
            axes.plot(part[:, 0], part[:, 1], sign, color=ink, markersize=3.5, markeredgewidth=0, alpha=0.8)
        axes.set_title(shown(name, 22), loc="left")
        if number % _ACROSS == 0:
            axes.set_ylabel("t-SNE of the features", color=QUIET)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.margins(0.06)
        for spine in axes.spines.values():
            spine.set(visible=True, color=FAINT)


def _counts(dataset: str, found: Measures, pair: ConfusedPair) -> Iterator[tuple[object, ...]]:
    names = [found.votes.class_names[label] for label in (pair.first, pair.second)]
    for true, of_class in zip(names, pair.counts.tolist(), strict=True):
        for expert, counts in zip(pair.experts, of_class, strict=True):
            for voted, count in zip((*names, None), counts, strict=True):
                yield dataset, true, expert, "any other" if voted is None else voted, count


def _points(dataset: str, found: Measures, pair: ConfusedPair) -> Iterator[tuple[object, ...]]:
    names = [found.votes.class_names[label] for label in (pair.first, pair.second)]
    images = [(name, image) for name, of_class in zip(names, pair.images, strict=True) for image in of_class.tolist()]
    for expert, points in found.projections.items():
        for (name, image), (x, y) in zip(images, points.tolist(), strict=True):
            yield dataset, expert, name, found.run.predictions.sample_ids[image], x, y
