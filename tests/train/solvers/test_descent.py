"""The search: it finds optima that are known, side by side or jointly, from any start."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_pipeline.train.solvers.descent import minimise
from fusion_pipeline.train.solvers.gram import FloatArray, IntArray
from fusion_pipeline.train.solvers.parts import Part
from fusion_pipeline.train.solvers.preconditioner import Preconditioner
from fusion_pipeline.train.solvers.search import Loss
from fusion_pipeline.train.solvers.softmax import refined, softmax, solve_path
from fusion_pipeline.train.solvers.spaces import PlainSpace, ProductSpace
from tests.train.solvers.made import CLASSES, make_part


class Powers(Loss):
    """The sum of (value - target) to an even power: a square, or what is flat around its least value."""

    def __init__(self, targets: FloatArray, power: int, *, joint: bool) -> None:
        self.targets, self.power, self.joint = targets, power, joint

    def at(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        away = values - self.targets
        losses = (away**self.power).sum(axis=None if self.joint else 0)
        return np.atleast_1d(losses), self.power * away ** (self.power - 1)

    def curvature(self, values: FloatArray) -> FloatArray:
        away = values - self.targets
        return np.asarray((self.power * (self.power - 1) * away ** (self.power - 2)).mean(axis=1))

    def take(self, columns: IntArray) -> Powers:
        return Powers(self.targets[:, columns], self.power, joint=self.joint)


@pytest.mark.parametrize("joint", [True, False])
@given(shape=st.sampled_from(["wide", "tall"]), penalty=st.floats(1e-2, 1e2), scale=st.floats(-10.0, 10.0))
def test_a_square_loss_ends_at_the_ridge_regression(shape: str, penalty: float, scale: float, joint: bool) -> None:
    part, _, rows, _ = make_part(shape)
    targets = np.random.default_rng(0).normal(size=(len(rows), 4))
    start = scale * np.random.default_rng(1).normal(size=(part.size, 4))
    found = minimise(part, Powers(targets, 2, joint=joint), penalty, start, 1e-14)
    exact = np.linalg.solve(2 * rows.T @ rows + penalty * np.eye(rows.shape[1]), 2 * rows.T @ targets)
    np.testing.assert_allclose(found.values, rows @ exact, atol=1e-5)
    columns = ((rows @ exact - targets) ** 2).sum(axis=0) + penalty / 2 * (exact**2).sum(axis=0)
    np.testing.assert_allclose(found.objectives, [columns.sum()] if joint else columns, rtol=1e-9)


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("shape", ["wide", "tall"])
def test_slopes_are_zero_at_the_optimum_of_a_loss_whose_curvature_changes(shape: str, joint: bool) -> None:
    part, _, rows, _ = make_part(shape)
    # Columns of unlike size end after unlike numbers of steps.
    targets = np.random.default_rng(0).normal(size=(len(rows), 6)) * 2.0 ** np.arange(6)
    loss = Powers(targets, 4, joint=joint)
    found = minimise(part, loss, 20.0, np.zeros((part.size, 6)), 1e-13)
    np.testing.assert_allclose(found.values, part.values(found.coefficients), atol=1e-6)
    slopes = part.slopes(loss.at(found.values)[1]) + 20.0 * found.coefficients
    first = part.slopes(loss.at(np.zeros_like(targets))[1])
    assert (lengths(part, slopes) < 1e-4 * lengths(part, first)).all()


@pytest.mark.parametrize("shape", ["wide", "tall"])
def test_one_problem_is_preconditioned_near_its_end_only(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it costs is then paid for once, with the curvature that the optimum has."""
    part, labels, _, _ = make_part(shape)
    seen: list[FloatArray] = []
    make = type(part).preconditioner

    def told(space: Part, weights: FloatArray, penalty: float) -> Preconditioner:
        seen.append(weights)
        return make(space, weights, penalty)

    monkeypatch.setattr(type(part), "preconditioner", told)
    (found,) = solve_path(part, labels, CLASSES, [1e-2])
    likely = softmax(part.values(found.coefficients) + found.intercept)
    (weights,) = seen
    np.testing.assert_allclose(weights, (likely * (1.0 - likely)).mean(axis=1), rtol=0.2)


