"""A figure becomes SVG inside of a page: its own ids, its own name, and the page's colours of ink and paper."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from fusion_pipeline.analysis.figures.drawing import AVERAGED, COLOURED, FAINT, FUSED, INK, QUIET, Drawing, colour

_INKS: Final[Mapping[str, str]] = {
    INK: "var(--ink)",
    QUIET: "var(--soft)",
    FAINT: "var(--line)",
    FUSED: "var(--ink)",
    AVERAGED: "var(--soft)",
    "#ffffff": "var(--card)",
    **{colour(number): f"var(--expert-{number})" for number in range(COLOURED)},
}
"""Colours of figures that follow the page's scheme."""

_PROLOGUE = re.compile(r"\A.*?(?=<svg\b)|<metadata>.*?</metadata>", re.DOTALL)
_SIZE = re.compile(r'<svg\b[^>]*\bviewBox="0 0 ([\d.]+) ([\d.]+)"[^>]*>', re.DOTALL)
_ID = re.compile(r'\s+id="([^"]*)"')
_REFERENCE = re.compile(r'(url\(#|href="#)([^")]*)')


@dataclass(frozen=True)
class Inline:
    """An SVG element.

    Attributes
    ----------
    svg : Markup
    width : int
        In pixels, where there is room for it.
    """

    svg: Markup
    width: int


def inline_svg(drawing: Drawing) -> Inline:
    """Return a figure as an SVG element.

    Matplotlib escapes what it is told to write, so that no name from outside is more than text here.

    Parameters
    ----------
    drawing : Drawing
    """
    text = _PROLOGUE.sub("", drawing.to_bytes("svg").decode())
    text = _with_own_ids(text, drawing.name)
    # A picture has its own colours, and what is written upon it must stay readable: such figures keep white paper.
    pictured = "<image" in text
    if not pictured:
        text = re.sub("|".join(_INKS), lambda match: _INKS[match[0]], text)
    size = _SIZE.match(text)
    assert size is not None
    width, height = (round(float(each) * 4 / 3) for each in size.groups())  # points into pixels
    paper = ' class="pictured"' if pictured else ""
    head = f'<svg{paper} viewBox="0 0 {size[1]} {size[2]}" width="{width}" height="{height}" aria-hidden="true">'
    return Inline(Markup(head + text[size.end() :].strip()), width)  # noqa: S704  made by matplotlib


def _with_own_ids(text: str, name: str) -> str:
    """Return SVG whose ids are those that it refers to, each told from those of other figures."""
    wanted = {match[2] for match in _REFERENCE.finditer(text)}
    text = _ID.sub(lambda match: f' id="{name}-{match[1]}"' if match[1] in wanted else "", text)
    return _REFERENCE.sub(lambda match: f"{match[1]}{name}-{match[2]}", text)
