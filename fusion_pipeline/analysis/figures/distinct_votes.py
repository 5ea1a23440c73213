"""End of Section 2: accuracy by the number of distinct votes becomes lines for each data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from matplotlib.axes import Axes

from fusion_pipeline.analysis.figures.drawing import (
    AVERAGE_INK,
    FUSED,
    Drawing,
    Table,
    colour,
    drawing,
    leave_only,
    marker,
    panels,
    shown,
    spread,
)
from fusion_pipeline.analysis.measures import AVERAGE, Measures
from fusion_pipeline.analysis.readings import read_distinct

_FEW = 10


@drawing()
def draw_distinct_votes(runs: Mapping[str, Measures]) -> Drawing:
    """Draw the accuracy of each backbone and of what is fused where the backbones name 1 to K classes."""
    heights = [1.5 + 0.16 * (len(found.votes.experts) + 2) for found in runs.values()]
    figure, axes = panels(len(runs), 1, 7.6, sum(heights), height_ratios=heights)
    for (each,), (name, found), height in zip(axes, runs.items(), heights, strict=True):
        _panel(each, name, found, 0.17 / (height - 0.9))
    return Drawing(
        "distinct-votes",
        "Accuracy where backbones agree and where they do not (end of Section 2)",
        {name: read_distinct(found.distinct, found.moe_name or AVERAGE) for name, found in runs.items()},
        figure,
        (Table("distinct-votes", ("dataset", "distinct_votes", "images", "row", "accuracy"), tuple(_rows(runs))),),
    )


def _panel(axes: Axes, name: str, found: Measures, line: float) -> None:
    seen = [each for each in found.distinct if each.accuracies]
    names = list(seen[0].accuracies or {})
    for position, row in enumerate(names):
        points = [(each.distinct, (each.accuracies or {})[row]) for each in seen]
        ink, sign = _look(row, position, found)
        axes.plot(*zip(*points, strict=True), color=ink, linewidth=2 if ink == FUSED else 1.2)
        for (x, y), each in zip(points, seen, strict=True):
            hollow = each.n < _FEW
            axes.plot(x, y, sign, color=ink, markersize=6, markerfacecolor="white" if hollow else ink)
    ends = [(seen[-1].accuracies or {})[row] for row in names]
    last = seen[-1].distinct
    for position, (row, end, place) in enumerate(zip(names, ends, spread(ends, line, 0.0, 1.0), strict=True)):
        ink, _ = _look(row, position, found)
        axes.plot([last + 0.06, last + 0.2], [end, place], color=ink, linewidth=0.7, clip_on=False)
        axes.annotate(shown(row, 22), (last + 0.22, place), va="center", color=ink, annotation_clip=False)
    axes.set_xticks([each.distinct for each in seen], [f"{each.distinct}\n{each.n:,} images" for each in seen])
    axes.set_xlim(seen[0].distinct - 0.2, last + 0.2 + 0.34 * max(1, last - seen[0].distinct))
    axes.set_ylim(-0.04, 1.04)
    axes.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    axes.set_title(
        f"{shown(name)}: accuracy, by how many classes the backbones name (hollow: fewer than {_FEW} images)",
        loc="left",
    )
    axes.grid(axis="y")
    leave_only(axes, "left")


def _look(row: str, position: int, found: Measures) -> tuple[str, str]:
    """Return the colour and the marker of a row."""
    if position < len(found.votes.experts):
        return colour(position), marker(position)
    return (FUSED, "D") if row == found.moe_name else (AVERAGE_INK, "s")


def _rows(runs: Mapping[str, Measures]) -> Iterator[tuple[object, ...]]:
    for name, found in runs.items():
        for each in found.distinct:
            for row, accuracy in (each.accuracies or {}).items():
                yield name, each.distinct, each.n, row, accuracy
