"""Experts: out-of-fold predictions that never saw their row, a penalty chosen inside, weights that store exactly."""

from __future__ import annotations

import numpy as np
import pytest

from fusion_pipeline.train.experts import Expert, Standardiser, first_not_finite, fit_expert
from fusion_pipeline.train.folds import inner_folds
from tests.train.made import make_features, make_labels

LABELS = make_labels(12, 3)
FEATURES = make_features(LABELS, 10, seed=1, strength=0.5)


def test_standardising_by_hand_and_columns_that_never_vary() -> None:
    rows = np.array([[1.0, 0.1], [3.0, 0.1], [5.0, 0.1]])
    standardised = Standardiser.fit(rows)(rows)
    np.testing.assert_allclose(standardised[:, 0], [-1.224745, 0.0, 1.224745], rtol=1e-6)
    np.testing.assert_allclose(standardised[:, 1], 0.0, atol=1e-12)


def test_an_expert_of_raw_features_does_what_its_weights_do_to_standardised_ones() -> None:
    generator = np.random.default_rng(0)
    rows, weights, intercept = generator.normal(3, 2, (6, 4)), generator.normal(size=(4, 3)), generator.normal(size=3)
    standardiser = Standardiser.fit(rows)
    expert = Expert.fold(weights, intercept, standardiser)
    assert (expert.weights.dtype, expert.bias.dtype) == (np.float32, np.float64)
    np.testing.assert_allclose(expert.logits(rows), standardiser(rows) @ weights + intercept, atol=1e-5)


def test_the_penalty_has_the_least_out_of_fold_loss() -> None:
    fit = fit_expert(FEATURES, LABELS, 3, seed=0)
    assert fit.alpha == min(fit.out_of_fold_nll, key=lambda alpha: fit.out_of_fold_nll[alpha])
    rows = -np.log(fit.out_of_fold[np.arange(len(LABELS)), LABELS])
    assert rows.mean() == pytest.approx(fit.out_of_fold_nll[fit.alpha])
    np.testing.assert_allclose(fit.out_of_fold.sum(axis=1), 1.0)


def test_weaker_penalties_are_not_tried_once_the_loss_rises() -> None:
    noise = np.random.default_rng(0).normal(size=FEATURES.shape)
    fit = fit_expert(noise, LABELS, 3, seed=0, alphas=[0.1, 1.0, 1e4])
    assert (list(fit.out_of_fold_nll), fit.alpha) == ([1e4, 1.0], 1e4)
    every = fit_expert(FEATURES, LABELS, 3, seed=0, alphas=[1e4, 1e3, 1e2]).out_of_fold_nll
    assert list(every) == [1e4, 1e3, 1e2]


def test_an_out_of_fold_prediction_does_not_know_its_own_fold() -> None:
    before = fit_expert(FEATURES, LABELS, 3, seed=0, alphas=[10.0])
    _, test = inner_folds(LABELS, seed=0)[0]
    changed = FEATURES.copy()
    changed[test[1:]] = 7.0
    after = fit_expert(changed, LABELS, 3, seed=0, alphas=[10.0])
    np.testing.assert_array_equal(before.out_of_fold[test[0]], after.out_of_fold[test[0]])
    assert not np.array_equal(before.out_of_fold, after.out_of_fold)


def test_a_row_number_as_feature_teaches_nothing_out_of_fold() -> None:
    labels = make_labels(10, 4)
    row_ids = np.eye(len(labels))
    fit = fit_expert(row_ids, labels, 4, seed=0, alphas=[1e-1])
    assert (fit.expert.probabilities(row_ids).argmax(axis=1) == labels).all(), "in sample it knows every row"
    assert fit.out_of_fold_nll[0.1] >= np.log(4) - 0.01


def test_shuffled_labels_give_chance() -> None:
    labels = make_labels(60, 4)
    features = make_features(labels, 6, seed=1, strength=2.0)
    shuffled = np.random.default_rng(5).permutation(labels)
    accuracy = (fit_expert(features, shuffled, 4, seed=0).out_of_fold.argmax(axis=1) == shuffled).mean()
    assert abs(accuracy - 0.25) < 4 * np.sqrt(0.25 * 0.75 / len(labels))


def test_the_same_seed_gives_the_same_bytes() -> None:
    first, again = (fit_expert(FEATURES, LABELS, 3, seed=3) for _ in range(2))
    assert first.out_of_fold.tobytes() == again.out_of_fold.tobytes()
    assert first.expert.weights.tobytes() == again.expert.weights.tobytes()


def test_two_rows_a_class_are_enough() -> None:
    labels = np.array([0, 0, 1, 1])
    assert fit_expert(np.eye(4), labels, 2, seed=0).out_of_fold.shape == (4, 2)


def test_the_first_row_that_is_not_finite_is_found() -> None:
    assert first_not_finite(np.array([[0.0], [np.nan], [np.inf]])) == 1
    assert first_not_finite(np.zeros((2, 2), np.float16)) is None
