"""Draw the picture of the README from what a benchmark found.

::

    python docs/make_figure.py runs/flowers17-benchmark-1a2b3c4d/benchmark.json docs/flowers17.svg
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from fusion_pipeline.train.rows import RowName

INK, ACCENT = "#5b6b7b", "#c2410c"
mpl.rcParams["svg.hashsalt"] = "fusion"  # the same scores draw the same bytes


def draw(scores: dict[str, Any]) -> Figure:
    """Return the accuracy of every row with its 95 % interval, backbones in another colour than what fuses them."""
    rows = scores["rows"]
    dataset, protocol = scores["dataset"], scores["protocol"]
    figure = Figure(figsize=(7.2, 0.34 * len(rows) + 1.3), layout="constrained")
    axes = figure.subplots()
    for height, row in enumerate(reversed(rows)):
        colour = INK if row["method"] in scores["backbones"] else ACCENT
        low, high = (100 * bound for bound in row["ci95"])
        axes.plot([low, high], [height, height], color=colour, linewidth=2.5, solid_capstyle="round")
        axes.plot(100 * row["accuracy"], height, "o", color=colour, markersize=6)
        axes.annotate(
            f"{100 * row['accuracy']:.2f}",
            (high, height),
            textcoords="offset points",
            xytext=(6, 0),
            va="center",
            color=colour,
            fontsize=9,
        )
    axes.set_yticks(range(len(rows)), [_name(row) for row in reversed(rows)])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel("accuracy %, with 95 % interval")
    axes.set_title(
        f"{dataset['name']}: {dataset['usable']:,} images, {dataset['classes']} classes, "
        f"{protocol['folds']}-fold cross-validation",
        loc="left",
        fontsize=11,
    )
    axes.grid(axis="x", color="#e5e7eb")
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(left=False)
    return figure


def _name(row: dict[str, Any]) -> str:
    return RowName("", row["method"], row["label_embedding"], row["mode"], row["experts"]).text


def main() -> None:
    """Read the scores, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scores", type=Path)
    parser.add_argument("picture", type=Path)
    options = parser.parse_args()
    figure = draw(json.loads(options.scores.read_text(encoding="utf-8")))
    figure.savefig(options.picture, dpi=150, metadata={"Date": None} if options.picture.suffix == ".svg" else None)


if __name__ == "__main__":
    main()
