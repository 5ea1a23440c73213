"""Tests from part to part: as by hand, on the parts that were tested, and none where parts are too few."""

from __future__ import annotations

import numpy as np
import pytest

from fusion_pipeline.train.statistics.over_parts import compare_over_parts
from fusion_pipeline.train.statistics.repeats import Outcomes
from fusion_pipeline.train.statistics.resampled import corrected_resampled_t, five_by_two_f

RANDOM = np.random.default_rng(3)
FIRST, SECOND = (RANDOM.random((5, 40)) < share for share in (0.9, 0.6))


def halves(repeats: int) -> list[np.ndarray]:
    orders = [np.random.default_rng(seed).permutation(40) for seed in range(repeats)]
    return [half for order in orders for half in (order[:20], order[20:])]


def test_differences_are_those_of_each_part() -> None:
    tests = halves(5)
    differences = [FIRST[part // 2][rows].mean() - SECOND[part // 2][rows].mean() for part, rows in enumerate(tests)]
    found = compare_over_parts(Outcomes.of(FIRST), Outcomes.of(SECOND), tests)
    for test, expected in zip(
        found, (corrected_resampled_t(differences, 20, 20), five_by_two_f(np.reshape(differences, (5, 2)))), strict=True
    ):
        assert (test.test, test.freedom) == (expected.test, expected.freedom)
        assert (test.difference, test.statistic, test.p) == pytest.approx(
            (expected.difference, expected.statistic, expected.p)
        )
    assert found[0].p < 0.05


@pytest.mark.parametrize(("repeats", "expected"), [(1, 0), (2, 1), (4, 1), (5, 2)])
def test_what_parts_allow(repeats: int, expected: int) -> None:
    outcomes = Outcomes.of(FIRST[:repeats]), Outcomes.of(SECOND[:repeats])
    assert len(compare_over_parts(*outcomes, halves(repeats))) == expected


def test_repeated_holdouts_test_some_of_the_images() -> None:
    tests = halves(3)[::2]
    tested = np.zeros((3, 40), dtype=bool)
    for repeat, rows in enumerate(tests):
        tested[repeat, rows] = True
    found = compare_over_parts(Outcomes.of(FIRST[:3], tested), Outcomes.of(SECOND[:3], tested), tests)
    differences = [FIRST[part][rows].mean() - SECOND[part][rows].mean() for part, rows in enumerate(tests)]
    assert [(test.test, test.p) for test in found] == [
        ("corrected resampled t", pytest.approx(corrected_resampled_t(differences, 20, 20).p))
    ]
