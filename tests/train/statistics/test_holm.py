"""Holm's adjustment: by hand, and what it promises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_pipeline.train.statistics.holm import holm

probabilities = st.lists(st.floats(0, 1), max_size=8)


def test_by_hand() -> None:
    # In ascending order 0.005 x 4, 0.01 x 3, 0.03 x 2, 0.04 x 1, and never less than the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.6, 0.9]) == (1.0, 1.0)
    assert holm([]) == ()


@given(probabilities)
def test_it_lies_between_the_p_value_and_bonferronis_and_keeps_their_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for p, q in zip(p_values, adjusted, strict=True):
        assert p <= q <= min(1.0, len(p_values) * p) or q == p == 0
    ranked = sorted(zip(p_values, adjusted, strict=True))
    assert [q for _, q in ranked] == sorted(adjusted)


@given(probabilities)
def test_rejections_are_those_of_the_step_down_procedure(p_values: list[float]) -> None:
    rejected = 0
    for rank, p in enumerate(sorted(p_values)):
        if (len(p_values) - rank) * p > 0.05:
            break
        rejected += 1
    assert sum(q <= 0.05 for q in holm(p_values)) == rejected


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_what_is_no_probability_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.5, p])
