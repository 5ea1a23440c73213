"""Names from outside in figures, labels that do not overlap, and tables."""

from __future__ import annotations

import csv
import io
from itertools import pairwise

import matplotlib as mpl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_pipeline.analysis.figures.drawing import Table, drawing, looks, shown, spread


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rose", "rose"),
        ("$x^2$ & <b>", "$x^2$ & <b>"),
        ("two\nlines", r"two\nlines"),
        ("gnp\u202egpj", r"gnp\u202egpj"),
        ("猫", r"\u732b"),
        ("caf\udce9", r"caf\xe9"),
        ("a" * 40, "a" * 13 + "…" + "a" * 14),
    ],
)
def test_names_are_shown_as_text(name: str, expected: str) -> None:
    assert shown(name) == expected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.01, 0.3))
def test_labels_keep_their_order_and_their_distance(heights: list[float], least: float) -> None:
    found = spread(heights, least, 0.0, 1.0)
    step = min(least, 1 / max(1, len(heights) - 1))
    ordered = sorted(found)
    assert all(upper - lower >= step - 1e-9 for lower, upper in pairwise(ordered))
    assert ordered[0] >= -1e-9
    assert ordered[-1] <= 1 + 1e-9
    assert [found[each] for each in sorted(range(len(heights)), key=lambda each: heights[each])] == ordered


def test_labels_with_room_stay_where_they_are() -> None:
    assert spread([0.9, 0.1, 0.5], 0.2, 0.0, 1.0) == [0.9, 0.1, 0.5]


def test_a_backbone_looks_the_same_in_every_panel() -> None:
    found = looks(["a", "b", "b", "c", "a"], ["average", "embedding"])
    assert list(found) == ["average", "embedding", "a", "b", "c"]
    assert len({(look.colour, look.marker) for look in found.values()}) == 5
    assert len({*looks(map(str, range(40)), []).values()}) == 40


def test_the_callers_settings_are_neither_used_nor_changed() -> None:
    with mpl.rc_context({"font.size": 31}):
        with drawing():
            assert mpl.rcParams["font.size"] == 9
        assert mpl.rcParams["font.size"] == 31


def test_tables_are_csv_whatever_the_names() -> None:
    rows = (('a "b"\n,c', 0.1, None), ("caf\udce9", 3, True), ("c\rd", 4, False))
    content = Table("t", ("x", "y", "z"), rows).to_bytes().decode()
    assert list(csv.reader(io.StringIO(content, newline=""))) == [
        ["x", "y", "z"],
        ['a "b"\n,c', "0.1", ""],
        [r"caf\udce9", "3", "True"],
        ["c\rd", "4", "False"],
    ]
