"""Figure 3B: what all backbones get wrong becomes a share of the best one's errors for each data set."""

from __future__ import annotations

from collections.abc import Mapping

from fusion_pipeline.analysis.figures.drawing import ALARM, FAINT, Drawing, Table, drawing, leave_only, panels, shown
from fusion_pipeline.analysis.measures import Measures
from fusion_pipeline.analysis.readings import read_all_wrong


@drawing()
def draw_all_wrong(runs: Mapping[str, Measures]) -> Drawing:
    """Draw the part of the best backbone's errors that nobody could mend, a bar for each data set."""
    figure, ((axes,),) = panels(1, 1, 7.2, 1.15 + 0.65 * len(runs))
    for height, found in enumerate(runs.values()):
        correct, ratio = found.correct, found.correct.ratio
        axes.barh(height, 1 if ratio is not None else 0, height=0.4, color=FAINT)
        axes.barh(height, ratio or 0, height=0.4, color=ALARM)
        text = f"{correct.all_wrong:,} of the {correct.best_errors:,} errors of {shown(correct.best)}"
        told = "no error" if ratio is None else f"{ratio:.2f}: {text}"
        axes.text(0, height - 0.26, told, va="bottom")
    axes.set_yticks(range(len(runs)), [shown(name) for name in runs])
    axes.set_ylim(len(runs) - 0.5, -0.7)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the best backbone's errors that all others make as well")
    axes.set_title("What no choice between the backbones could mend", loc="left")
    leave_only(axes, "bottom")
    rows = [
        (name, found.correct.best, found.correct.best_errors, found.correct.all_wrong, found.correct.ratio)
        for name, found in runs.items()
    ]
    return Drawing(
        "all-wrong",
        "Errors that all backbones make (Figure 3B)",
        {name: read_all_wrong(found.correct) for name, found in runs.items()},
        figure,
        (Table("all-wrong", ("dataset", "best_backbone", "errors", "all_wrong", "ratio"), tuple(rows)),),
    )
