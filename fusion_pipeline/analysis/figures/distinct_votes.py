"""End of Section 2: accuracy by the number of distinct votes becomes lines for each data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from matplotlib.axes import Axes

from fusion_pipeline.analysis.figures.drawing import (
    FUSED,
    Drawing,
    Look,
    Table,
    drawing,
    leave_only,
    looks,
    panels,
    shown,
    spread,
)
from fusion_pipeline.analysis.measures import Measures, rows_of
from fusion_pipeline.analysis.readings import read_distinct
from fusion_pipeline.train.rows import AVERAGE

_FEW = 10


@drawing()
def draw_distinct_votes(runs: Mapping[str, Measures]) -> Drawing:
    """Draw the accuracy of each backbone and of what is fused where the backbones name 1 to K classes."""
    heights = [1.85 + 0.16 * (len(found.votes.experts) + 2) for found in runs.values()]
    figure, axes = panels(len(runs), 1, 7.6, sum(heights), height_ratios=heights)
    look = looks(*rows_of(runs))
    for (each,), (name, found), height in zip(axes, runs.items(), heights, strict=True):
        _panel(each, name, found, look, 0.17 / (height - 1.25))
    return Drawing(
        "distinct-votes",
        "Accuracy where backbones agree and where they do not (end of Section 2)",
        {name: read_distinct(found.distinct, found.moe_name or AVERAGE) for name, found in runs.items()},
        figure,
        (Table("distinct-votes", ("dataset", "distinct_votes", "images", "row", "accuracy"), tuple(_rows(runs))),),
    )


def _panel(axes: Axes, name: str, found: Measures, look: Mapping[str, Look], line: float) -> None:
    seen = [each for each in found.distinct if each.accuracies]
    names = list(seen[0].accuracies or {})
    for row in names:
        _line(axes, look[row], [(each.distinct, (each.accuracies or {})[row], each.n) for each in seen])
    ends = [(seen[-1].accuracies or {})[row] for row in names]
    first, last = seen[0].distinct, seen[-1].distinct
    unit = max(1, last - first) / 4
    for row, end, place in zip(names, ends, spread(ends, line, 0.0, 1.0), strict=True):
        axes.plot([last + 0.07 * unit, last + 0.2 * unit], [end, place], color=look[row].colour, linewidth=0.7)
        axes.text(last + 0.22 * unit, place, shown(row, 22), va="center")
    axes.set_xticks([each.distinct for each in seen], [f"{each.distinct}\n({each.n:,})" for each in seen])
    axes.set_xlim(first - 0.2 * unit, last + 1.5 * unit)
    axes.set_ylim(-0.04, 1.04)
    axes.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    axes.set_xlabel("number of classes that the backbones name (on so many images)")
    axes.set_title(f"{shown(name)}\naccuracy; hollow: on fewer than {_FEW} images", loc="left")
    axes.grid(axis="y")
    leave_only(axes, "left")


def _line(axes: Axes, look: Look, points: list[tuple[int, float, int]]) -> None:
    axes.plot(
        [x for x, _, _ in points],
        [y for _, y, _ in points],
        color=look.colour,
        linewidth=2 if look.colour == FUSED else 1.2,
    )
    for x, y, n in points:
        inside = look.colour if n >= _FEW else "white"
        axes.plot(x, y, look.marker, color=look.colour, markersize=6, markerfacecolor=inside)


def _rows(runs: Mapping[str, Measures]) -> Iterator[tuple[object, ...]]:
    for name, found in runs.items():
        for each in found.distinct:
            for row, accuracy in (each.accuracies or {}).items():
                yield name, each.distinct, each.n, row, accuracy
