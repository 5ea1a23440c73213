"""Figure 2: the agreement of each pair of backbones becomes a box for each data set."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from fusion_pipeline.analysis.agreement import Agreement
from fusion_pipeline.analysis.figures.drawing import (
    INK,
    QUIET,
    Drawing,
    Table,
    colour,
    drawing,
    leave_only,
    panels,
    shown,
)
from fusion_pipeline.analysis.measures import Measures
from fusion_pipeline.analysis.readings import read_agreement


@drawing()
def draw_agreement(runs: Mapping[str, Measures]) -> Drawing:
    """Draw the kappas of all pairs, a row for each data set, with mean and median."""
    figure, ((axes,),) = panels(1, 1, 7.2, 1.1 + 0.7 * len(runs))
    for height, found in enumerate(runs.values()):
        _row(axes, height, found.agreement)
    axes.set_yticks(range(len(runs)), [_name(name, found.agreement) for name, found in runs.items()])
    axes.set_ylim(len(runs) - 0.5, -0.5)
    low = min((pair.kappa for found in runs.values() for pair in found.agreement.pairs), default=0.0)
    axes.set_xlim(min(0.9, low - 0.05) if low < 0.95 else 0.9, 1.004)
    axes.set_xlabel("Cohen's kappa of two backbones (1: they agree on every image)")
    axes.set_title("Box of quartiles, line at the median, triangle at the mean", loc="left")
    axes.grid(axis="x")
    leave_only(axes, "bottom")
    rows = [
        (name, pair.first, pair.second, pair.kappa) for name, found in runs.items() for pair in found.agreement.pairs
    ]
    sums = [(name, found.agreement.mean, found.agreement.median) for name, found in runs.items()]
    return Drawing(
        "agreement",
        "Agreement of pairs of backbones (Figure 2)",
        {name: read_agreement(found.agreement) for name, found in runs.items()},
        figure,
        (
            Table("agreement", ("dataset", "first", "second", "kappa"), tuple(rows)),
            Table("agreement-means", ("dataset", "mean", "median"), tuple(sums)),
        ),
    )


def _name(dataset: str, found: Agreement) -> str:
    told = "" if found.mean is None else f"\nmean {found.mean:.3f}\nmedian {found.median:.3f}"
    return f"{shown(dataset)}{told}"


def _row(axes: Axes, height: int, found: Agreement) -> None:
    if not found.pairs or found.mean is None or found.median is None:
        axes.annotate(
            "one backbone: no pair", (0.5, height), xycoords=("axes fraction", "data"), ha="center", va="center"
        )
        return
    kappas = np.array([pair.kappa for pair in found.pairs])
    low, high = np.quantile(kappas, [0.25, 0.75])
    axes.plot([kappas.min(), kappas.max()], [height, height], color=QUIET, linewidth=1)
    axes.barh(height, high - low, left=low, height=0.36, color="white", edgecolor=QUIET)
    axes.plot([found.median] * 2, [height - 0.18, height + 0.18], color=colour(5), linewidth=2)
    axes.plot(kappas, np.full(len(kappas), height), ".", color=INK, markersize=4, alpha=0.6)
    axes.plot(found.mean, height, "^", color=colour(2), markersize=7)
