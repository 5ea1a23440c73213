"""A kept run becomes a report: an answer, a table, figures, images and origins on one page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from fusion_pipeline.analysis.figures.every_figure import every_figure
from fusion_pipeline.analysis.kept_run import KeptStores
from fusion_pipeline.analysis.measures import Measures
from fusion_pipeline.analysis.report.answer import Answer, answer
from fusion_pipeline.analysis.report.browser import browse
from fusion_pipeline.analysis.report.costs import costs_of
from fusion_pipeline.analysis.report.gallery import gallery_of
from fusion_pipeline.analysis.report.inline import inline_svg
from fusion_pipeline.analysis.report.names import as_text, isolated, named
from fusion_pipeline.analysis.report.origins import origins_of
from fusion_pipeline.analysis.report.page import render
from fusion_pipeline.analysis.report.pictures import picture_uris
from fusion_pipeline.analysis.report.standings import stand
from fusion_pipeline.analysis.report.table import table_of

_ROOM = 760  # pixels of a figure that still leave room for a sentence beside it


@dataclass(frozen=True)
class Report:
    """A report, and what it says in short.

    Attributes
    ----------
    html : str
        The page.
    answer : Answer
    row : str
        What the table calls the row that stands for the fused model; empty if the run has none.
    shown, tested : int
        Images on the page, and images that the run tested.
    """

    html: str
    answer: Answer
    row: str
    shown: int
    tested: int

    def to_json(self, path: Path) -> dict[str, Any]:
        """Return what a machine is told of the report that was written to `path`."""
        points = [
            {
                "heading": point.heading,
                "figure": as_text(point.figure),
                "sentences": [as_text(sentence) for sentence in point.sentences],
            }
            for point in self.answer.points
        ]
        return {
            "report": str(path),
            "bytes": len(self.html.encode()),
            "row": self.row,
            "images": {"shown": self.shown, "tested": self.tested},
            "answer": {
                "headline": as_text(self.answer.headline),
                "warning": as_text(self.answer.warning),
                "points": points,
            },
        }


def make_report(measures: Measures, stores: KeptStores, multiply_adds: Mapping[str, float], at_most: int) -> Report:
    """Return the report of a run; the same run gives the same bytes.

    Parameters
    ----------
    measures : Measures
    stores : KeptStores
        That the run was made from.
    multiply_adds : mapping of str to float
        Of one image, by backbone, as far as known.
    at_most : int
        How many images to show.

    Raises
    ------
    IntegrityError
        If stored thumbnails are not what was published.
    """
    run, fused = measures.run, measures.moe
    costs = costs_of(run, multiply_adds)
    standings = stand(run, fused)
    said = answer(standings, costs)
    looked_at = fused if fused is not None else run.predictions.row(standings.names[0])
    assert looked_at is not None
    gallery = gallery_of(run, looked_at, standings.names[0], at_most)
    pictures = picture_uris(stores.index, run.predictions.usable_rows[gallery.images])
    content = {
        "dataset": run.dataset,
        "answer": said,
        "table": table_of(run, costs, standings.fused_name),
        "figures": tuple(_figures(measures)),
        "notes": measures.notes,
        "origins": origins_of(run, costs),
        **browse(gallery, pictures),
    }
    html = render("report.html.j2", f"{named(run.dataset)}: what its backbones know", len(gallery.coloured), content)
    return Report(html, said, standings.fused_name, len(gallery.images), gallery.tested)


@dataclass(frozen=True)
class Figure:
    """A figure of the report.

    Attributes
    ----------
    title : str
    reading : str
        The sentence that says what it shows, with names between marks.
    svg : Markup
    wide : bool
        Whether it leaves no room beside it.
    """

    title: str
    reading: str
    svg: Markup
    wide: bool


def _figures(measures: Measures) -> Iterator[Figure]:
    run = measures.run
    for drawn in every_figure({run.dataset: measures}):
        inline = inline_svg(drawn)
        reading = isolated(drawn.readings[run.dataset], (run.dataset, *run.predictions.class_names))
        yield Figure(drawn.title, reading, inline.svg, inline.width > _ROOM)
