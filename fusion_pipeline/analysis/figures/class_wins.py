"""Figure 5: the classes that each backbone wins become bars, with and without the fused row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

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
)
from fusion_pipeline.analysis.measures import Measures, rows_of
from fusion_pipeline.analysis.readings import read_class_wins


@drawing()
def draw_class_wins(runs: Mapping[str, Measures]) -> Drawing:
    """Draw the number of classes won, in colour among the backbones, in black with the fused row among them."""
    heights = [0.7 + 0.36 * (len(found.votes.experts) + (found.moe is not None)) for found in runs.values()]
    figure, axes = panels(len(runs), 1, 7.2, sum(heights) + 0.3, height_ratios=heights)
    look = looks(*rows_of(runs))
    for (each,), (name, found) in zip(axes, runs.items(), strict=True):
        _panel(each, name, found, look)
    return Drawing(
        "class-wins",
        "Classes that each backbone wins (Figure 5)",
        {name: read_class_wins(found.class_wins) for name, found in runs.items()},
        figure,
        (Table("class-wins", ("dataset", "among", "row", "classes_shared", "classes_alone"), tuple(_rows(runs))),),
    )


def _panel(axes: Axes, name: str, found: Measures, look: Mapping[str, Look]) -> None:
    wins = found.class_wins
    names = (wins.with_fused or wins.experts).names
    up = 0.2 if wins.with_fused else 0.0
    for height, won in enumerate(wins.experts.shared):
        _bar(axes, won, height - up, look[names[height]].colour)
    for height, won in enumerate(wins.with_fused.shared if wins.with_fused else ()):
        _bar(axes, won, height + (up if height < len(wins.experts.names) else 0), FUSED)
    axes.set_yticks(range(len(names)), [shown(each) for each in names])
    axes.set_ylim(len(names) - 0.5, -0.6)
    axes.set_xlim(0, 1.12 * max((*wins.experts.shared, *(wins.with_fused.shared if wins.with_fused else ()))))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(f"classes won, of {wins.classes:,}; ties are shared")
    # Not by its ink, which follows the paper where a page shows the figure.
    second = f"; second bar: with {shown(names[-1])}" if wins.with_fused else ""
    axes.set_title(f"{shown(name)}\nclasses won{second}", loc="left")
    leave_only(axes, "bottom")


def _bar(axes: Axes, won: float, height: float, ink: str) -> None:
    axes.barh(height, won, height=0.38, color=ink)
    axes.annotate(f"{won:.3g}", (won, height), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)


def _rows(runs: Mapping[str, Measures]) -> Iterator[tuple[object, ...]]:
    for name, found in runs.items():
        for among, wins in (("backbones", found.class_wins.experts), ("with fused", found.class_wins.with_fused)):
            if wins is not None:
                for row, shared, strict in zip(wins.names, wins.shared, wins.strict, strict=True):
                    yield name, among, row, shared, strict
