"""Rows and parts: what solvers ask for is the same whether rows are held as inner products or as they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_pipeline.train.solvers.gram import Gram
from fusion_pipeline.train.solvers.parts import GramPart, Part, PlainPart
from fusion_pipeline.train.solvers.rows import GramRows, PlainRows, hold
from fusion_pipeline.train.solvers.spaces import WithIntercept
from tests.train.solvers.made import concatenated, make_blocks, make_part, splits

SHAPES = st.sampled_from(["wide", "tall"])
SCALES = st.tuples(st.floats(0.1, 10.0), st.floats(0.1, 10.0))


def both(blocks: list[np.ndarray], split: tuple[np.ndarray, np.ndarray], **options: object) -> tuple[Part, Part]:
    grams = GramRows(tuple(Gram.of([block]) for block in blocks))
    return tuple(rows.part(*split, **options) for rows in (grams, PlainRows(tuple(blocks))))  # type: ignore[return-value, arg-type]


@given(shape=SHAPES, split=splits(), centred=st.booleans(), scales=SCALES, constant=st.sampled_from([0.0, 1.0, 2.5]))
def test_a_ridge_regression_is_the_same_in_both(
    shape: str,
    split: tuple[np.ndarray, np.ndarray],
    centred: bool,
    scales: tuple[float, float],
    constant: float,
) -> None:
    blocks, labels = make_blocks(shape)
    train, held_out = split
    targets = np.eye(3)[labels[train]]
    weights = np.linspace(0.5, 2.0, len(train))
    options = {"centred": centred, "scales": scales, "constant": constant}
    rows = concatenated(blocks, train, **options)  # type: ignore[arg-type]
    left = rows[train].T @ (weights[:, None] * rows[train]) + 3.0 * np.eye(rows.shape[1])
    expected = np.linalg.solve(left, rows[train].T @ targets)
    raw = np.hstack([block.astype(np.float64) for block in blocks])
    for part in both(blocks, split, **options):
        found = part.preconditioner(weights, 3.0)(part.slopes(targets))
        np.testing.assert_allclose(part.values(found), rows[train] @ expected, atol=1e-8)
        np.testing.assert_allclose(part.held_out(found), rows[held_out] @ expected, atol=1e-8)
        primal, offsets = part.weights(found)
        np.testing.assert_allclose(raw @ primal + offsets, rows @ expected, atol=1e-7)


@given(shape=SHAPES, split=splits())
def test_inner_products_of_weights_are_those_of_slopes_and_what_they_meet(
    shape: str, split: tuple[np.ndarray, np.ndarray]
) -> None:
    blocks, _ = make_blocks(shape)
    rows = concatenated(blocks, split[0], centred=True, scales=(1.0, 1.0), constant=0.0)[split[0]]
    residuals = np.random.default_rng(0).normal(size=(len(rows), 2))
    expected = (rows @ rows.T @ residuals * residuals).sum()
    for part in both(blocks, split):
        # The weights X' r, once as coefficients and once as slopes.
        found = part.slopes(residuals)
        met = part.paired(found, part.values(found))
        assert np.vdot(found, met) == pytest.approx(expected, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("shape", ["wide", "tall"])
def test_block_normalised_rows_have_mean_square_one_in_each_block(shape: str) -> None:
    blocks, _ = make_blocks(shape)
    train = np.arange(0, len(blocks[0]), 2)
    expected = [1 / np.sqrt(block[train].astype(np.float64).var(axis=0).sum()) for block in blocks]
    np.testing.assert_allclose(hold(blocks).block_scales(train), expected, rtol=1e-10)
    _, _, rows, _ = make_part(shape)
    assert (rows**2).sum(axis=1).mean() == pytest.approx(2.0)


@pytest.mark.parametrize("rows", [GramRows((Gram.of([np.full((4, 9), 3.0)]),)), PlainRows((np.full((4, 2), 3.0),))])
def test_a_block_that_never_varies_keeps_its_scale(rows: GramRows | PlainRows) -> None:
    assert rows.block_scales(np.arange(4)) == (1.0,)


def test_one_gram_of_scaled_blocks_is_the_sum_of_their_grams() -> None:
    blocks, _ = make_blocks("wide")
    train, held_out = np.arange(30), np.arange(30, 40)
    scales = hold(blocks).block_scales(train)
    apart = hold(blocks).part(train, held_out, scales=scales)
    together = GramRows((Gram.of(blocks, scales),)).part(train, held_out)
    assert isinstance(apart, GramPart)
    np.testing.assert_allclose(together.products, apart.products, atol=1e-12)
    slopes = np.eye(30)[:, :2]
    for one, other in zip(together.weights(slopes), apart.weights(slopes), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("shape", ["wide", "tall"])
def test_an_intercept_is_free_and_alone(shape: str) -> None:
    part, _, rows, _ = make_part(shape)
    space = WithIntercept(part)
    found = np.vstack([part.slopes(np.eye(len(rows))[:, :1]), [[2.0]]])
    values = space.values(found)
    np.testing.assert_allclose(values, rows @ rows[:1].T + 2.0, atol=1e-9)
    assert np.vdot(space.penalised(found), space.paired(found, values)) == pytest.approx(rows[0] @ rows[0])
    assert space.slopes(np.ones((len(rows), 1)))[-1, 0] == len(rows)
    assert space.preconditioner(np.full(len(rows), 0.5), 1.0)(found)[-1, 0] == pytest.approx(2.0 / (len(rows) / 2))


def test_rows_are_held_as_they_are_when_they_outnumber_the_features() -> None:
    assert isinstance(hold([np.ones((5, 2)), np.ones((5, 3))]), PlainRows)
    assert isinstance(hold([np.ones((5, 2)), np.ones((5, 4))]), GramRows)
    assert isinstance(hold([np.ones((5, 4))]).part(np.arange(5)), PlainPart)
