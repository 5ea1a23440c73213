"""Folds: disjoint, complete, stratified, repeatable; classes that are too small are named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_pipeline.errors import UnusableDataError, UsageError
from fusion_pipeline.train.folds import Split, check_classes, inner_folds, least_rows, stratified_folds

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
