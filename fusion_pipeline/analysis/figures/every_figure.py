"""Measures of one or more data sets become all figures of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fusion_pipeline.analysis.figures.agreement import draw_agreement
from fusion_pipeline.analysis.figures.all_wrong import draw_all_wrong
from fusion_pipeline.analysis.figures.calibration import draw_calibration
from fusion_pipeline.analysis.figures.class_f1 import draw_class_f1
from fusion_pipeline.analysis.figures.class_wins import draw_class_wins
from fusion_pipeline.analysis.figures.confused_pair import draw_confused_pair
from fusion_pipeline.analysis.figures.correct_experts import draw_correct_experts
from fusion_pipeline.analysis.figures.distinct_votes import draw_distinct_votes
from fusion_pipeline.analysis.figures.drawing import Drawing
from fusion_pipeline.analysis.figures.subsets import draw_subsets
from fusion_pipeline.analysis.figures.trust import draw_trust
from fusion_pipeline.analysis.measures import Measures
from fusion_pipeline.store.identity import slug

_COMPARING = (draw_agreement, draw_all_wrong, draw_class_f1, draw_class_wins, draw_distinct_votes)
_TOGETHER = (
    draw_agreement,
    draw_correct_experts,
    draw_all_wrong,
    draw_class_f1,
    draw_class_wins,
    draw_distinct_votes,
    draw_subsets,
    draw_calibration,
)
_ALONE = {"confused-pair": draw_confused_pair, "trust": draw_trust}


def every_figure(runs: Mapping[str, Measures]) -> Iterator[Drawing]:
    """Yield each figure: those that have a row for each data set, then those that are of one data set alone.

    Figures that compare backbones leave out runs of a single one.

    Parameters
    ----------
    runs : mapping of str to Measures
        By what their data sets are called in figures.
    """
    several = {name: found for name, found in runs.items() if len(found.votes.experts) > 1}
    rows = [(draw, several if draw in _COMPARING else runs) for draw in _TOGETHER]
    drawn = [draw(shown) for draw, shown in rows if shown]
    for name, draw in _ALONE.items():
        for number, (dataset, found) in enumerate(runs.items(), start=1):
            file = name if len(runs) == 1 else f"{name}-{number}-{slug(dataset)}"
            drawn.append(draw(dataset, found, file))
    yield from (each for each in drawn if each is not None)
