"""A kept run becomes a report: an answer, a table, figures, images and origins on one page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from fusion_pipeline.analysis.figures.every_figure import every_figure
from fusion_pipeline.analysis.kept_run import KeptRun, KeptStores
from fusion_pipeline.analysis.measures import Measures
from fusion_pipeline.analysis.report.answer import Answer, answer
from fusion_pipeline.analysis.report.cards import cards_of
from fusion_pipeline.analysis.report.costs import costs_of
from fusion_pipeline.analysis.report.gallery import Gallery, gallery_of
from fusion_pipeline.analysis.report.inline import inline_svg
from fusion_pipeline.analysis.report.names import as_text, isolated, named
from fusion_pipeline.analysis.report.origins import origins_of
from fusion_pipeline.analysis.report.outcomes import Outcome
from fusion_pipeline.analysis.report.page import render
from fusion_pipeline.analysis.report.pictures import picture_uris
from fusion_pipeline.analysis.report.standings import Standings, stand
from fusion_pipeline.analysis.report.table import table_of
from fusion_pipeline.train.aligned import Aligned
from fusion_pipeline.train.grouping import find_groups

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
    standings = stand(
        run, fused, find_groups(Aligned.of(list(stores.backbones.values())), run.summary["protocol"]["groups"])
    )
    said = answer(standings, costs)
    gallery = None if fused is None or at_most == 0 else gallery_of(run, fused, standings.names[0], at_most)
    content = {
        "dataset": run.dataset,
        "answer": said,
        "table": table_of(run, costs, standings.fused_name),
        "figures": tuple(_figures(measures)),
        "origins": origins_of(run, costs),
        **_images(gallery, stores, run, standings),
    }
    html = render(
        "report.html.j2", f"{named(run.dataset)}: what its backbones know", len(run.predictions.backbones) + 1, content
    )
    shown = 0 if gallery is None else len(gallery.images)
    tested = int((run.predictions.tested_in >= 0).any(axis=0).sum())
    return Report(html, said, standings.fused_name, shown, tested)


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


@dataclass(frozen=True)
class Choice:
    """Images to choose by what became of them.

    Attributes
    ----------
    mask : int
        Of `Outcome`; 0 for all.
    text : str
        With names between marks.
    count : int
        How many there are.
    """

    mask: int
    text: str
    count: int


def _images(gallery: Gallery | None, stores: KeptStores, run: KeptRun, standings: Standings) -> dict[str, Any]:
    """Return what the template needs for the images; nothing of it without a gallery."""
    if gallery is None:
        return {"cards": (), "coloured": ()}
    labels, trusted = np.unique(gallery.labels).tolist(), gallery.trusted_most
    return {
        "cards": cards_of(gallery, picture_uris(stores.index, run.predictions.usable_rows[gallery.images])),
        "coloured": gallery.coloured,
        "choices": tuple(_choices(gallery)),
        "classes": [(label, gallery.class_names[label]) for label in labels],
        "trusted": [] if trusted is None else list(_most_trusted(gallery, trusted)),
        "gallery_note": _note(gallery, standings),
        "records": gallery.to_json(),
    }


def _choices(gallery: Gallery) -> Iterator[Choice]:
    fused, best = named(gallery.voices[0].name), named(gallery.best)
    yield Choice(0, "all images", len(gallery.images))
    for outcome, text in (
        (Outcome.WRONG, f"errors of {fused}"),
        (Outcome.GATE_MENDED, f"errors mended by the gate: {fused} right, plain average wrong"),
        (Outcome.GATE_MADE, f"errors made by the gate: {fused} wrong, plain average right"),
        (Outcome.FUSING_MENDED, f"errors mended by fusing: {fused} right, {best} alone wrong"),
        (Outcome.FUSING_MADE, f"errors made by fusing: {fused} wrong, {best} alone right"),
        (Outcome.DISAGREED, "backbones disagree"),
    ):
        yield Choice(int(outcome), text, gallery.count(outcome))


def _most_trusted(gallery: Gallery, trusted: Sequence[int]) -> Iterator[tuple[int, str, int]]:
    for number, name in ((-1, "nobody more than another"), *enumerate(gallery.weighted)):
        count = int((np.asarray(trusted) == number).sum())
        if count or number >= 0:
            yield number, name, count


def _note(gallery: Gallery, standings: Standings) -> str:
    shown, fused = len(gallery.images), named(gallery.voices[0].name)
    some = (
        f"All {shown:,} tested images are here"
        if shown == gallery.tested
        else (
            f"{shown:,} of {gallery.tested:,} tested images are here: first those that the gate or fusing mended or made wrong, "
            "then other errors, then others at even distances"
        )
    )
    averaged, parts = standings.averaged
    if gallery.weights is None:
        bars = f"{fused} is no gate, and has no weights to show."
    elif averaged and averaged == parts:
        bars = f"{fused} only averages: the bars of its weights are all the same, and say nothing about an image."
    else:
        bars = "The bar is how the gate shared its trust among the backbones on this image."
    return (
        f"{some}, each as {fused} saw it: with its label, predicted by classifiers that were fitted without it. {bars} "
        "A filled circle is a backbone that is right by itself, a ring one that is wrong."
    )
