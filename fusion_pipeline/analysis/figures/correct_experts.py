"""Figure 3A: the number of backbones that are right becomes bars for each data set."""

from __future__ import annotations

from collections.abc import Mapping

from fusion_pipeline.analysis.figures.drawing import ALARM, Drawing, Table, colour, drawing, leave_only, panels, shown
from fusion_pipeline.analysis.measures import Measures
from fusion_pipeline.analysis.readings import read_correct


@drawing()
def draw_correct_experts(runs: Mapping[str, Measures]) -> Drawing:
    """Draw the share of images on which 0 to K backbones are right, a row of bars for each data set."""
    figure, axes = panels(len(runs), 1, 7.2, 0.6 + 1.65 * len(runs))
    for (each,), (name, found) in zip(axes, runs.items(), strict=True):
        shares = found.correct.shares
        bars = each.bar(range(len(shares)), shares, width=0.7, color=[ALARM, *[colour(0)] * (len(shares) - 1)])
        each.bar_label(bars, [f"{100 * share:.1f} %" for share in shares], padding=2)
        each.set_title(f"{shown(name)}\nshare of the images, by the number of backbones that are right", loc="left")
        each.set_xticks(range(len(shares)), _ticks(len(shares)))
        each.set_ylim(0, 1.18 * max(shares))
        each.set_yticks([])
        leave_only(each, "bottom")
    rows = [
        (name, number, count, share)
        for name, found in runs.items()
        for number, (count, share) in enumerate(zip(found.correct.counts, found.correct.shares, strict=True))
    ]
    return Drawing(
        "correct-experts",
        "Number of backbones that are right (Figure 3A)",
        {name: read_correct(found.correct) for name, found in runs.items()},
        figure,
        (Table("correct-experts", ("dataset", "correct_backbones", "images", "share"), tuple(rows)),),
    )


def _ticks(numbers: int) -> list[str]:
    return ["none", *map(str, range(1, numbers - 1)), f"all {numbers - 1}" if numbers > 2 else "the one"]
