"""Mixtures: Eq. 3 by hand, and what must hold for any gate weights and probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_pipeline.train.mixture import (
    PROBABILITY_FLOOR,
    best_sharpness,
    fuse,
    mixture_nll,
    sample_nll,
    truth_probabilities,
    uniform_weights,
)

shapes = st.tuples(st.integers(1, 8), st.integers(1, 5), st.integers(2, 6))


def draw(shape: tuple[int, int, int], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n, n_experts, n_classes = shape
    generator = np.random.default_rng(seed)
    weights = generator.dirichlet(np.full(n_experts, 0.5), size=n)
    probabilities = generator.dirichlet(np.full(n_classes, 0.5), size=(n, n_experts))
    return weights, probabilities, generator.integers(0, n_classes, n)


def test_equation_3_by_hand() -> None:
    probabilities = np.array([[[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]]])
    np.testing.assert_allclose(fuse(np.array([[0.25, 0.75]]), probabilities), [[0.25, 0.5, 0.25]])


@given(shape=shapes, seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_fused_probabilities_are_convex_combinations(shape: tuple[int, int, int], seed: int) -> None:
    weights, probabilities, _ = draw(shape, seed)
    fused = fuse(weights, probabilities)
    np.testing.assert_allclose(fused.sum(axis=1), 1.0)
    assert (fused >= probabilities.min(axis=1) - 1e-12).all()
    assert (fused <= probabilities.max(axis=1) + 1e-12).all()
    np.testing.assert_allclose(fuse(uniform_weights(*shape[:2]), probabilities), probabilities.mean(axis=1))


@given(shape=shapes, seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_a_one_hot_gate_is_that_expert(shape: tuple[int, int, int], seed: int) -> None:
    _, probabilities, _ = draw(shape, seed)
    chosen = seed % shape[1]
    one_hot = np.tile(np.eye(shape[1])[chosen], (shape[0], 1))
    np.testing.assert_array_equal(fuse(one_hot, probabilities), probabilities[:, chosen])


@given(shape=shapes, seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_permuting_experts_or_samples_permutes_the_output(shape: tuple[int, int, int], seed: int) -> None:
    weights, probabilities, _ = draw(shape, seed)
    generator = np.random.default_rng(seed)
    experts, samples = generator.permutation(shape[1]), generator.permutation(shape[0])
    fused = fuse(weights, probabilities)
    np.testing.assert_allclose(fuse(weights[:, experts], probabilities[:, experts]), fused)
    np.testing.assert_array_equal(fuse(weights[samples], probabilities[samples]), fused[samples])


@given(shape=shapes, seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_fusing_never_costs_more_than_the_weighted_experts(shape: tuple[int, int, int], seed: int) -> None:
    weights, probabilities, labels = draw(shape, seed)
    truth = truth_probabilities(probabilities, labels)
    fused = mixture_nll(weights, truth)
    assert (fused <= (weights * -np.log(truth)).sum(axis=1) + 1e-9).all()
    if truth.min() > PROBABILITY_FLOOR:
        np.testing.assert_allclose(fused, sample_nll(fuse(weights, probabilities), labels))


def test_an_impossible_truth_costs_much_but_not_everything() -> None:
    certain = np.array([[1.0, 0.0]])
    assert sample_nll(certain, np.array([1]))[0] == pytest.approx(-np.log(PROBABILITY_FLOOR))
    assert truth_probabilities(certain[:, None], np.array([1]))[0, 0] == PROBABILITY_FLOOR


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        fuse(np.ones((2, 1)), np.ones((2, 3, 4)))


def test_very_modest_experts_are_sharpened_as_much_as_they_need() -> None:
    modest = np.tile([0.55, 0.45], (10, 1, 1))
    # Nine of ten are right: log(0.9 / 0.1) is 10.95 times log(0.55 / 0.45).
    assert best_sharpness(modest, np.array([0] * 9 + [1])) == pytest.approx(10.95, rel=1e-3)
