"""Products, solutions and scatter matrices by BLAS: those of NumPy, in either precision and any order in memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_pipeline.train.solvers.blas import double, inner, product, scatter, solver

TYPES = st.sampled_from(["float64", "float32"])
SIZES = st.integers(1, 9)


def laid_out(matrix: np.ndarray, layout: str) -> np.ndarray:
    """Return the same matrix in C order, as a transpose, or as every other column of a wider one."""
    if layout == "apart":
        return np.repeat(matrix, 2, axis=1)[:, ::2]
    return np.ascontiguousarray(matrix) if layout == "rows" else np.asfortranarray(matrix)


LAYOUTS = st.sampled_from(["rows", "columns", "apart"])


@given(n=SIZES, k=SIZES, m=SIZES, left=LAYOUTS, right=LAYOUTS, kind=TYPES)
def test_a_product_is_that_of_numpy_in_any_order(n: int, k: int, m: int, left: str, right: str, kind: str) -> None:
    rng = np.random.default_rng(n + 10 * k + 100 * m)
    first, second = rng.normal(size=(n, k)).astype(kind), rng.normal(size=(k, m)).astype(kind)
    before = first.copy(), second.copy()
    found = product(laid_out(first, left), laid_out(second, right))
    assert found.dtype == kind
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, first @ second, atol=1e-5 if kind == "float32" else 1e-13)
    np.testing.assert_array_equal(first, before[0])
    np.testing.assert_array_equal(second, before[1])


@given(n=SIZES, m=SIZES, kind=TYPES)
def test_an_inner_product_sums_all_entries(n: int, m: int, kind: str) -> None:
    rng = np.random.default_rng(n + 10 * m)
    left, right = rng.normal(size=(2, n, m)).astype(kind)
    found = inner(left, np.asfortranarray(right))
    assert isinstance(found, float)
    assert found == pytest.approx(float((left.astype("float64") * right).sum()), abs=1e-4)


@given(n=SIZES, m=SIZES, kind=TYPES)
def test_a_solver_solves_and_leaves_what_it_is_asked_about(n: int, m: int, kind: str) -> None:
    rng = np.random.default_rng(n + 10 * m)
    rows, sides = rng.normal(size=(n, n + 2)), rng.normal(size=(n, m)).astype(kind)
    matrix, asked = (rows @ rows.T + np.eye(n)).astype(kind), sides.copy()
    solve = solver(np.array(matrix, order="F"))
    for _ in range(2):
        found = solve(sides)
        assert found.dtype == kind
        assert found.flags.c_contiguous
        np.testing.assert_allclose(matrix @ found, sides, atol=1e-3 if kind == "float32" else 1e-9)
    np.testing.assert_array_equal(sides, asked)


def test_what_is_not_definite_is_refused() -> None:
    with pytest.raises(np.linalg.LinAlgError):
        solver(np.array([[1.0, 2.0], [2.0, 1.0]], order="F"))


@given(n=SIZES, k=SIZES, slab=st.integers(1, 4), kind=TYPES)
def test_a_scatter_matrix_is_summed_slab_by_slab(n: int, k: int, slab: int, kind: str) -> None:
    rng = np.random.default_rng(n + 10 * k)
    rows, roots = rng.normal(size=(n, k)).astype(kind), rng.uniform(0.1, 2.0, n).astype(kind)
    found = scatter(rows, roots, slab)
    assert found.dtype == kind
    weighted = rows.astype("float64") * roots[:, None]
    np.testing.assert_allclose(np.tril(found), np.tril(weighted.T @ weighted), atol=1e-3)


def test_what_is_double_already_is_not_copied() -> None:
    exact = np.ones(3)
    assert double(exact) is exact
    assert double(exact.astype("float32")).dtype == "float64"
