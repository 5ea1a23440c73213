"""How many experts are right, by hand and by a loop over images."""

from __future__ import annotations

import numpy as np
import pytest

from fusion_pipeline.analysis.correct_experts import count_correct
from tests.analysis.made import made_votes, random_votes


def test_by_hand() -> None:
    found = count_correct(made_votes([[0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]], [0, 1, 1, 1]))
    assert found.counts == (1, 1, 1, 1)
    assert (found.best, found.best_errors, found.all_wrong, found.ratio) == ("b", 1, 1, 1.0)


def test_shares_are_those_of_a_loop() -> None:
    votes = random_votes(5, 400, 6)
    right = [sum(int(row[image] == label) for row in votes.predicted) for image, label in enumerate(votes.labels)]
    found = count_correct(votes)
    assert found.counts == tuple(right.count(number) for number in range(6))
    assert sum(found.shares) == pytest.approx(1)
    errors = (votes.predicted != votes.labels).sum(axis=1)
    assert found.best_errors == errors.min()
    assert found.ratio == np.mean(votes.predicted != votes.labels, axis=0).tolist().count(1.0) / errors.min()


def test_a_perfect_expert_leaves_no_errors_to_share() -> None:
    found = count_correct(made_votes([[0, 1], [1, 0]], [0, 1]))
    assert (found.best, found.best_errors, found.all_wrong, found.ratio) == ("a", 0, 0, None)


def test_one_expert_and_nobody_else() -> None:
    found = count_correct(made_votes([[0, 1, 1]], [0, 1, 0]))
    assert (found.counts, found.ratio) == ((1, 2), 1.0)
