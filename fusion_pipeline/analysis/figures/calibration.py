"""Reliability curves become small panels, a row of them for each data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil

from matplotlib.axes import Axes

from fusion_pipeline.analysis.calibration import Reliability
from fusion_pipeline.analysis.figures.drawing import (
    QUIET,
    Drawing,
    Table,
    drawing,
    leave_only,
    looks,
    panels,
    shown,
)
from fusion_pipeline.analysis.measures import Measures, rows_of
from fusion_pipeline.analysis.readings import read_calibration

_ACROSS = 4


@drawing()
def draw_calibration(runs: Mapping[str, Measures]) -> Drawing:
    """Draw how often each row is right against how sure it is, with its expected calibration error."""
    lines = [ceil(len(found.calibration) / _ACROSS) for found in runs.values()]
    figure, axes = panels(sum(lines), _ACROSS, 8.4, 2.15 * sum(lines) + 0.2, sharex=True, sharey=True)
    look, top = looks(*rows_of(runs)), 0
    for (name, found), rows in zip(runs.items(), lines, strict=True):
        panel_rows = axes[top : top + rows].ravel()
        for each, curve in zip(panel_rows, found.calibration, strict=False):
            _panel(each, curve, look[curve.name].colour, name if len(runs) > 1 else "")
        for each in panel_rows[len(found.calibration) :]:
            each.set_visible(False)
        top += rows
    figure.supxlabel("how sure: highest probability (area of a dot: number of images)", fontsize=9)
    figure.supylabel("how often right", fontsize=9)
    return Drawing(
        "calibration",
        "Calibration: how often what is said to be likely is true",
        {name: read_calibration(found.calibration) for name, found in runs.items()},
        figure,
        (
            Table(
                "calibration", ("dataset", "row", "ece", "bin", "images", "confidence", "accuracy"), tuple(_rows(runs))
            ),
        ),
    )


def _panel(axes: Axes, curve: Reliability, ink: str, dataset: str) -> None:
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=0.8, linestyle=(0, (4, 3)))
    points = [
        (confidence, accuracy, count)
        for confidence, accuracy, count in zip(curve.confidences, curve.accuracies, curve.counts, strict=True)
        if confidence is not None and accuracy is not None
    ]
    xs, ys, counts = zip(*points, strict=True)
    axes.plot(xs, ys, color=ink, linewidth=1)
    axes.scatter(xs, ys, s=[4 + 90 * count / sum(counts) for count in counts], color=ink)
    head = f"{shown(dataset, 22)}\n" if dataset else ""
    axes.set_title(f"{head}{shown(curve.name, 22)}\nECE {100 * curve.ece:.1f} %", loc="left")
    axes.set_xlim(-0.02, 1.04)
    axes.set_ylim(-0.04, 1.06)
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.tick_params(labelbottom=True)
    leave_only(axes, "bottom", "left")


def _rows(runs: Mapping[str, Measures]) -> Iterator[tuple[object, ...]]:
    for name, found in runs.items():
        for curve in found.calibration:
            for number, cells in enumerate(zip(curve.counts, curve.confidences, curve.accuracies, strict=True)):
                yield name, curve.name, curve.ece, number, *cells
