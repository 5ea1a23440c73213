"""Figure 5: the classes that each backbone wins become bars, with and without the fused row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from matplotlib.axes import Axes

from fusion_pipeline.analysis.figures.drawing import FUSED, Drawing, Table, colour, drawing, leave_only, panels, shown
from fusion_pipeline.analysis.measures import Measures
from fusion_pipeline.analysis.readings import read_class_wins


@drawing()
def draw_class_wins(runs: Mapping[str, Measures]) -> Drawing:
    """Draw the number of classes won, in colour among the backbones, in black with the fused row among them."""
    heights = [0.55 + 0.36 * (len(found.votes.experts) + (found.moe is not None)) for found in runs.values()]
    figure, axes = panels(len(runs), 1, 7.2, sum(heights) + 0.3, height_ratios=heights)
    for (each,), (name, found) in zip(axes, runs.items(), strict=True):
        _panel(each, name, found)
    return Drawing(
        "class-wins",
        "Classes that each backbone wins (Figure 5)",
        {name: read_class_wins(found.class_wins) for name, found in runs.items()},
        figure,
        (Table("class-wins", ("dataset", "among", "row", "classes_shared", "classes_alone"), tuple(_rows(runs))),),
    )


def _panel(axes: Axes, name: str, found: Measures) -> None:
    wins = found.class_wins
    names = (wins.with_fused or wins.experts).names
    for height, won in enumerate(wins.experts.shared):
        axes.barh(height, won, height=0.62, color=colour(height))
        _label(axes, won, height - (0.16 if wins.with_fused else 0), colour(height))
    for height, won in enumerate(wins.with_fused.shared if wins.with_fused else ()):
        alone = height == len(names) - 1
        axes.barh(height if alone else height + 0.16, won, height=0.3, color=FUSED)
        _label(axes, won, height if alone else height + 0.18, FUSED)
    axes.set_yticks(range(len(names)), [shown(each) for each in names])
    axes.set_ylim(len(names) - 0.5, -0.6)
    axes.set_xlim(0, 1.12 * max((*wins.experts.shared, *(wins.with_fused.shared if wins.with_fused else ()))))
    axes.set_xlabel(f"classes won, of {wins.classes:,}; ties are shared")
    black = f"; black: with {shown(names[-1])} among them" if wins.with_fused else ""
    axes.set_title(f"{shown(name)}: classes won among the backbones{black}", loc="left")
    leave_only(axes, "bottom")


def _label(axes: Axes, won: float, height: float, ink: str) -> None:
    axes.annotate(
        f"{won:.3g}", (won, height), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8, color=ink
    )


def _rows(runs: Mapping[str, Measures]) -> Iterator[tuple[object, ...]]:
    for name, found in runs.items():
        for among, wins in (("backbones", found.class_wins.experts), ("with fused", found.class_wins.with_fused)):
            if wins is not None:
                for row, shared, strict in zip(wins.names, wins.shared, wins.strict, strict=True):
                    yield name, among, row, shared, strict
