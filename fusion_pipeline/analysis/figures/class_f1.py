"""Figure 4: F1 scores of classes with different winners become dots for each data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isnan

import numpy as np
from matplotlib.axes import Axes

from fusion_pipeline.analysis.class_f1 import EXAMPLES, ExampleClass
from fusion_pipeline.analysis.figures.drawing import (
    FAINT,
    QUIET,
    Drawing,
    Look,
    Table,
    drawing,
    leave_only,
    looks,
    panels,
    shown,
)
from fusion_pipeline.analysis.measures import Measures, rows_of
from fusion_pipeline.analysis.readings import read_class_f1


@drawing()
def draw_class_f1(runs: Mapping[str, Measures]) -> Drawing:
    """Draw up to three classes that different backbones know best, a row for each data set."""
    heights = [0.75 + 0.24 * len(found.class_f1.names) for found in runs.values()]
    figure, axes = panels(len(runs), EXAMPLES, 9.5, sum(heights), height_ratios=heights)
    look = looks(*rows_of(runs))
    for row, (name, found) in zip(axes, runs.items(), strict=True):
        examples = found.class_f1.examples
        for each in row[len(examples) :]:
            each.set_axis_off()
        if not examples:
            row[0].text(0, 0.5, f"{shown(name)}: no class has a winner", transform=row[0].transAxes)
        low = min((float(found.class_f1.scores[:, each.label].min()) for each in examples), default=0.0)
        for number, (each, example) in enumerate(zip(row, examples, strict=False)):
            _panel(each, found, example, low, look)
            each.set_yticks(*_names(found.class_f1.names, written=number == 0))
            if number == 0:
                each.annotate(
                    shown(name),
                    (0, 1),
                    xytext=(-4, 6),
                    xycoords="axes fraction",
                    textcoords="offset points",
                    ha="right",
                    weight="bold",
                )
    return Drawing(
        "class-f1",
        "F1 of classes that different backbones know best (Figure 4)",
        {name: read_class_f1(found.class_f1, found.votes.class_names) for name, found in runs.items()},
        figure,
        (
            Table("class-f1", ("dataset", "class", "row", "f1"), tuple(_rows(runs))),
            Table("class-f1-examples", ("dataset", "class", "winner", "margin"), tuple(_examples(runs))),
        ),
    )


def _names(names: Sequence[str], *, written: bool) -> tuple[range, list[str]]:
    return range(len(names)), [shown(name, 20) if written else "" for name in names]


def _panel(axes: Axes, found: Measures, example: ExampleClass, low: float, look: Mapping[str, Look]) -> None:
    names, scores = found.class_f1.names, found.class_f1.scores[:, example.label]
    for height, (name, score) in enumerate(zip(names, scores, strict=True)):
        axes.axhline(height, color=FAINT, linewidth=0.8)
        axes.plot(score, height, look[name].marker, color=look[name].colour, markersize=6)
        axes.annotate(
            f"{score:.3f}",
            (score, height),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            weight="bold" if name == example.winner else "normal",
        )
    axes.set_ylim(len(names) - 0.4, -0.6)
    room = max(1 - low, 0.02)
    axes.set_xlim(low - 0.05 * room, 1 + 0.28 * room)
    axes.set_xticks(np.linspace(low, 1, 3), [f"{each:.2f}" for each in np.linspace(low, 1, 3)])
    axes.set_title(shown(found.votes.class_names[example.label]), loc="left")
    axes.set_xlabel("F1", color=QUIET)
    leave_only(axes, "bottom")


def _rows(runs: Mapping[str, Measures]) -> Iterator[tuple[object, ...]]:
    for name, found in runs.items():
        for label, of_class in enumerate(found.class_f1.scores.T.tolist()):
            for row, score in zip(found.class_f1.names, of_class, strict=True):
                yield name, found.votes.class_names[label], row, None if isnan(score) else score


def _examples(runs: Mapping[str, Measures]) -> Iterator[tuple[object, ...]]:
    for name, found in runs.items():
        for each in found.class_f1.examples:
            yield name, found.votes.class_names[each.label], each.winner, each.margin
