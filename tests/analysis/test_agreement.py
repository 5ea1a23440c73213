"""Kappas are scikit-learn's."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from fusion_pipeline.analysis.agreement import Agreement, cohen_kappa, measure_agreement
from tests.analysis.made import made_votes, pooled, random_votes


def test_kappas_are_those_of_scikit_learn() -> None:
    votes = random_votes(4, 300, 5)
    found = measure_agreement(votes)
    expected = [cohen_kappa_score(first, second) for first, second in combinations(votes.predicted, 2)]
    np.testing.assert_allclose([pair.kappa for pair in found.pairs], expected, rtol=1e-12)
    assert [(pair.first, pair.second) for pair in found.pairs] == list(combinations("abcd", 2))
    assert found.mean == pytest.approx(np.mean(expected))
    assert found.median == pytest.approx(np.median(expected))


def test_repeats_that_vote_alike_change_nothing() -> None:
    votes = random_votes(3, 50, 4)
    assert measure_agreement(pooled(votes, 3)).mean == pytest.approx(measure_agreement(votes).mean)


def test_one_backbone_has_no_pair() -> None:
    assert measure_agreement(made_votes([[0, 1]], [0, 1])) == Agreement((), None, None)


def test_raters_that_say_one_class_agree() -> None:
    assert cohen_kappa(np.zeros(3, int), np.zeros(3, int)) == 1


def test_raters_that_never_agree() -> None:
    assert cohen_kappa(np.array([0, 1]), np.array([1, 0])) == -1
