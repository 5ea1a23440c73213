"""Newton steps for squared hinges: the rows that miss their margin give the optimum, from any start."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_pipeline.train.solvers import newton as module
from fusion_pipeline.train.solvers.newton import grow, newton
from tests.train.solvers.made import CLASSES, make_part


def problem(shape: str) -> tuple[np.ndarray, np.ndarray]:
    _, labels, rows, _ = make_part(shape, constant=1.0)
    return rows @ rows.T, np.where(labels[:, None] == np.arange(CLASSES), 1.0, -1.0)


@given(shape=st.sampled_from(["wide", "tall"]), cost=st.floats(1e-3, 1e3), scale=st.floats(-10.0, 10.0))
def test_slopes_are_zero_at_the_optimum_from_any_start(shape: str, cost: float, scale: float) -> None:
    products, signs = problem(shape)
    start = scale * np.random.default_rng(0).normal(size=signs.shape)
    found, objectives = newton(products, signs, cost, start, 1e-12)
    values = products @ found
    missing = np.maximum(0.0, 1.0 - signs * values)
    np.testing.assert_allclose(found, 2 * cost * signs * missing, atol=1e-5 * np.abs(found).max())
    np.testing.assert_allclose(objectives, (found * values).sum(axis=0) / 2 + cost * (missing**2).sum(axis=0))


@pytest.mark.parametrize("widest", [1.0, 0.1])
def test_growing_ends_near_the_optimum_or_where_too_many_rows_count(
    monkeypatch: pytest.MonkeyPatch, widest: float
) -> None:
    monkeypatch.setattr(module, "_FEWEST", 3)
    products, signs = problem("wide")
    start = grow(products, signs, 1.0, widest)
    assert (start != 0).any(axis=1).sum() <= (12 if widest == 1.0 else 3)
    exact = newton(products, signs, 1.0, np.zeros_like(signs), 1e-12)
    grown = newton(products, signs, 1.0, start, 1e-12)
    np.testing.assert_allclose(grown[1], exact[1], rtol=1e-10)
    np.testing.assert_allclose(grown[0], exact[0], atol=1e-6)


def test_few_rows_are_not_grown() -> None:
    products, signs = problem("wide")
    assert not grow(products, signs, 1.0, 1.0).any()
