"""What a figure shows becomes files: a picture, the same bytes for the same numbers, and tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, cast

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from fusion_pipeline.errors import printable
from fusion_pipeline.train.rows import AVERAGE

INK: Final = "#1f2933"
QUIET: Final = "#7b8794"
FAINT: Final = "#e4e7eb"
FUSED: Final = "#000000"
AVERAGED: Final = "#52606d"
ALARM: Final = "#d55e00"

# Okabe and Ito's, which people see apart who confuse red and green, without their yellow, which paper swallows.
_COLOURS: Final = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6d31")
COLOURED: Final = len(_COLOURS)
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")

FORMATS: Final = ("svg", "png")

_FONT: Final = "DejaVu Sans"  # matplotlib brings it: the same picture on every machine
_SETTINGS: Final[dict[str, Any]] = {
    "font.family": [_FONT],
    "font.size": 9,
    "text.parse_math": False,  # a class may be called '$100'
    "text.color": INK,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "svg.hashsalt": "fusion",
    "svg.fonttype": "path",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@dataclass(frozen=True)
class Table:
    """Numbers of a figure, as a CSV file has them.

    Attributes
    ----------
    name : str
        Of the file, without its ending.
    columns : tuple of str
    rows : tuple of tuple
        Texts and numbers; None for what there is not.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]

    def to_bytes(self) -> bytes:
        """Return the file: UTF-8, a byte of a name that is not UTF-8 as an escape."""
        return "".join(map(_csv_line, (self.columns, *self.rows))).encode("utf-8", "backslashreplace")


def _csv_line(cells: Sequence[object]) -> str:
    out = io.StringIO()
    # Before Python 3.13 only what ends its own lines is quoted: a carriage return in a name would end the row.
    csv.writer(out, lineterminator="\r\n").writerow("" if cell is None else cell for cell in cells)
    return out.getvalue().removesuffix("\r\n") + "\n"


@dataclass(frozen=True)
class Drawing:
    """One figure.

    Attributes
    ----------
    name : str
        Of its file, without its ending.
    title : str
        What it shows, and of which figure of the paper it is the like.
    readings : mapping of str to str
        By data set: the sentence that says what it shows.
    figure : Figure
    tables : tuple of Table
        The numbers in it.
    """

    name: str
    title: str
    readings: Mapping[str, str]
    figure: Figure
    tables: tuple[Table, ...]

    def __post_init__(self) -> None:
        # Each drawing would move the layout a little: it is found once, whatever is written of it.
        self.figure.draw_without_rendering()
        self.figure.set_layout_engine("none")

    def to_bytes(self, ending: str) -> bytes:
        """Return the picture as a file of one of `FORMATS`."""
        out = io.BytesIO()
        words = {"Title": self.title, "Description": " ".join(self.readings.values())}
        told = {**words, "Date": None} if ending == "svg" else {"Software": None, **words}
        with drawing():
            self.figure.savefig(out, format=ending, dpi=150, metadata=told)
        return out.getvalue()


@contextmanager
def drawing() -> Iterator[None]:
    """Draw as all figures here are drawn, whatever the caller's settings of matplotlib are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        cast(Any, mpl.rcParams).update(_SETTINGS)  # its keys are listed one by one in the types of new versions
        yield


def shown(text: str, most: int = 28) -> str:
    r"""Return a name from outside as a figure can show it: one line, no longer than `most`, no sign without a shape.

    Examples
    --------
    >>> shown("rose\n"), shown("caltech256/257.clutter/257_0001.jpg", 20)
    ('rose\\n', 'caltech25…7_0001.jpg')
    """
    drawable = "".join(sign if _has_shape(sign) else sign.encode("unicode_escape").decode() for sign in printable(text))
    if len(drawable) <= most:
        return drawable
    head = (most - 1) // 2
    return f"{drawable[:head]}…{drawable[len(drawable) - (most - 1 - head) :]}"


@cache
def _has_shape(sign: str) -> bool:
    return bool(get_font(findfont(FontProperties(family=_FONT))).get_char_index(ord(sign)))


def colour(position: int) -> str:
    """Return one of the colours that are told apart, by its number; they begin anew after the last."""
    return _COLOURS[position % len(_COLOURS)]


@dataclass(frozen=True)
class Look:
    """How a row of the table is drawn, in every panel of a figure.

    Attributes
    ----------
    colour, marker : str
        As matplotlib names them.
    """

    colour: str
    marker: str


def looks(backbones: Iterable[str], fused: Iterable[str]) -> dict[str, Look]:
    """Return how each row is drawn: backbones in colours, by their first occurrence, and what is fused in black.

    Examples
    --------
    >>> looks(["a", "b", "a"], ["average"])["average"]
    Look(colour='#52606d', marker='s')
    """
    found = {
        name: Look(colour(number), _MARKERS[number // len(_COLOURS) % len(_MARKERS)])
        for number, name in enumerate(dict.fromkeys(backbones))
    }
    return {
        **{name: Look(AVERAGED if name == AVERAGE else FUSED, "s" if name == AVERAGE else "D") for name in fused},
        **found,
    }


def panels(rows: int, columns: int, width: float, height: float, **options: Any) -> tuple[Figure, np.ndarray]:
    """Return a figure of `rows` by `columns` axes, `width` by `height` inches in all, and the axes, (rows, columns)."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def leave_only(axes: Axes, *sides: str) -> None:
    """Hide the frame of axes but for some sides, and the ticks of those that go."""
    for side in ("left", "right", "top", "bottom"):
        axes.spines[side].set_visible(side in sides)
    axes.tick_params(left="left" in sides, bottom="bottom" in sides)


def spread(heights: Sequence[float], least: float, low: float, high: float) -> list[float]:
    """Return heights for labels that do not overlap: in the same order, `least` apart, between `low` and `high`.

    Examples
    --------
    >>> spread([0.5, 0.5, 0.0], 0.2, 0.0, 1.0), spread([0.0, 0.0, 1.0], 0.2, 0.0, 1.0)
    ([0.4, 0.6, 0.0], [0.0, 0.2, 1.0])
    """
    order = sorted(range(len(heights)), key=lambda each: heights[each])
    step = min(least, (high - low) / max(1, len(heights) - 1))
    groups: list[tuple[float, int]] = []  # of labels that touch: their mean height, their number

    def start(mean: float, n: int) -> float:
        return float(min(max(mean - (n - 1) * step / 2, low), high - (n - 1) * step))

    for each in order:
        mean, n = heights[each], 1
        while groups and start(*groups[-1]) + groups[-1][1] * step > start(mean, n) + 1e-9:
            other, m = groups.pop()
            mean, n = (mean * n + other * m) / (n + m), n + m
        groups.append((mean, n))
    placed = [start(*group) + number * step for group in groups for number in range(group[1])]
    found = dict(zip(order, placed, strict=True))
    return [round(found[each], 12) for each in range(len(heights))]
