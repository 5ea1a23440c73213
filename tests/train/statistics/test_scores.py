"""Scores: values worked by hand, and agreement with scikit-learn and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import f1_score, log_loss

from fusion_pipeline.train.statistics.scores import Row, calibration_error, macro_f1, score_row, wilson_interval


@pytest.mark.parametrize(("correct", "n"), [(0, 5), (5, 5), (37, 40), (1293, 1360)])
def test_the_interval_is_wilsons(correct: int, n: int) -> None:
    expected = binomtest(correct, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(correct, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_calibration_error_by_hand() -> None:
    # 0.9, 0.9 share a bin and one is right: gap 0.4 for 2 of 4; 0.6, 0.6 are both right: gap 0.4 for 2 of 4.
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    assert calibration_error(probabilities, np.array([0, 1, 0, 0])) == pytest.approx(0.4)
    assert calibration_error(np.array([[1.0, 0.0]]), np.array([0])) == 0.0


def test_macro_f1_is_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    labels, predicted = generator.integers(0, 5, 60), generator.integers(0, 5, 60)
    predicted[predicted == 3] = 2
    assert macro_f1(predicted, labels) == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert macro_f1(np.array([1, 1]), np.array([0, 0])) == 0.0


def test_a_row_holds_what_scripts_rely_on() -> None:
    generator = np.random.default_rng(0)
    probabilities, labels = generator.dirichlet(np.ones(3), size=30), np.repeat([0, 1, 2], 10)
    row = score_row("cnn32", probabilities, labels, fit_seconds=2.0, predict_seconds=0.5, fallbacks=(False, True))
    assert row.correct == (probabilities.argmax(axis=1) == labels).sum()
    assert row.accuracy * row.n == pytest.approx(row.correct)
    assert row.nll == pytest.approx(log_loss(labels, probabilities))
    assert (row.method, row.label_embedding, row.n) == ("cnn32", "none", 30)
    assert (row.fit_seconds, row.predict_seconds, row.fallback, row.fallbacks) == (2.0, 0.5, True, (False, True))
    assert row.ci95[0] < row.accuracy < row.ci95[1]
    assert isinstance(row, Row)


@given(n=st.integers(1, 3000), n_classes=st.integers(2, 6), seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_accuracy_times_n_is_a_whole_number_within_its_interval(n: int, n_classes: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    probabilities, labels = generator.dirichlet(np.ones(n_classes), size=n), generator.integers(0, n_classes, n)
    row = score_row("average", probabilities, labels)
    assert row.correct == round(row.accuracy * row.n) == sum(probabilities.argmax(axis=1) == labels)
    assert row.accuracy * row.n == pytest.approx(row.correct, abs=1e-9)
    assert 0 <= row.ci95[0] <= row.accuracy <= row.ci95[1] <= 1
