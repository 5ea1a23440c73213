"""Eq. 8: by hand, and what must hold for any probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fusion_pipeline.errors import UnusableDataError, UsageError
from fusion_pipeline.train.labels.weighting import top_weights, weighted_vectors

# Few different values, so that ties are common.
rows = st.integers(2, 8).flatmap(
    lambda m: st.integers(1, 6).flatmap(
        lambda n: arrays(np.float64, (n, m), elements=st.sampled_from([0.0, 0.125, 0.25, 0.3, 0.5]))
    )
)


def fine(probabilities: np.ndarray) -> np.ndarray:
    """Return rows with at least one class that is possible."""
    return np.where(probabilities.any(axis=1, keepdims=True), probabilities, 0.25)


def slow_weights(row: np.ndarray, top: int) -> np.ndarray:
    order = sorted(range(len(row)), key=lambda column: (-row[column], column))[:top]
    weights = np.zeros(len(row))
    weights[order] = row[order]
    return weights / weights.sum()


def test_equation_8_by_hand() -> None:
    probabilities = np.array([[0.1, 0.4, 0.3, 0.2]])
    vectors = np.array([[10.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 10.0]])
    # The top two are classes 1 and 2 with 0.4 and 0.3: (0.4 (1, 0) + 0.3 (0, 1)) / 0.7.
    np.testing.assert_allclose(weighted_vectors(probabilities, vectors, 2), [[4 / 7, 3 / 7]])
    np.testing.assert_allclose(top_weights(probabilities, 2).toarray(), [[0, 4 / 7, 3 / 7, 0]])


@given(probabilities=rows.map(fine), top=st.integers(1, 8))
@settings(deadline=None)
def test_weights_are_those_of_the_definition_with_ties_by_index(probabilities: np.ndarray, top: int) -> None:
    top = min(top, probabilities.shape[1])
    weights = top_weights(probabilities, top)
    assert weights.nnz == len(probabilities) * top
    np.testing.assert_allclose(weights.toarray(), [slow_weights(row, top) for row in probabilities], atol=1e-15)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    assert (weights.toarray() >= 0).all()


@given(probabilities=rows.map(fine), top=st.integers(1, 8), scale=st.floats(1e-6, 1e6))
@settings(deadline=None)
def test_rescaled_probabilities_give_the_same_vectors(probabilities: np.ndarray, top: int, scale: float) -> None:
    top = min(top, probabilities.shape[1])
    vectors = np.random.default_rng(0).normal(size=(probabilities.shape[1], 3))
    np.testing.assert_allclose(
        weighted_vectors(probabilities * scale, vectors, top), weighted_vectors(probabilities, vectors, top), atol=1e-12
    )
    doubled = top_weights(probabilities * 0.5, top).toarray()
    np.testing.assert_array_equal(doubled, top_weights(probabilities, top).toarray())


@given(seed=st.integers(0, 1000), dtype=st.sampled_from(["float16", "float32", "float64"]))
@settings(max_examples=20, deadline=None)
def test_one_class_is_the_likeliest_and_all_classes_are_the_product(seed: int, dtype: str) -> None:
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.full(1000, 0.1), size=3).astype(dtype)
    vectors = generator.normal(size=(1000, 4)).astype(np.float32)
    likeliest = vectors[probabilities.argmax(axis=1)]
    np.testing.assert_array_equal(weighted_vectors(probabilities, vectors, 1), likeliest)
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(weighted_vectors(probabilities, vectors, 1000), exact @ vectors, rtol=1e-10, atol=1e-12)


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_permuting_samples_or_classes_permutes_the_weights(seed: int) -> None:
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.full(30, 0.3), size=5)
    samples, classes = generator.permutation(5), generator.permutation(30)
    weights = top_weights(probabilities, 4).toarray()
    np.testing.assert_array_equal(top_weights(probabilities[samples], 4).toarray(), weights[samples])
    np.testing.assert_allclose(top_weights(probabilities[:, classes], 4).toarray(), weights[:, classes])


def test_more_rows_than_are_taken_at_a_time_and_none() -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.ones(5), size=2500)
    whole = top_weights(probabilities, 2).toarray()
    np.testing.assert_array_equal(whole[2400:], top_weights(probabilities[2400:], 2).toarray())
    assert top_weights(probabilities[:0], 2).shape == (0, 5)


@pytest.mark.parametrize("top", [0, 4, -1, 1.0, True, None])
def test_a_top_that_is_no_number_of_classes_is_refused(top: object) -> None:
    with pytest.raises(UsageError, match="from 1 to 3"):
        top_weights(np.full((1, 3), 0.3), top)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [np.nan, -0.1, np.inf])
def test_a_row_that_is_no_distribution_is_named(bad: float) -> None:
    probabilities = np.full((1500, 3), 0.3)
    probabilities[1200, 1] = bad
    with pytest.raises(UnusableDataError, match="row 1200"):
        top_weights(probabilities, 2)
    probabilities[1200] = 0
    with pytest.raises(UnusableDataError, match="row 1200"):
        top_weights(probabilities, 2)
