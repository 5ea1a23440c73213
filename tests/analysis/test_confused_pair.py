"""The most confused pair, against scikit-learn's confusion matrices."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import confusion_matrix

from fusion_pipeline.analysis.confused_pair import find_confused_pair
from tests.analysis.made import made_votes, pooled, random_votes


def test_the_pair_is_that_of_the_summed_confusion_matrices() -> None:
    votes = random_votes(4, 500, 6)
    both = sum(confusion_matrix(votes.labels, row, labels=range(6)) for row in votes.predicted)
    sums = {(i, j): int(both[i, j] + both[j, i]) for i in range(6) for j in range(i + 1, 6)}
    found = find_confused_pair(votes)
    assert found is not None
    assert found.confusions == max(sums.values()) == sums[found.first, found.second]
    for side, label in enumerate((found.first, found.second)):
        for expert, row in enumerate(votes.predicted):
            matrix = confusion_matrix(votes.labels, row, labels=range(6))
            named = [matrix[label, found.first], matrix[label, found.second]]
            assert found.counts[side, expert].tolist() == [*named, matrix[label].sum() - sum(named)]
        np.testing.assert_array_equal(found.images[side], np.flatnonzero(votes.labels == label))


def test_confusions_count_both_ways() -> None:
    """0 for 1 twice and 1 for 0 once is more than 2 for 1 twice."""
    found = find_confused_pair(made_votes([[1, 1, 0, 1, 1, 2]], [0, 0, 1, 2, 2, 2]))
    assert found is not None
    assert (found.first, found.second, found.confusions) == (0, 1, 3)


def test_the_image_that_most_are_wrong_about() -> None:
    votes = made_votes([[0, 1, 1, 0], [0, 1, 0, 1]], [0, 0, 0, 1])
    found = find_confused_pair(votes)
    assert found is not None
    assert found.mistaken == (1, 3)


def test_an_image_that_is_tested_thrice_is_one_image() -> None:
    votes = made_votes([[0, 1, 0], [0, 1, 1]], [0, 0, 1])
    found = find_confused_pair(pooled(votes, 3))
    assert found is not None
    assert [images.tolist() for images in found.images] == [[0, 1], [2]]
    assert (found.mistaken, found.confusions) == ((1, 2), 9)


def test_the_first_of_equal_pairs() -> None:
    found = find_confused_pair(made_votes([[1, 0, 3, 2]], [0, 1, 2, 3]))
    assert found is not None
    assert (found.first, found.second) == (0, 1)


def test_nobody_errs() -> None:
    assert find_confused_pair(made_votes([[0, 1], [0, 1]], [0, 1])) is None


def test_a_class_that_is_never_mistaken_for_the_other() -> None:
    found = find_confused_pair(made_votes([[1, 1]], [0, 1]))
    assert found is not None
    assert found.mistaken == (0, None)
