"""What was said of an image becomes a card: a picture, labels, a bar of gate weights, and who was right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from fusion_pipeline.analysis.report.gallery import Gallery
from fusion_pipeline.analysis.report.names import named
from fusion_pipeline.analysis.report.outcomes import Outcome

_BADGES = (
    (Outcome.GATE_MENDED, "{who} mended it", "mended"),
    (Outcome.GATE_MADE, "{who} got it wrong", "made"),
    (Outcome.FUSING_MENDED, "fusing mended it", "mended"),
    (Outcome.FUSING_MADE, "fusing got it wrong", "made"),
)


@dataclass(frozen=True)
class Segment:
    """A piece of a bar, in thousandths of its length.

    Attributes
    ----------
    colour : int
        The number of its expert's colour.
    start, length : int
    """

    colour: int
    start: int
    length: int


@dataclass(frozen=True)
class Bar:
    """The gate weights of an image.

    Attributes
    ----------
    segments : tuple of Segment
        Of the experts that have any weight.
    description : str
        The same in words, with names between marks.
    """

    segments: tuple[Segment, ...]
    description: str


def bar_of(experts: Sequence[str], weights: Sequence[float], coloured: Sequence[str]) -> Bar:
    """Return the bar of gate weights, which sum to 1.

    Parameters
    ----------
    experts : sequence of str
    weights : sequence of float
    coloured : sequence of str
        Names in the order of the colours.

    Examples
    --------
    >>> from fusion_pipeline.analysis.report.names import as_text
    >>> bar = bar_of(["a", "b"], [0.25, 0.75], ["a", "b"])
    >>> as_text(bar.description), [(segment.start, segment.length) for segment in bar.segments]
    ('Gate weights: a 0.25, b 0.75', [(0, 250), (250, 750)])
    """
    places = [0, *(round(1000 * end) for end in accumulate(weights))]
    segments = tuple(
        Segment(coloured.index(name), start, end - start)
        for name, start, end in zip(experts, places[:-1], places[1:], strict=True)
        if end > start
    )
    told = ", ".join(f"{named(name)} {weight:.2f}" for name, weight in zip(experts, weights, strict=True))
    return Bar(segments, f"Gate weights: {told}")


@dataclass(frozen=True)
class Mark:
    """Whether one backbone was right.

    Attributes
    ----------
    colour : int
        The number of its colour.
    right : bool
    """

    colour: int
    right: bool


@dataclass(frozen=True)
class Card:
    """One image of a report.

    Attributes
    ----------
    picture : str
        A data URI.
    name : str
        Its sample id.
    truth, said : str
        Its class, and what the fused row said.
    right : bool
    badge : str
        What fusing did to it; empty if nothing.
    badge_kind : {"mended", "made", ""}
    bar : Bar or None
    marks : tuple of Mark
        By backbone.
    """

    picture: str
    name: str
    truth: str
    said: str
    right: bool
    badge: str
    badge_kind: str
    bar: Bar | None
    marks: tuple[Mark, ...]

    @property
    def right_backbones(self) -> int:
        """How many backbones were right."""
        return sum(mark.right for mark in self.marks)


def cards_of(gallery: Gallery, pictures: Sequence[str]) -> list[Card]:
    """Return the cards of a gallery, in its order.

    Parameters
    ----------
    gallery : Gallery
    pictures : sequence of str
        Data URIs, of its images.
    """
    return [_card(gallery, number, picture) for number, picture in enumerate(pictures)]


def _card(gallery: Gallery, number: int, picture: str) -> Card:
    label = int(gallery.labels[number])
    said = int(gallery.voices[0].predicted[number])
    badge, kind = _badge(int(gallery.outcomes[number]), gallery.who)
    weights = None if gallery.weights is None else gallery.weights[number].tolist()
    singles = gallery.voices[-len(gallery.backbones) :]
    return Card(
        picture,
        gallery.sample_ids[number],
        gallery.class_names[label],
        gallery.class_names[said],
        said == label,
        badge,
        kind,
        None if weights is None else bar_of(gallery.weighted, weights, gallery.coloured),
        tuple(Mark(colour, int(voice.predicted[number]) == label) for colour, voice in enumerate(singles)),
    )


def _badge(outcome: int, who: str) -> tuple[str, str]:
    return next(((text.format(who=who), kind) for one, text, kind in _BADGES if outcome & one), ("", ""))
