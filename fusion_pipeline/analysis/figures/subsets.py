"""Gain against cost: the average of every subset of the backbones becomes a dot for each data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import ceil, floor, log10
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import ConnectionPatch

from fusion_pipeline.analysis.figures.drawing import (
    QUIET,
    Drawing,
    Table,
    colour,
    drawing,
    leave_only,
    panels,
    shown,
    spread,
)
from fusion_pipeline.analysis.measures import Measures
from fusion_pipeline.analysis.readings import read_subsets
from fusion_pipeline.analysis.subsets import Subset


@drawing()
def draw_subsets(runs: Mapping[str, Measures]) -> Drawing | None:
    """Draw accuracy against multiply-adds, with the best subset of each size and the front that nothing beats.

    Returns
    -------
    Drawing or None
        None where no data set has costs.
    """
    priced = {name: found for name, found in runs.items() if found.subsets.front}
    if not priced:
        return None
    heights = [max(2.75, 1.05 + 0.36 * len(found.subsets.best)) for found in priced.values()]
    figure, axes = panels(len(priced), 2, 9.5, sum(heights), height_ratios=heights, width_ratios=[1.7, 1])
    for (plot, key), (name, found) in zip(axes, priced.items(), strict=True):
        _plot(plot, name, found)
        _key(key, found)
    return Drawing(
        "subsets",
        "Gain against cost: the average of every subset of the backbones",
        {name: read_subsets(found.subsets) for name, found in priced.items()},
        figure,
        (Table("subsets", _COLUMNS, tuple(_rows(runs))),),
    )


def _plot(axes: Axes, name: str, found: Measures) -> None:
    subsets = found.subsets
    axes.plot(*_points(subsets.tried), ".", color=QUIET, alpha=0.55, markersize=5)
    xs, ys = _points(subsets.front)
    axes.step(xs, ys, where="post", color=colour(5), linewidth=1.2)
    axes.set_xscale("log")
    costs = _points(subsets.tried)[0]
    axes.set_xlim(min(costs) / 1.25, max(costs) * 1.25)
    ticks = _ticks(min(costs), max(costs))
    axes.set_xticks(ticks, [f"{each:g}" for each in ticks])
    axes.minorticks_off()
    _number(axes, subsets.best)
    axes.set_xlabel("billion multiply-adds for one image")
    axes.set_ylabel("accuracy of the average, %")
    axes.set_title(f"{shown(name)}\nevery subset; line: nothing is better for less", loc="left", pad=24)
    axes.grid()
    leave_only(axes, "bottom", "left")


def _number(axes: Axes, best: Sequence[Subset]) -> None:
    """Put the sizes of the best subsets into a row above the plot, with lines to their dots: dots may coincide."""
    xs, ys = _points(best)
    low, high = (log10(bound) for bound in axes.get_xlim())
    places = spread([(log10(x) - low) / (high - low) for x in xs], 0.055, 0.02, 0.98)
    for x, y, place, subset in zip(xs, ys, places, best, strict=True):
        axes.plot(x, y, "o", color=colour(0), markersize=6)
        line = ConnectionPatch((place, 1.05), (x, y), axes.transAxes, axes.transData, color=colour(0), linewidth=0.7)
        axes.add_artist(line)
        axes.plot(place, 1.05, "o", color=colour(0), markersize=13, transform=axes.transAxes, clip_on=False)
        _write_number(axes, place, 1.05, subset, transform=axes.transAxes)


def _write_number(axes: Axes, x: float, y: float, subset: Subset, **where: Any) -> None:
    number = str(len(subset.members))
    axes.text(x, y, number, color="white", ha="center", va="center_baseline", weight="bold", fontsize=8, **where)


def _key(axes: Axes, found: Measures) -> None:
    """Say beside the plot which backbones the numbers in it stand for."""
    best = found.subsets.best
    axes.set_axis_off()
    axes.set_title("the best subset of each size", loc="left")
    axes.set_xlim(0, 1)
    axes.set_ylim(max(len(best), 5) - 0.5, -0.5)
    for height, subset in enumerate(best):
        ((cost,), (accuracy,)) = _points([subset])
        axes.plot(0.03, height, "o", color=colour(0), markersize=13, clip_on=False)
        axes.text(
            0.03,
            height,
            str(len(subset.members)),
            color="white",
            ha="center",
            va="center_baseline",
            weight="bold",
            fontsize=8,
        )
        axes.text(0.1, height - 0.2, f"{accuracy:.2f} %, {cost:.3g} billion", va="center")
        axes.text(0.1, height + 0.22, _members(subset, found), va="center", fontsize=7.5, color=QUIET)


def _members(subset: Subset, found: Measures) -> str:
    """Return the names in a subset, or what it lacks where that is shorter."""
    absent = [name for name in found.votes.experts if name not in subset.members]
    if not absent:
        return "all" if len(subset.members) > 1 else shown(subset.members[0], _WIDTH)
    but = len(absent) < len(subset.members)
    names = [shown(name, 22) for name in (absent if but else subset.members)]
    written, between = ("all but " if but else ""), (", " if but else " + ")
    for number, name in enumerate(names):
        if len(written + between + name) > _WIDTH:
            return f"{written} and {len(names) - number} more"
        written += (between if number else "") + name
    return written


def _points(subsets: Sequence[Subset]) -> tuple[list[float], list[float]]:
    return [(each.multiply_adds or 0.0) / 1e9 for each in subsets], [100 * each.accuracy for each in subsets]


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers about a range, for a logarithmic axis."""
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    rounded = np.array([factor * 10.0**power for power in powers for factor in (1, 2, 5)])
    return [float(each) for each in rounded[(rounded >= low / 1.25) & (rounded <= high * 1.25)]]


_WIDTH = 44  # letters that fit beside the plot

_COLUMNS = ("dataset", "size", "backbones", "correct", "accuracy", "multiply_adds", "best_of_size", "on_front")


def _rows(runs: Mapping[str, Measures]) -> Iterator[tuple[object, ...]]:
    for name, found in runs.items():
        best, front = set(found.subsets.best), set(found.subsets.front)
        for each in found.subsets.tried:
            members = " + ".join(each.members)
            marks = (int(each in best), int(each in front))
            yield name, len(each.members), members, each.correct, each.accuracy, each.multiply_adds, *marks
