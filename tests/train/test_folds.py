"""Folds: disjoint, complete, stratified, repeatable, groups whole; classes that are too small are named."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_pipeline.errors import UnusableDataError, UsageError
from fusion_pipeline.train.folds import Split, check_classes, inner_folds, least_rows, share_of, stratified_folds

label_lists = st.lists(st.integers(0, 4), min_size=2, max_size=60)


@given(labels=label_lists, folds=st.integers(2, 6), seed=st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_test_parts_cover_every_row_once_with_equal_shares(labels: list[int], folds: int, seed: int) -> None:
    array = np.array(labels)
    parts = stratified_folds(array, folds, seed)
    assert sorted(np.concatenate([test for _, test in parts])) == list(range(len(array)))
    for train, test in parts:
        assert sorted([*train, *test]) == list(range(len(array)))
    sizes = [len(test) for _, test in parts]
    assert max(sizes) - min(sizes) <= 1
    for label in set(labels):
        shares = [int((array[test] == label).sum()) for _, test in parts]
        assert max(shares) - min(shares) <= 1


def test_the_seed_alone_decides() -> None:
    labels = np.repeat(np.arange(3), 10)
    first, again, other = (stratified_folds(labels, 2, seed)[0][1].tolist() for seed in (1, 1, 2))
    assert first == again != other


@given(count=st.integers(1, 12), folds=st.integers(2, 8))
@settings(max_examples=80, deadline=None)
def test_least_rows_is_the_least_that_leaves_two_for_training_and_one_for_every_test(count: int, folds: int) -> None:
    labels = np.array([0] * count + [1] * 50)
    parts = stratified_folds(labels, folds, seed=0)
    enough = all((labels[train] == 0).sum() >= 2 and (labels[test] == 0).sum() >= 1 for train, test in parts)
    assert enough == (count >= least_rows(folds))


def test_inner_folds_follow_the_smallest_class() -> None:
    assert [len(inner_folds(np.repeat([0, 1], [50, small]), 0)) for small in (2, 3, 5, 9)] == [2, 3, 5, 5]
    assert len(inner_folds(np.repeat([0, 1], 50), 0, most=3)) == 3


def test_the_smallest_class_is_named_with_its_count_and_the_minimum() -> None:
    labels = np.repeat([0, 1, 2], [9, 1, 3])
    with pytest.raises(UnusableDataError) as caught:
        check_classes(labels, ["daisy", "rose\n", "tulip"], folds=2)
    assert "Class 'rose\\n' has 1 usable image, but 2 folds need at least 4" in str(caught.value)
    assert "1 more classes" in str(caught.value)
    check_classes(np.repeat([0, 1], 4), ["daisy", "rose"], folds=2)


def test_an_empty_class_and_a_single_class_are_refused() -> None:
    with pytest.raises(UnusableDataError, match="Class 'rose' has 0 usable images, but training needs at least 2"):
        check_classes(np.zeros(8, int), ["daisy", "rose"], folds=1)
    with pytest.raises(UnusableDataError, match="only class 'daisy'"):
        check_classes(np.zeros(8, int), ["daisy"], folds=2)


def test_one_fold_is_no_cross_validation() -> None:
    with pytest.raises(UsageError, match="at least 2 folds"):
        Split(folds=1)


grouped_rows = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=2, max_size=60)


@given(label_lists, st.integers(2, 6), st.integers(0, 2**31), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_rows_that_are_their_own_groups_are_split_as_without_groups(
    labels: list[int], folds: int, seed: int, names: int
) -> None:
    array, groups = np.array(labels), np.random.default_rng(names).permutation(len(labels))
    for split in (Split(folds, seed), Split(seed=seed, holdout="0.3")):
        for plain, grouped in zip(split.parts(array), split.parts(array, groups), strict=True):
            np.testing.assert_array_equal(plain[0], grouped[0])
            np.testing.assert_array_equal(plain[1], grouped[1])
    inner = zip(inner_folds(array, seed), inner_folds(array, seed, groups=groups), strict=True)
    assert all(np.array_equal(plain[1], grouped[1]) for plain, grouped in inner)


def test_folds_without_groups_are_what_they_always_were() -> None:
    """The bytes of the first release: whoever repeats a run gets its folds."""
    labels = np.array([2, 0, 1, 1, 0, 2, 2, 0, 1, 0, 2])
    assert [test.tolist() for _, test in stratified_folds(labels, 3, seed=7)] == FIRST_RELEASE


FIRST_RELEASE = [[1, 2, 6, 9], [0, 3, 7, 10], [4, 5, 8]]


@given(grouped_rows, st.integers(2, 6), st.integers(0, 2**31), st.sampled_from(["", "0.5", "0.25", "0.8"]))
@settings(max_examples=200, deadline=None)
def test_no_group_is_ever_on_two_sides(rows: list[tuple[int, int]], folds: int, seed: int, holdout: str) -> None:
    labels, groups = np.array(rows).T
    parts = Split(folds, seed, holdout).parts(labels, groups)
    for train, test in [*parts, *inner_folds(labels, seed, groups=groups)]:
        assert set(groups[train]) & set(groups[test]) == set()
        assert sorted([*train, *test]) == list(range(len(labels)))
    if not holdout:
        assert sorted(np.concatenate([test for _, test in parts])) == list(range(len(labels)))


@given(grouped_rows, st.integers(2, 6), st.integers(0, 2**31))
@settings(max_examples=100, deadline=None)
def test_class_shares_differ_by_at_most_the_classes_largest_group(
    rows: list[tuple[int, int]], folds: int, seed: int
) -> None:
    labels, groups = np.array(rows).T
    groups = groups * 4 + labels  # near-duplicates are of one class
    parts = stratified_folds(labels, folds, seed, groups)
    for label in set(labels):
        shares = [int((labels[test] == label).sum()) for _, test in parts]
        assert max(shares) - min(shares) <= np.unique(groups[labels == label], return_counts=True)[1].max()


def test_single_rows_make_up_for_groups() -> None:
    labels = np.repeat([0, 1, 2], 40)
    groups = np.where(np.arange(120) % 4 == 0, np.arange(120) // 12 * 12, np.arange(120))
    for folds in (2, 3, 5):
        parts = stratified_folds(labels, folds, 0, groups)
        sizes = np.array([[(labels[test] == label).sum() for label in range(3)] for _, test in parts])
        assert (np.ptp(sizes, axis=0) <= 1).all()
        assert np.ptp(sizes.sum(axis=1)) <= 1


@given(label_lists, st.sampled_from(["0.5", "0.3", "0.1", "0.75"]), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_a_holdout_has_its_share_of_every_class_and_of_all(labels: list[int], share: str, seed: int) -> None:
    array = np.array(labels)
    ((train, test),) = Split(seed=seed, holdout=share).parts(array)
    assert sorted([*train, *test]) == list(range(len(array)))
    assert len(test) == int(share_of(share) * len(array) + Fraction(1, 2))
    for label in set(labels):
        exact = share_of(share) * labels.count(label)
        assert abs((array[test] == label).sum() - exact) < 1


def test_the_papers_holdout() -> None:
    """Half of Flowers17 is 680 images, 40 of each class; near-duplicate pairs do not change that."""
    labels = np.repeat(np.arange(17), 80)
    groups = np.where(np.arange(1360) % 20 < 2, np.arange(1360) // 20 * 20, np.arange(1360))
    for given_groups in (None, groups):
        ((_, test),) = Split(holdout="0.5").parts(labels, given_groups)
        assert np.bincount(labels[test]).tolist() == [40] * 17


@pytest.mark.parametrize("share", ["0", "1", "50", "-0.5", "half", "1/0", "nan"])
def test_a_share_that_is_none_is_refused(share: str) -> None:
    with pytest.raises(UsageError, match="A holdout is a share between 0 and 1"):
        Split(holdout=share)


def test_repeats_have_seeds_of_their_own() -> None:
    first, other = (Split(2, seed).repeats(6) for seed in (0, 1))
    assert first[0] == Split(2, 0)
    assert first[:3] == Split(2, 0).repeats(3)
    assert len({split.seed for split in (*first, *other)}) == 12
    labels = np.repeat([0, 1], 50)
    tests = [split.parts(labels)[0][1] for split in first]
    agreement = [np.isin(a, b).mean() for i, a in enumerate(tests) for b in tests[:i]]
    assert 0.3 < min(agreement) <= max(agreement) < 0.7
