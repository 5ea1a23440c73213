"""Classes won, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fusion_pipeline.analysis.class_wins import Wins, count_wins
from tests.analysis.made import made_votes, random_votes

LABELS = [0, 0, 1, 1, 2, 2]
VOTES = made_votes([[0, 0, 1, 0, 1, 1], [0, 1, 0, 1, 1, 1], [1, 1, 1, 0, 1, 1]], LABELS, 4)
"""Class 0: a 2, b 1, c 0. Class 1: 1 each. Class 2: nobody. Class 3 has no image."""


def test_ties_share() -> None:
    found = count_wins(VOTES)
    assert found.classes == 3
    assert found.experts.shared == pytest.approx((1 + 2 / 3, 2 / 3, 2 / 3))
    assert found.experts.strict == (1, 0, 0)
    assert found.with_fused is None


def test_the_fused_row_joins_in() -> None:
    found = count_wins(VOTES, np.array([0, 0, 1, 1, 2, 0]), "gate")
    assert found.with_fused == Wins(("a", "b", "c", "gate"), (0.5, 0.0, 0.0, 2.5), (0, 0, 0, 2))
    assert found.experts == count_wins(VOTES).experts


def test_wins_are_those_of_accuracies() -> None:
    votes = random_votes(4, 600, 7)
    found = count_wins(votes).experts
    accuracies = np.array(
        [[(row == label)[votes.labels == label].mean() for label in range(7)] for row in votes.predicted]
    )
    best = accuracies == accuracies.max(axis=0)
    assert found.shared == pytest.approx(tuple((best / best.sum(axis=0)).sum(axis=1)))
    assert sum(found.shared) == pytest.approx(7)
    assert found.strict == tuple((best & (best.sum(axis=0) == 1)).sum(axis=1))


def test_one_expert_wins_all() -> None:
    assert count_wins(made_votes([[0, 1]], [0, 1])).experts == Wins(("a",), (2.0,), (2,))
