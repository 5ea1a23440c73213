"""What a model says of new photographs becomes a page: labels, what each expert says, and whom the gate trusts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.analysis.report.cards import Bar, bar_of
from fusion_pipeline.analysis.report.page import render
from fusion_pipeline.analysis.report.pictures import picture_uri

LIKELIEST = 5
"""Classes that are shown of each photograph, if they have a probability at all."""

_WORTH_A_LINE = 0.0005  # less is printed as 0.0 %


@dataclass(frozen=True)
class Explained:
    """A photograph, and what a model says of it.

    Attributes
    ----------
    path : str
    thumbnail : ndarray (size, size, 3), uint8
    probabilities : mapping of str to float
        Of every class.
    gate : mapping of str to float
        How much each expert is trusted; sums to 1.
    opinions : mapping of str to (str, float)
        What each expert says by itself, and its probability.
    """

    path: str
    thumbnail: NDArray[np.uint8]
    probabilities: Mapping[str, float]
    gate: Mapping[str, float]
    opinions: Mapping[str, tuple[str, float]]


@dataclass(frozen=True)
class Likely:
    """One of the likeliest classes of a photograph.

    Attributes
    ----------
    label : str
    percent : str
    length : int
        Of its bar, in thousandths.
    """

    label: str
    percent: str
    length: int


@dataclass(frozen=True)
class Heard:
    """What one expert says of a photograph, and how it is heard.

    Attributes
    ----------
    colour : int
    name : str
    label : str
    percent : str
    weight : str
    agrees : bool
        Whether it says what the model says.
    """

    colour: int
    name: str
    label: str
    percent: str
    weight: str
    agrees: bool


@dataclass(frozen=True)
class Sheet:
    """A photograph, ready to print.

    Attributes
    ----------
    picture : str
        A data URI.
    name : str
    likely : tuple of Likely
        The likeliest first.
    bar : Bar
    heard : tuple of Heard
    """

    picture: str
    name: str
    likely: tuple[Likely, ...]
    bar: Bar
    heard: tuple[Heard, ...]


def explain(photographs: Sequence[Explained], notes: Sequence[str], skipped: Sequence[str]) -> str:
    """Return the page of some photographs, of one model.

    Parameters
    ----------
    photographs : sequence of Explained
    notes : sequence of str
        What to know before trusting the model.
    skipped : sequence of str
        A line for each photograph that could not be used.
    """
    experts = tuple(photographs[0].gate) if photographs else ()
    content = {
        "sheets": [_sheet(each) for each in photographs],
        "coloured": experts,
        "notes": tuple(notes),
        "skipped": tuple(skipped),
    }
    return render("explanation.html.j2", "What is on these photographs", len(experts), content)


def _sheet(photograph: Explained) -> Sheet:
    ranked = sorted(photograph.probabilities.items(), key=lambda each: -each[1])[:LIKELIEST]
    ranked = ranked[:1] + [each for each in ranked[1:] if each[1] >= _WORTH_A_LINE]
    experts = tuple(photograph.gate)
    label = ranked[0][0]
    return Sheet(
        picture_uri(photograph.thumbnail),
        photograph.path,
        tuple(Likely(name, _percent(share), round(1000 * share)) for name, share in ranked),
        bar_of(experts, tuple(photograph.gate.values()), experts),
        tuple(
            Heard(number, name, said, _percent(share), f"{photograph.gate[name]:.2f}", said == label)
            for number, (name, (said, share)) in enumerate(photograph.opinions.items())
        ),
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"
