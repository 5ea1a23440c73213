"""The interval of a difference of accuracies: by hand, over repeats and groups, and how often it covers the truth."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from fusion_pipeline.train.statistics.difference import difference_of
from fusion_pipeline.train.statistics.repeats import Outcomes


def paired(wins: int, losses: int, both: int, none: int) -> tuple[Outcomes, Outcomes]:
    """Return the outcomes of two methods of which the first alone got `wins` images right, and so on."""
    first = [True] * wins + [False] * losses + [True] * both + [False] * none
    second = [False] * wins + [True] * losses + [True] * both + [False] * none
    return Outcomes.of(first), Outcomes.of(second)


def test_by_hand() -> None:
    """Agresti and Min: half an image in each cell, then Wald."""
    found = difference_of(*paired(30, 9, 1291, 30))
    middle, n = 21 / 1362, 1362
    half = 1.959963984540054 * sqrt((40 - 21**2 / n) / n**2)
    assert found.difference == pytest.approx(21 / 1360)
    assert found.ci95 == pytest.approx((middle - half, middle + half))
    assert (found.wins, found.losses) == (30, 9)


def test_no_difference_is_still_an_interval() -> None:
    low, high = difference_of(*paired(0, 0, 90, 10)).ci95
    assert low == -high < 0


def test_bounds_are_differences_of_shares() -> None:
    low, high = difference_of(*paired(3, 0, 0, 0)).ci95
    assert -1 <= low < high <= 1


def test_repeats_are_no_new_images() -> None:
    once = paired(12, 5, 70, 13)
    thrice = [Outcomes.of(np.repeat(each.correct, 3, axis=0)) for each in once]
    assert difference_of(*thrice).ci95 == pytest.approx(difference_of(*once).ci95)


def test_a_group_counts_once() -> None:
    first, second = paired(12, 4, 70, 14)
    alone = difference_of(first, second)
    groups = np.arange(100)
    groups[:12] = 0  # all that is won is one photograph, saved twelve times
    together = difference_of(first, second, groups)
    assert together.difference == alone.difference
    assert together.ci95[0] < 0 < alone.ci95[0]


def test_only_what_was_tested_counts() -> None:
    tested = np.array([[True, True, False, False], [False, False, True, False]])
    first = Outcomes.of(np.ones((2, 4), bool), tested)
    found = difference_of(first, Outcomes.of(np.zeros((2, 4), bool), tested))
    assert (found.difference, found.wins) == (1.0, 3)


def test_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="same images"):
        difference_of(Outcomes.of([True, False]), Outcomes.of([[True, False]] * 2))


def test_it_covers_the_truth_as_often_as_it_says() -> None:
    """In 95 % of samples, give or take, also where few images differ."""
    generator, chances = np.random.default_rng(0), [0.06, 0.02, 0.82, 0.10]
    covered = 0
    for _ in range(1000):
        low, high = difference_of(*paired(*generator.multinomial(120, chances).tolist())).ci95
        covered += low <= 0.04 <= high
    assert 930 <= covered <= 990