class Blind(Powers):
    """A loss that cannot be told in float32, or whose slopes point nowhere in it."""

    def __init__(self, targets: FloatArray, *, objective: float, slopes: float) -> None:
        super().__init__(targets, 4, joint=True)
        self.in_single = objective, slopes
        self.asked = 0

    def at(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        losses, residuals = super().at(values)
        if values.dtype == np.float64:
            return losses, residuals
        self.asked += 1
        return losses * self.in_single[0] * self.asked, residuals * self.in_single[1]


@pytest.mark.parametrize("shape", ["wide", "tall"])
@pytest.mark.parametrize(("objective", "slopes"), [(np.nan, np.nan), (1.0, np.inf), (1.0, -1.0), (0.0, 0.0)])
@pytest.mark.parametrize("precision", [1e-3, 1e-13])
def test_a_search_that_float32_leads_astray_costs_nothing_but_time(
    shape: str, objective: float, slopes: float, precision: float
) -> None:
    part, _, rows, _ = make_part(shape)
    targets = np.random.default_rng(0).normal(size=(len(rows), 6))
    start = np.zeros((part.size, 6))
    loss = Blind(targets, objective=objective, slopes=slopes)
    found = minimise(part, loss, 20.0, start, precision)
    assert 0 < loss.asked < 100
    usual = minimise(part, Powers(targets, 4, joint=True), 20.0, start, 1e-13)
    np.testing.assert_allclose(found.objectives, usual.objectives, rtol=10 * precision)
    assert found.done.all()


@pytest.mark.parametrize("shape", ["wide", "tall"])
def test_a_matrix_that_is_definite_in_float64_alone_ends_the_search_in_float32(
    shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, labels, _, _ = make_part(shape)
    (usual,) = solve_path(part, labels, CLASSES, [1e-2], 1e-9)
    space = ProductSpace if shape == "wide" else PlainSpace
    make = space.preconditioner

    def refuse(space: ProductSpace | PlainSpace, weights: FloatArray, penalty: float) -> Preconditioner:
        if weights.dtype != np.float64:
            raise np.linalg.LinAlgError
        return make(space, weights, penalty)

    monkeypatch.setattr(space, "preconditioner", refuse)
    (found,) = solve_path(part, labels, CLASSES, [1e-2], 1e-9)
    assert found.objective == pytest.approx(usual.objective, rel=1e-7)


def test_what_is_near_is_not_approached(monkeypatch: pytest.MonkeyPatch) -> None:
    part, labels, _, _ = make_part("wide")
    (rough,) = solve_path(part, labels, CLASSES, [1e-2], 1e-4)
    monkeypatch.setattr(type(part), "single", lambda _: pytest.fail("was approached"))
    assert refined(part, labels, rough).objective <= rough.objective


@pytest.mark.parametrize("joint", [True, False])
def test_what_changes_no_model_does_not_grow(joint: bool) -> None:
    """Rows that are centred add up to nothing: a number added to all coefficients would go unseen, step after step."""
    part, _, rows, _ = make_part("wide")
    targets = np.random.default_rng(0).normal(size=(len(rows), 6)) * 2.0 ** np.arange(6)
    start = np.random.default_rng(1).normal(size=(part.size, 6)) + 5.0
    found = minimise(part, Powers(targets, 4, joint=joint), 20.0, start, 1e-15)
    assert np.abs(found.coefficients.mean(axis=0)).max() < 1e-9 * np.abs(found.coefficients).max()
    loss = ((found.values - targets) ** 4).sum(axis=0)
    objectives = loss + 10.0 * (found.coefficients * part.values(found.coefficients)).sum(axis=0)
    np.testing.assert_allclose(found.objectives, [objectives.sum()] if joint else objectives, rtol=1e-9)
    assert found.done.all()


def lengths(part: Part, slopes: FloatArray) -> FloatArray:
    """Return how steep each column is."""
    return np.sqrt((slopes * part.paired(slopes, part.values(slopes))).sum(axis=0))
