"""Audited percentages: bounds worked by hand, and against trying every count."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_pipeline.errors import UsageError
from fusion_pipeline.train.statistics.published import LARGEST, Percentage, audit

_COLUMN = "92.65 92.94 87.94 88.38 90.74 93.38 94.26 93.97 95.15 95.00 95.29 94.85 95.29 95.15"
PAPER = _COLUMN.split()
"""The column of Flowers17 in Table 2."""


def counts(text: str, n: int) -> list[int]:
    least, greatest = Percentage.parse(text).counts(np.array([n]))
    return list(range(int(least[0]), int(greatest[0]) + 1))


@pytest.mark.parametrize(
    ("text", "n", "expected"),
    [
        ("92.65", 680, [630]),
        ("92.65", 681, []),
        ("50", 3, []),
        ("67", 3, [2]),
        ("33", 3, [1]),
        ("100", 7, [7]),
        ("0.0", 7, [0]),
        ("94.1", 1000, [941]),
        ("94", 1000, list(range(935, 946))),  # 93.5 rounds up to 94; 94.5 rounds to the even 94, or up to 95
        ("95", 1000, list(range(945, 955))),  # 95.5 rounds to 96 either way
        ("12.5", 8, [1]),
        ("12", 8, [1]),  # 12.5 to the even 12
        ("13", 8, [1]),  # or up to 13
        ("38", 8, [3]),  # 37.5 to 38 either way
        ("37", 8, []),
    ],
)
def test_counts_by_hand(text: str, n: int, expected: list[int]) -> None:
    assert counts(text, n) == expected


@given(units=st.integers(0, 1000), digits=st.integers(0, 1), n=st.integers(1, 60))
@settings(deadline=None)
def test_counts_are_those_that_print_so(units: int, digits: int, n: int) -> None:
    """Python rounds fractions half to even; half up is the floor after adding a half."""
    units = min(units, 100 * 10**digits)
    text = str(units) if digits == 0 else f"{units // 10}.{units % 10}"
    scale = 100 * 10**digits
    printed = [
        {round(Fraction(k * scale, n)), int((Fraction(k * scale, n) + Fraction(1, 2)) // 1)} for k in range(n + 1)
    ]
    assert counts(text, n) == [k for k, values in enumerate(printed) if units in values]


def test_the_papers_flowers_are_680_of_1360() -> None:
    found = audit(PAPER, 1360)
    assert found.sizes == (680, 1360)
    half, whole = found.smallest
    assert [least for least, _ in half.counts] == [630, 632, 598, 601, 617, 635, 641, 639, 647, 646, 648, 645, 648, 647]
    assert (half.share, half.multiple_of) == (Fraction(1, 2), None)
    assert half.chance < 1e-10
    # All 1,360 would do as well, but then every count would happen to be even.
    assert (whole.share, whole.multiple_of) == (Fraction(1), 680)
    assert all(least == greatest and least % 2 == 0 for least, greatest in whole.counts)
    assert {str(fit.share) for fit in found.splits if fit.consistent} == {"1", "1/2"}


def test_parts_that_are_no_whole_number_of_images_are_rounded_both_ways() -> None:
    found = audit(["50"], 7)
    assert [(fit.n, fit.consistent) for fit in found.splits if fit.share == Fraction(1, 2)] == [(4, True), (3, False)]
    assert found.sizes == (2, 4, 6)
    assert [fit.n for fit in audit(["0"], 1).splits] == [1]


def test_from_some_size_on_every_number_of_images_will_do() -> None:
    found = audit(["33.3"], 1100)
    assert set(range(1000, 1101)) <= set(found.sizes)
    assert 500 not in found.sizes  # 166.25 to 166.75
    assert audit(["33.3"], 1100, shown=3).smallest[0].n == 3


def test_sizes_that_fit_by_themselves_are_no_multiples() -> None:
    """4 of 6 is two thirds, but 1 of 6 is no number of thirds."""
    assert [fit.multiple_of for fit in audit(["66.67"], 6).smallest] == [None, 3]
    assert [(fit.n, fit.multiple_of) for fit in audit(["66.67", "16.67"], 12).smallest] == [(6, None), (12, 6)]


@pytest.mark.parametrize("text", ["", "x", "-1", "100.01", "1e2", "nan", "9,5", "12.1234567", "1.2.3", "١٢"])
def test_what_is_no_percentage_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no percentage"):
        audit([text], 10)


@pytest.mark.parametrize("n", [0, LARGEST + 1])
def test_sizes_out_of_range_are_refused(n: int) -> None:
    with pytest.raises(UsageError, match="a size from 1 to 1,000,000"):
        audit(["50"], n)
    with pytest.raises(UsageError, match="An audit needs percentages"):
        audit([], 5)
