"""F1 scores are scikit-learn's; the examples have different winners."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from fusion_pipeline.analysis.class_f1 import measure_class_f1
from fusion_pipeline.train.statistics.scores import f1_by_class
from tests.analysis.made import made_votes, random_votes


def test_scores_are_those_of_scikit_learn() -> None:
    votes = random_votes(4, 300, 6)
    found = measure_class_f1(votes, votes.labels, "gate")
    assert found.names == ("a", "b", "c", "d", "gate")
    for row, scores in zip(votes.predicted, found.scores, strict=False):
        np.testing.assert_allclose(scores, f1_score(votes.labels, row, average=None, labels=range(6)), rtol=1e-12)
    assert found.scores[4].tolist() == [1] * 6


def test_examples_have_different_winners_and_the_largest_margins() -> None:
    """Classes 0 and 1 go to a, by more in class 1; 2 to b; nobody else wins a class alone."""
    labels = [0] * 4 + [1] * 4 + [2] * 4
    a = [0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 2]
    b = [0, 0, 1, 1, 2, 2, 2, 1, 2, 2, 2, 2]
    found = measure_class_f1(made_votes([a, b, b], labels))
    scores = np.array([f1_by_class(np.array(row), np.array(labels), 3) for row in (a, b, b)])
    np.testing.assert_array_equal(found.scores, scores)
    (first,) = found.examples
    assert (first.label, first.winner) == (1, "a")
    assert first.margin == pytest.approx(1 - scores[1, 1])
    labels_of = {each.winner: each.label for each in measure_class_f1(made_votes([a, b], labels)).examples}
    assert labels_of == {"a": 1, "b": 2}


def test_at_most_three_examples_of_more_winners() -> None:
    labels = list(range(5)) * 2
    rows = [[label if label == expert else (label + 1) % 5 for label in labels] for expert in range(5)]
    found = measure_class_f1(made_votes(rows, labels))
    assert len(found.examples) == 3
    assert len({each.winner for each in found.examples}) == 3
    assert [each.winner for each in found.examples] == ["a", "b", "c"]  # equal margins, in the order of the experts


def test_experts_that_say_the_same_win_nothing() -> None:
    assert measure_class_f1(made_votes([[0, 1], [0, 1]], [0, 0])).examples == ()


def test_the_fused_row_takes_no_part_in_the_choice() -> None:
    votes = random_votes(3, 100, 4)
    assert measure_class_f1(votes, votes.labels, "gate").examples == measure_class_f1(votes).examples


def test_one_expert_has_no_rival() -> None:
    assert measure_class_f1(made_votes([[0, 1]], [0, 1])).examples == ()


def test_a_class_without_tested_images_has_no_score_and_no_winner() -> None:
    found = measure_class_f1(made_votes([[0, 2, 0], [0, 1, 0]], [0, 1, 1]))
    assert np.isnan(found.scores[:, 2]).all()
    assert {each.label for each in found.examples} <= {0, 1}
