"""Accuracy by the number of distinct votes."""

from __future__ import annotations

import numpy as np
import pytest

from fusion_pipeline.analysis.distinct_votes import by_distinct_votes
from tests.analysis.made import made_votes, random_votes


def test_accuracies_are_those_of_a_loop() -> None:
    votes = random_votes(4, 500, 5)
    fused = np.roll(votes.labels, 1)
    distinct = np.array([len(set(column.tolist())) for column in votes.predicted.T])
    for found in by_distinct_votes(votes, {"fused": fused}):
        there = distinct == found.distinct
        assert found.n == there.sum() > 0
        assert found.accuracies is not None
        assert found.accuracies["b"] == pytest.approx((votes.predicted[1] == votes.labels)[there].mean())
        assert found.accuracies["fused"] == pytest.approx((fused == votes.labels)[there].mean())


def test_a_number_that_never_occurs_has_no_accuracy() -> None:
    first, second = by_distinct_votes(made_votes([[0, 1], [0, 1]], [0, 0]), {})
    assert (first.n, first.accuracies) == (2, {"a": 0.5, "b": 0.5})
    assert (second.n, second.accuracies) == (0, None)


def test_one_expert_always_agrees() -> None:
    (found,) = by_distinct_votes(made_votes([[0, 1]], [0, 0]), {})
    assert (found.distinct, found.n) == (1, 2)
