"""Solvers: scikit-learn's optimum, for wide and tall matrices, along a whole path of penalties."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax as scipy_log_softmax
from sklearn.linear_model import LogisticRegression

from fusion_pipeline.errors import UnusableDataError
from fusion_pipeline.train.solvers.softmax import _CrossEntropy, fit_path, log_softmax, softmax, solve_path
from tests.train.made import make_features, make_labels
from tests.train.solvers.made import CLASSES, make_blocks, make_part

ALPHAS = [100.0, 1.0, 0.03]


def objective(X: np.ndarray, y: np.ndarray, alpha: float, weights: np.ndarray, intercept: np.ndarray) -> float:
    likelihood = scipy_log_softmax(X @ weights + intercept, axis=1)[np.arange(len(y)), y].sum()
    return float(alpha / 2 * (weights**2).sum() - likelihood)


@pytest.mark.parametrize(("n_features", "n_classes"), [(90, 3), (7, 4), (30, 2)])
def test_every_penalty_reaches_the_optimum_of_scikit_learn(n_features: int, n_classes: int) -> None:
    y = make_labels(60 // n_classes, n_classes)
    X = make_features(y, n_features, seed=1, strength=0.4, dtype="float64") + 0.5
    for fit in fit_path(X, y, n_classes, ALPHAS):
        alpha, ours = fit.alpha, objective(X, y, fit.alpha, fit.weights, fit.intercept)
        assert ours == pytest.approx(fit.objective, rel=1e-9)
        if n_classes > 2:  # with two classes scikit-learn penalises one vector where ours penalises two
            reference = LogisticRegression(C=1 / alpha, tol=1e-8, max_iter=20_000).fit(X, y)
            theirs = objective(X, y, alpha, reference.coef_.T, reference.intercept_)
        else:
            reference = LogisticRegression(C=2 / alpha, tol=1e-8, max_iter=20_000).fit(X, y)
            half = np.concatenate([-reference.coef_, reference.coef_]).T / 2
            theirs = objective(X, y, alpha, half, np.array([-1.0, 1.0]) * reference.intercept_ / 2)
        assert ours <= theirs * (1 + 1e-6)


@pytest.mark.parametrize("n_features", [90, 7])
@pytest.mark.parametrize("alpha", [1e6, 1.0, 1e-3, 1e-6])
def test_rough_optima_are_as_near_as_was_asked_for(n_features: int, alpha: float) -> None:
    y = make_labels(20, 3)
    X = make_features(y, n_features, seed=1, strength=0.4, dtype="float64")
    (exact,), (rough,) = (list(fit_path(X, y, 3, [alpha], precision)) for precision in (1e-12, 1e-4))
    found = objective(X, y, alpha, rough.weights, rough.intercept)
    assert found == pytest.approx(rough.objective, rel=1e-9), "an objective in float64, whatever the search was in"
    assert exact.objective * (1 - 1e-9) <= found <= exact.objective * (1 + 2e-4)


@pytest.mark.parametrize("shape", ["wide", "tall"])
@pytest.mark.parametrize("size", [1e-12, 1e12, 1e25])
def test_rows_that_float32_cannot_hold_have_the_same_optimum(shape: str, size: float) -> None:
    _, labels, rows, unseen = make_part(shape)
    (usual,) = fit_path(rows, labels, CLASSES, [0.1])
    (scaled,) = fit_path(rows * size, labels, CLASSES, [0.1 * size**2])
    assert scaled.objective == pytest.approx(usual.objective, rel=1e-9)
    np.testing.assert_allclose(softmax(scaled.logits(unseen * size)), softmax(usual.logits(unseen)), atol=1e-3)


def test_a_loss_of_rows_that_are_nearly_sure_has_all_digits_in_float32() -> None:
    labels = np.array([0, 1, 2, 0])
    values = np.array([[16.5, 0.0, -2.0], [-3.0, 17.0, 1.0], [1.0, 0.0, 1.5], [0.0, 18.0, 0.0]])
    loss = _CrossEntropy(labels, 3)
    exact = -scipy_log_softmax(values, axis=1)[np.arange(4), labels]
    for some in ([0, 1], [2, 3]):
        single = _CrossEntropy(labels[some], 3).at(values[some].astype("float32"))
        np.testing.assert_allclose(single[0], exact[some].sum(), rtol=1e-6)
        slopes = softmax(values[some]) - np.eye(3)[labels[some]]
        np.testing.assert_allclose(single[1], slopes, rtol=1e-5)
    np.testing.assert_allclose(loss.at(values)[0], exact.sum(), rtol=1e-15)
    likely = softmax(values)
    np.testing.assert_allclose(loss.curvature(values), (likely * (1 - likely)).mean(axis=1), rtol=1e-6)


def test_penalties_come_from_strong_to_weak_and_only_when_asked_for() -> None:
    y = make_labels(10, 3)
    X = make_features(y, 8, seed=1, dtype="float64")
    up, down = list(fit_path(X, y, 3, ALPHAS[::-1])), fit_path(X, y, 3, ALPHAS)
    assert [fit.alpha for fit in up] == ALPHAS
    np.testing.assert_array_equal(up[0].weights, next(down).weights)
    np.testing.assert_array_equal(up[1].weights, next(down).weights)


def test_columns_that_repeat_or_never_vary_do_no_harm() -> None:
    y = make_labels(10, 3)
    X = make_features(y, 4, seed=1, dtype="float64")
    wide = np.hstack([X, X, np.ones((len(y), 2))])
    fit = next(fit_path(wide, y, 3, [1.0]))
    np.testing.assert_allclose(fit.weights[-2:], 0.0, atol=1e-9)
    np.testing.assert_allclose(fit.weights[:4], fit.weights[4:8], atol=1e-7)


def test_rows_without_any_variation_give_the_class_frequencies() -> None:
    fit = next(fit_path(np.ones((4, 3)), np.array([0, 1, 1, 1]), 2, [1.0]))
    np.testing.assert_allclose(softmax(fit.logits(np.ones((1, 3)))), [[0.25, 0.75]], atol=1e-5)


def test_a_class_without_rows_and_bad_penalties_are_refused() -> None:
    with pytest.raises(UnusableDataError, match="Class number 1"):
        next(fit_path(np.eye(3), np.array([0, 0, 2]), 3, [1.0]))
    for alphas in ([], [0.0], [1.0, -1.0]):
        with pytest.raises(ValueError, match="positive"):
            next(fit_path(np.eye(3), np.array([0, 1, 2]), 3, alphas))


def test_softmax_by_hand_and_far_out() -> None:
    np.testing.assert_allclose(softmax(np.log([[1.0, 3.0]])), [[0.25, 0.75]])
    np.testing.assert_array_equal(softmax(np.array([1e4, 0.0])), [1.0, 0.0])
    np.testing.assert_allclose(np.exp(log_softmax(np.array([[800.0, 801.0]]))), softmax(np.array([[0.0, 1.0]])))


@pytest.mark.parametrize("shape", ["wide", "tall"])
def test_a_part_has_the_optimum_of_its_rows(shape: str) -> None:
    part, labels, rows, unseen = make_part(shape)
    solutions = list(solve_path(part, labels, CLASSES, ALPHAS))
    for solution, fit in zip(solutions, fit_path(rows, labels, CLASSES, ALPHAS), strict=True):
        assert solution.objective == pytest.approx(fit.objective, rel=1e-7)
        np.testing.assert_allclose(solution.held_out_logits(part), fit.logits(unseen), atol=0.02)
    primal = solutions[-1].primal(part)
    raw = np.hstack([block.astype(np.float64) for block in make_blocks(shape)[0]])[1::2]
    np.testing.assert_allclose(primal.logits(raw), solutions[-1].held_out_logits(part), atol=1e-8)


def test_the_same_input_gives_the_same_bytes() -> None:
    part, labels, _, _ = make_part("wide")
    one, other = (next(solve_path(part, labels, CLASSES, [0.1])).coefficients for _ in range(2))
    assert one.tobytes() == other.tobytes()
