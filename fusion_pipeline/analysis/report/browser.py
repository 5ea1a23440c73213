"""A gallery and its pictures become what a page needs to show, filter and search them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.analysis.report.cards import cards_of
from fusion_pipeline.analysis.report.gallery import Gallery
from fusion_pipeline.analysis.report.names import named
from fusion_pipeline.analysis.report.outcomes import Outcome
from fusion_pipeline.train.rows import AVERAGE

IntArray = NDArray[np.int64]


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


def browse(gallery: Gallery, pictures: Sequence[str]) -> dict[str, Any]:
    """Return what the template needs for the images.

    Parameters
    ----------
    gallery : Gallery
    pictures : sequence of str
        Data URIs, of its images.
    """
    labels, trusted = np.unique(gallery.labels).tolist(), gallery.trusted_most
    return {
        "cards": cards_of(gallery, pictures),
        "coloured": gallery.coloured,
        "choices": tuple(_choices(gallery)),
        "classes": [(label, gallery.class_names[label]) for label in labels],
        "trusted": [] if trusted is None else list(_most_trusted(gallery, trusted)),
        "gallery_note": _note(gallery),
        "records": gallery.to_json(),
    }


def _choices(gallery: Gallery) -> Iterator[Choice]:
    names = [voice.name for voice in gallery.voices]
    fused, best = named(names[0]), named(gallery.best)
    choices = [(Outcome.WRONG, f"errors of {fused}")]
    if AVERAGE in names[1:] and names[0] != gallery.best:
        choices += [
            (Outcome.GATE_MENDED, f"errors mended by {gallery.who}: {fused} right, plain average wrong"),
            (Outcome.GATE_MADE, f"errors made by {gallery.who}: {fused} wrong, plain average right"),
        ]
    if names[0] != gallery.best:
        choices += [
            (Outcome.FUSING_MENDED, f"errors mended by fusing: {fused} right, {best} alone wrong"),
            (Outcome.FUSING_MADE, f"errors made by fusing: {fused} wrong, {best} alone right"),
        ]
    yield Choice(0, "all images", len(gallery.images))
    for outcome, text in (*choices, (Outcome.DISAGREED, "backbones disagree")):
        yield Choice(int(outcome), text, gallery.count(outcome))


def _most_trusted(gallery: Gallery, trusted: IntArray) -> Iterator[tuple[int, str, int]]:
    for number, name in ((-1, "nobody more than another"), *enumerate(gallery.weighted)):
        count = int((trusted == number).sum())
        if count or number >= 0:
            yield number, name, count


def _note(gallery: Gallery) -> str:
    shown, fused = len(gallery.images), named(gallery.voices[0].name)
    some = f"All {shown:,} tested images are here"
    if shown < gallery.tested:
        some = (
            f"{shown:,} of {gallery.tested:,} tested images are here: first those that the gate or fusing mended or "
            "got wrong, then other errors, then others at even distances"
        )
    trusted = gallery.trusted_most
    if trusted is None:
        bars = f"{fused} is no gate, and has no weights to show."
    elif (trusted == -1).all():
        bars = f"{fused} gives every backbone the same weight: the bars are all alike, and say nothing about an image."
    else:
        bars = "The bar is how the gate shared its trust among the backbones on this image."
    return (
        f"{some}, each as {fused} saw it: with its label, predicted by classifiers that were fitted without it. {bars} "
        "A filled circle is a backbone that is right by itself, a ring one that is wrong."
    )
