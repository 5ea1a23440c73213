"""Dealing: groups of several classes, and splits that nobody can learn from are refused in one line."""

from __future__ import annotations

import numpy as np
import pytest

from fusion_pipeline.errors import UnusableDataError
from fusion_pipeline.train.dealing import check_parts, deal, units_by_class
from fusion_pipeline.train.folds import Split

NAMES = ("daisy", "rose\n")


def test_the_largest_groups_come_first_and_go_where_least_is() -> None:
    labels = np.zeros(12, int)
    groups = np.array([1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 4, 5])
    part = deal(labels, 2, 0, groups)
    assert part[2] == 0
    assert part[7] == part[0] == 1
    assert sorted(np.bincount(part)) == [6, 6]


def test_groups_of_several_classes_are_shared_out() -> None:
    """Twenty photographers, each with both classes."""
    labels, groups = np.tile([0, 0, 1], 20), np.repeat(np.arange(20), 3)
    part = deal(labels, 5, 1, groups)
    for fold in range(5):
        assert np.bincount(labels[part == fold]).tolist() == [8, 4]


def test_a_rare_class_counts_as_much_as_a_common_one() -> None:
    labels = np.array([0] * 40 + [1] * 4)
    groups = np.array([0] * 10 + [1] * 10 + [2] * 10 + [3] * 10 + [0, 1, 2, 3])
    part = deal(labels, 2, 0, groups)
    assert [np.bincount(labels[part == fold]).tolist() for fold in range(2)] == [[20, 2], [20, 2]]


def check(labels: list[int], groups: list[int] | None, split: Split) -> str:
    given = None if groups is None else np.array(groups)
    with pytest.raises(UnusableDataError) as caught:
        check_parts(np.array(labels), NAMES, split.parts(np.array(labels), given), given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_class_that_is_one_group() -> None:
    message = check([0] * 8 + [1] * 4, [*range(8), 9, 9, 9, 9], Split())
    assert message == (
        "Class 'rose\\n' is one group of 4 images, which cannot be split. Add images that are no near-duplicates of "
        "these, or leave it out."
    )


def test_a_group_larger_than_a_fold() -> None:
    message = check([0] * 8 + [1] * 4, [0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7], Split(3))
    assert message == (
        "A group has 5 of 12 images (image number 0 is its first), but a test part holds 4. "
        "Give smaller groups, or use fewer folds."
    )


def test_too_few_groups_on_the_training_side() -> None:
    message = check([0] * 8 + [1] * 5, [*range(8), 20, 20, 20, 21, 22], Split())
    assert message.startswith(
        "Class 'rose\\n' has 1 groups in a training part and 2 images in its test part, but 2 and 1"
    )
    assert message.endswith("or leave it out, or split image by image (--groups none).")
    message = check([0] * 8 + [1] * 3, None, Split())
    assert "Class 'rose\\n' has 1 images in a training part" in message
    assert message.endswith("Add images to it or leave it out.")


def test_a_class_that_a_holdout_does_not_test() -> None:
    assert "0 images in its test part" in check([0] * 40 + [1] * 3, None, Split(holdout="0.1"))


def test_a_split_that_will_do() -> None:
    labels, groups = np.repeat([0, 1], 10), np.repeat(np.arange(10), 2)
    for split in (Split(2), Split(5), Split(holdout="0.5")):
        check_parts(labels, NAMES, split.parts(labels, groups), groups)
        check_parts(labels, NAMES, split.parts(labels), None)


def test_units() -> None:
    assert units_by_class(np.array([3, 3, 5])).tolist() == [2, 1]
    assert units_by_class(np.array([3, 3, 5]), np.array([1, 1, 1])).tolist() == [1, 1]
