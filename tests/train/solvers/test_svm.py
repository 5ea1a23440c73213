"""SVMs: scikit-learn's LinearSVC at its optimum, for wide and tall matrices, and their probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from fusion_pipeline.train.solvers import svm
from fusion_pipeline.train.solvers.svm import SvmSolution, solve_svm_path, svm_probabilities
from tests.train.solvers.made import CLASSES, make_blocks, make_part

COSTS = [0.01, 1.0, 30.0]


def objective(X: np.ndarray, y: np.ndarray, cost: float, weights: np.ndarray) -> float:
    missing = np.maximum(0.0, 1.0 - y * (X @ weights))
    return float(weights @ weights / 2 + cost * missing @ missing)


@pytest.mark.parametrize("shape", ["wide", "tall"])
def test_every_class_and_cost_reaches_the_optimum_of_linear_svc(shape: str) -> None:
    part, labels, rows, unseen = make_part(shape, constant=1.0)
    for solution in solve_svm_path(part, labels, CLASSES, COSTS):
        for label in range(CLASSES):
            y = np.where(labels == label, 1.0, -1.0)
            settings = {"C": solution.cost, "tol": 1e-10, "max_iter": 1_000_000, "random_state": 0}
            reference = LinearSVC(**settings).fit(rows[:, :-1], y)
            theirs = np.append(reference.coef_[0], reference.intercept_)
            assert solution.objectives[label] == pytest.approx(objective(rows, y, solution.cost, theirs), rel=1e-5)
            values = solution.held_out_values(part)[:, label]
            np.testing.assert_allclose(values, unseen @ theirs, atol=2e-2 * np.abs(unseen @ theirs).max())


@pytest.mark.parametrize("shape", ["wide", "tall"])
def test_primal_weights_are_for_rows_as_they_were_given(shape: str) -> None:
    part, labels, _, _ = make_part(shape, constant=1.0)
    (solution,) = solve_svm_path(part, labels, CLASSES)
    weights, intercepts = solution.primal(part)
    raw = np.hstack([block.astype(np.float64) for block in make_blocks(shape)[0]])[1::2]
    np.testing.assert_allclose(raw @ weights + intercepts, solution.held_out_values(part), atol=1e-9)


def test_warm_starts_lead_where_cold_ones_do() -> None:
    part, labels, _, _ = make_part("wide", constant=1.0)
    warm = list(solve_svm_path(part, labels, CLASSES, COSTS[::-1]))
    assert [solution.cost for solution in warm] == COSTS
    for solution in warm:
        (cold,) = solve_svm_path(part, labels, CLASSES, [solution.cost])
        np.testing.assert_allclose(solution.objectives, cold.objectives, rtol=1e-5)


def test_classes_are_solved_as_if_alone() -> None:
    part, labels, _, _ = make_part("wide", constant=1.0)
    (together,) = solve_svm_path(part, labels, CLASSES, precision=1e-12)
    (alone,) = solve_svm_path(part, np.where(labels == 1, 0, 1), 2, precision=1e-12)
    assert together.objectives[1] == pytest.approx(alone.objectives[0], rel=1e-10)
    np.testing.assert_allclose(alone.coefficients[:, 0], -alone.coefficients[:, 1], atol=1e-5)


def test_the_same_input_gives_the_same_bytes() -> None:
    def solve() -> SvmSolution:
        part, labels, _, _ = make_part("wide", constant=1.0)
        return next(solve_svm_path(part, labels, CLASSES))

    assert solve().coefficients.tobytes() == solve().coefficients.tobytes()


def test_a_class_without_rows_is_never_chosen() -> None:
    part, labels, _, _ = make_part("wide", constant=1.0)
    (solution,) = solve_svm_path(part, labels, CLASSES + 1)
    assert (solution.held_out_values(part)[:, CLASSES] < 0.0).all()


def test_costs_must_be_positive() -> None:
    part, labels, _, _ = make_part("wide", constant=1.0)
    for costs in ([], [0.0], [1.0, -1.0]):
        with pytest.raises(ValueError, match="positive"):
            next(solve_svm_path(part, labels, CLASSES, costs))


def test_probabilities_sum_to_one_and_sharpen_as_it_gets_colder() -> None:
    values = np.array([[0.0, 1.0, 2.0]])
    warm, cold = svm_probabilities(values, 10.0), svm_probabilities(values, 0.1)
    assert (warm.sum(), cold.sum()) == (pytest.approx(1.0), pytest.approx(1.0))
    np.testing.assert_allclose(warm, np.exp([[0.0, 0.1, 0.2]]) / np.exp([0.0, 0.1, 0.2]).sum())
    assert cold[0, 2] > 0.9999


@pytest.mark.parametrize(("name", "value"), [("_MOST_ROWS", 3), ("_WIDEST", 1.0), ("_WIDEST", 0.0), ("_FEW_STEPS", 1)])
@pytest.mark.parametrize("shape", ["wide", "tall"])
def test_every_way_of_solving_leads_to_the_same_optimum(
    monkeypatch: pytest.MonkeyPatch, shape: str, name: str, value: float
) -> None:
    part, labels, _, _ = make_part(shape, constant=1.0)
    expected = list(solve_svm_path(part, labels, CLASSES, COSTS))
    monkeypatch.setattr(svm, name, value)
    for one, other in zip(solve_svm_path(part, labels, CLASSES, COSTS), expected, strict=True):
        np.testing.assert_allclose(one.objectives, other.objectives, rtol=1e-5)
        values = other.held_out_values(part)
        np.testing.assert_allclose(one.held_out_values(part), values, atol=2e-2 * np.abs(values).max())
