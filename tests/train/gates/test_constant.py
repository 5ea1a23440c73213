"""The constant gate: the optimum that scipy finds, and proportions worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import softmax

from fusion_pipeline.train.gates.average import AverageGate
from fusion_pipeline.train.gates.constant import ConstantGate, mixture_proportions
from fusion_pipeline.train.gates.gate import GateInputs


@pytest.mark.parametrize("seed", range(3))
def test_expectation_maximisation_finds_the_optimum_of_scipy(seed: int) -> None:
    truth = np.random.default_rng(seed).beta(2, 1, size=(80, 4)) * np.array([1.0, 0.9, 0.6, 0.5]) + 1e-3

    def loss(logits: np.ndarray) -> float:
        weights = softmax(logits)
        return float(-np.log(truth @ weights).sum() - 0.7 * np.log(weights).sum())

    found = minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-8})
    np.testing.assert_allclose(mixture_proportions(truth, prior=0.7), softmax(found.x), atol=1e-5)


def test_one_expert_alone_gets_everything() -> None:
    np.testing.assert_array_equal(mixture_proportions(np.array([[0.3], [0.4]])), [1.0])


def test_experts_that_each_own_some_rows_get_their_shares() -> None:
    # Each row belongs to one expert, so the responsibilities are counts: (3 + 1) / (4 + 2) and (1 + 1) / (4 + 2).
    truth = np.array([[1.0, 1e-15], [1.0, 1e-15], [1.0, 1e-15], [1e-15, 1.0]])
    np.testing.assert_allclose(mixture_proportions(truth, prior=1.0), [2 / 3, 1 / 3], rtol=1e-9)


def test_the_prior_keeps_every_expert_in_play() -> None:
    assert mixture_proportions(np.array([[1.0, 1e-15]] * 1000))[1] == pytest.approx(1 / 1002, rel=1e-6)


def test_held_out_rows_get_the_proportions_of_the_others() -> None:
    # The first expert is the better one on the first half of the rows, the second one on the other half.
    truth = np.repeat([[0.9, 0.1], [0.1, 0.9]], 10, axis=0)
    first, second = np.arange(10), np.arange(10, 20)
    weights = ConstantGate("constant").cross_fit(GateInputs(20), truth, [(second, first), (first, second)], seed=0)
    np.testing.assert_array_equal(weights.argmax(axis=1), [1] * 10 + [0] * 10)


@given(n=st.integers(2, 40), n_experts=st.integers(1, 5), seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_proportions_sum_to_one_and_follow_the_experts_but_not_the_order_of_samples(
    n: int, n_experts: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.uniform(1e-3, 1.0, size=(n, n_experts))
    experts, samples = generator.permutation(n_experts), generator.permutation(n)
    proportions = mixture_proportions(truth)
    assert (proportions > 0).all()
    assert proportions.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(mixture_proportions(truth[:, experts]), proportions[experts], atol=1e-6)
    np.testing.assert_allclose(mixture_proportions(truth[samples]), proportions, atol=1e-6)


@given(n_experts=st.integers(1, 6), seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_the_average_is_the_constant_gate_of_equal_proportions(n_experts: int, seed: int) -> None:
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(4), size=(7, n_experts))
    labels, inputs = np.zeros(7, int), GateInputs(7)
    constant = ConstantGate("constant")
    constant.n_experts, constant.proportions = n_experts, np.full(n_experts, 1 / n_experts)
    average = AverageGate("average").fit(inputs, probabilities, labels, seed=0)
    np.testing.assert_array_equal(average.gate_weights(inputs), constant.gate_weights(inputs))
    np.testing.assert_array_equal(average.fuse(inputs, probabilities), constant.fuse(inputs, probabilities))
