"""Tests over folds and repeats: by hand, and how often they cry wolf."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from fusion_pipeline.train.statistics.resampled import corrected_resampled_t, five_by_two_f, five_by_two_t

DIFFERENCES = [[0.03, 0.01], [0.02, 0.02], [0.05, -0.01], [0.00, 0.04], [0.02, 0.01]]


def test_5x2cv_by_hand() -> None:
    # Variances of the repeats: half the squared distance of the two folds.
    variances = [0.0002, 0.0, 0.0018, 0.0008, 0.00005]
    t, f = five_by_two_t(DIFFERENCES), five_by_two_f(DIFFERENCES)
    assert t.statistic == pytest.approx(0.03 / (sum(variances) / 5) ** 0.5)
    squares = sum(value**2 for pair in DIFFERENCES for value in pair)
    assert f.statistic == pytest.approx(squares / (2 * sum(variances)))
    assert (t.freedom, f.freedom) == ((5,), (10, 5))
    assert t.difference == f.difference == pytest.approx(0.019)


def test_5x2cv_t_uses_the_first_difference_only_in_its_numerator() -> None:
    turned = [list(reversed(DIFFERENCES[0])), *DIFFERENCES[1:]]
    assert five_by_two_t(turned).statistic == pytest.approx(five_by_two_t(DIFFERENCES).statistic / 3)
    assert five_by_two_f(turned).statistic == pytest.approx(five_by_two_f(DIFFERENCES).statistic)


def test_the_corrected_t_by_hand() -> None:
    values = [0.01, 0.03, 0.02, 0.02]
    found = corrected_resampled_t(values, 1, 9)
    plain = ttest_1samp(values, 0)
    assert found.statistic == pytest.approx(plain.statistic * (0.25 / (0.25 + 1 / 9)) ** 0.5)
    assert found.p > plain.pvalue
    low, high = found.ci95
    assert (low + high) / 2 == pytest.approx(0.02)
    assert high - 0.02 == pytest.approx(3.182446 * 0.02 / found.statistic, rel=1e-6)


def test_more_repeats_do_not_make_any_difference_significant() -> None:
    pattern = [0.02, -0.01, 0.03, 0.0]
    few, many = (corrected_resampled_t(pattern * repeats, 1, 1).p for repeats in (2, 200))
    assert 0.3 < many < few
    assert ttest_1samp(pattern * 200, 0).pvalue < 1e-10


def test_with_a_vanishing_test_part_it_is_the_plain_t_test() -> None:
    values = np.random.default_rng(0).normal(0.5, 1, 20)
    assert corrected_resampled_t(values, 1e-12, 1).p == pytest.approx(ttest_1samp(values, 0).pvalue)


@pytest.mark.parametrize("difference", [0.0, 0.01, 1 / 3])
def test_differences_without_spread_prove_nothing(difference: float) -> None:
    for found in (
        five_by_two_t([[difference] * 2] * 5),
        five_by_two_f([[difference] * 2] * 5),
        corrected_resampled_t([difference] * 6, 1, 1),
    ):
        assert (found.statistic, found.p) == (None, 1.0)
        assert found.difference == pytest.approx(difference)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(5, 2\)"):
        five_by_two_f([[0.1, 0.2]] * 4)
    with pytest.raises(ValueError, match="too few to test"):
        corrected_resampled_t([0.1], 1, 1)
    with pytest.raises(ValueError, match="too few to test"):
        corrected_resampled_t([0.1, 0.2], 1, 0)
