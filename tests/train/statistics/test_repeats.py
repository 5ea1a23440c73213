"""Repeats count each image once: intervals do not shrink with them, and tests do not sharpen."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_pipeline.train.statistics.comparisons import compare
from fusion_pipeline.train.statistics.repeats import (
    Outcomes,
    as_family,
    compare_repeats,
    pooled_accuracy,
    sign_flip_p,
)
from fusion_pipeline.train.statistics.scores import wilson_interval

runs = st.integers(1, 30).flatmap(lambda n: st.tuples(*[st.lists(st.booleans(), min_size=n, max_size=n)] * 2))


@given(runs)
def test_one_repeat_is_mcnemars_exact_test_and_wilsons_interval(run: tuple[list[bool], list[bool]]) -> None:
    first, second = (np.array(rows) for rows in run)
    found = compare_repeats("a", Outcomes.of(first), "b", Outcomes.of(second))
    plain = compare("a", first, "b", second)
    assert (found.wins, found.losses, found.repeats) == (plain.wins, plain.losses, 1)
    assert found.p == pytest.approx(plain.p)
    pooled = pooled_accuracy(Outcomes.of(first))
    assert pooled.ci95 == pytest.approx(wilson_interval(int(first.sum()), len(first)))
    assert pooled.accuracy * pooled.n == pytest.approx(pooled.correct)


@given(runs, st.integers(2, 6))
def test_saying_the_same_again_changes_nothing(run: tuple[list[bool], list[bool]], repeats: int) -> None:
    once, again = ([Outcomes.of([rows] * count) for rows in run] for count in (1, repeats))
    assert pooled_accuracy(again[0]).ci95 == pytest.approx(pooled_accuracy(once[0]).ci95)
    first, second = (compare_repeats("a", *(pair[0], "b", pair[1])) for pair in (once, again))
    assert second.p == pytest.approx(first.p)
    assert second.difference == pytest.approx(first.difference)


@given(st.integers(2, 5), st.integers(2, 20), st.integers(0, 2**31))
def test_repeats_never_narrow_the_interval_of_one(repeats: int, n: int, seed: int) -> None:
    correct = np.random.default_rng(seed).random((repeats, n)) < 0.8
    found = pooled_accuracy(Outcomes.of(correct))
    assert found.effective_images <= found.images == n
    low, high = wilson_interval(found.accuracy * n, n)
    assert found.ci95[1] - found.ci95[0] >= high - low - 1e-12
    assert found.by_repeat == tuple(correct.mean(axis=1))


def test_near_duplicates_widen_the_interval() -> None:
    correct = np.array([True] * 40 + [False] * 10)
    alone, pairs = (pooled_accuracy(Outcomes.of(correct), groups) for groups in (None, np.arange(50) // 2))
    assert (alone.effective_images, pairs.effective_images) == pytest.approx((50, 25))
    assert pairs.ci95[0] < alone.ci95[0] < alone.accuracy < alone.ci95[1] < pairs.ci95[1]
    assert pooled_accuracy(Outcomes.of(np.ones(50, bool)), np.arange(50) // 2).effective_images == 25


def test_a_holdout_counts_what_it_tested() -> None:
    tested = np.array([[1, 1, 0, 0], [0, 1, 1, 0]], bool)
    found = pooled_accuracy(Outcomes.of(np.ones((2, 4), bool), tested))
    assert (found.correct, found.n, found.images, found.by_repeat) == (4, 4, 3, (1.0, 1.0))
    with pytest.raises(ValueError, match="not tested on the same images"):
        compare_repeats("a", Outcomes.of(tested, tested), "b", Outcomes.of(tested))
    with pytest.raises(ValueError, match="as many marks"):
        Outcomes.of([True], [False])


@given(st.lists(st.integers(-4, 4), max_size=9))
@settings(deadline=None)
def test_sign_flips_by_going_through_all_of_them(gains: list[int]) -> None:
    sums = [
        abs(sum(sign * gain for sign, gain in zip(s, gains, strict=True))) for s in product((1, -1), repeat=len(gains))
    ]
    assert sign_flip_p(np.array(gains, np.int64)) == pytest.approx(
        np.mean([total >= abs(sum(gains)) for total in sums])
    )


def test_a_group_is_one_image() -> None:
    better, worse = Outcomes.of(np.ones(12, bool)), Outcomes.of(np.arange(12) >= 6)
    assert compare_repeats("a", better, "b", worse).p == pytest.approx(2 / 2**6)
    groups = np.array([0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8])
    assert compare_repeats("a", better, "b", worse, groups).p == pytest.approx(2 / 2**3)


def test_a_family_is_adjusted_together() -> None:
    best, half, none = (Outcomes.of(np.arange(6) < right) for right in (6, 3, 0))
    one, two = compare_repeats("a", best, "b", none), compare_repeats("a", best, "c", half)
    assert [item.p_holm for item in as_family([two, one])] == pytest.approx([two.p, 2 * one.p])
    assert one.p_holm is None
