"""Grams: the inner products of any rows, centred on any others, as if they were computed from the features."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_pipeline.train.solvers.gram import SLAB, Gram
from tests.train.solvers.made import concatenated, make_blocks, splits


@given(split=splits(), centred=st.booleans(), scale=st.floats(0.01, 100.0))
def test_any_rows_and_any_centre_are_there(split: tuple[np.ndarray, np.ndarray], centred: bool, scale: float) -> None:
    blocks, _ = make_blocks("wide")
    train, held_out = split
    inner, cross = Gram.of(blocks, (scale, 1.0)).take(train, held_out, centred=centred)
    matrix = concatenated(blocks, train, centred=centred, scales=(scale, 1.0), constant=0.0)
    size = np.abs(matrix @ matrix.T).max()
    np.testing.assert_allclose(inner, matrix[train] @ matrix[train].T, atol=1e-12 * size, rtol=1e-10)
    np.testing.assert_allclose(cross, matrix[held_out] @ matrix[train].T, atol=1e-12 * size, rtol=1e-10)


def test_more_columns_than_a_slab_and_more_rows_than_one_are_all_summed() -> None:
    features = np.random.default_rng(0).normal(size=(SLAB + 30, 2 * SLAB + 7)).astype(np.float32)
    gram = Gram.of([features])
    exact = features.astype(np.float64)
    everyone = np.arange(len(exact))
    np.testing.assert_allclose(gram.take(everyone, everyone[:1], centred=False)[0], exact @ exact.T, atol=1e-9)
    np.testing.assert_array_equal(gram.shifted, gram.shifted.T)


def test_centring_keeps_its_digits_far_from_zero() -> None:
    near = np.random.default_rng(0).normal(size=(6, 9))
    train = np.array([0, 2, 3, 5])
    expected = Gram.of([near]).take(train, train, centred=True)[0]
    shifted = Gram.of([near + 2.0**26]).take(train, train, centred=True)[0]
    np.testing.assert_allclose(shifted, expected, atol=1e-6)  # adding rounds each number at 1e-8


def test_mean_square_is_the_spread_of_the_training_rows() -> None:
    gram = Gram.of([np.array([[1.0, 0.0, 7.0], [3.0, 4.0, 7.0], [100.0, 0.0, 0.0]])])
    assert gram.mean_square(np.array([0, 1])) == pytest.approx(1 + 4)


def test_the_features_are_not_copied() -> None:
    features = np.ones((3, 5), np.float16)
    assert Gram.of([features]).blocks[0] is features
