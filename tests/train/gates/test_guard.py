"""The guard: what is not better than averaging on unseen rows is averaging."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from fusion_pipeline.train.folds import Fold
from fusion_pipeline.train.gates.constant import ConstantGate
from fusion_pipeline.train.gates.gate import FloatArray, Gate, GateInputs
from fusion_pipeline.train.gates.guard import beats_averaging
from fusion_pipeline.train.gates.registry import GATES, GateEntry
from fusion_pipeline.train.mixture import (
    best_sharpness,
    mixture_nll,
    sharpened,
    truth_probabilities,
    uniform_weights,
)
from tests.train.gates.made import idle_inputs, opinions

ENTRIES = {
    "constant": GATES["constant"],
    "embedding": GATES["embedding"],
    "cnn32": GateEntry("cnn", "ThumbnailGate", {"thumbnail_size": 8}),
}


def fallen(name: str) -> Gate:
    """Return a gate fitted where the two experts always agree, so that no weights are better than uniform ones."""
    inputs, _, labels = idle_inputs()
    same = opinions(np.ones((len(labels), 2), bool), labels)
    return ENTRIES[name].make(name).fit(inputs, same, labels, seed=0)


@pytest.mark.parametrize("name", ENTRIES)
def test_nothing_to_learn_means_averaging_and_says_so(name: str) -> None:
    inputs, probabilities, _ = idle_inputs()
    gate = fallen(name)
    assert gate.fallback
    np.testing.assert_array_equal(gate.gate_weights(inputs), uniform_weights(inputs.rows, 2))
    np.testing.assert_allclose(gate.fuse(inputs, probabilities), probabilities.mean(axis=1))


@pytest.mark.parametrize("name", ENTRIES)
def test_a_fallen_gate_stores_no_parameters_and_restores(name: str) -> None:
    gate = fallen(name)
    arrays, settings = gate.state()
    assert arrays == {}
    restored = ENTRIES[name].make(name).restore(arrays, settings)
    inputs, _, _ = idle_inputs()
    np.testing.assert_array_equal(restored.gate_weights(inputs), gate.gate_weights(inputs))


def test_equal_is_not_better() -> None:
    _, probabilities, labels = idle_inputs()
    truth = truth_probabilities(probabilities, labels)
    assert not beats_averaging(uniform_weights(*truth.shape), probabilities, labels)
    assert beats_averaging(np.eye(2)[truth.argmax(axis=1)], probabilities, labels)
    assert not beats_averaging(np.eye(2)[truth.argmin(axis=1)], probabilities, labels)


def test_a_better_likelihood_with_fewer_right_is_not_better() -> None:
    # Where the first expert is wrong, it is so by a hair; and on ten of these rows the average is right.
    first = np.repeat([0.95, 0.49, 0.49], [150, 10, 40])
    second = np.repeat([0.55, 0.55, 0.10], [150, 10, 40])
    probabilities = np.stack([np.stack([p, 1 - p], axis=1) for p in (first, second)], axis=1)
    labels, trusted = np.zeros(200, int), np.tile([1.0, 0.0], (200, 1))
    others = np.r_[:150, 160:200]
    assert beats_averaging(trusted[others], probabilities[others], labels[others])
    assert not beats_averaging(trusted, probabilities, labels)


def test_more_confidence_alone_is_not_better() -> None:
    rng = np.random.default_rng(0)
    labels = np.zeros(400, int)
    # Both experts say the same, the second with more modesty: leaning on the first gains likelihood and no knowledge.
    sure = np.where(rng.random(400) < 0.95, 0.95, 0.05)
    modest = np.where(sure > 0.5, 0.6, 0.4)
    probabilities = np.stack([np.stack([p, 1 - p], axis=1) for p in (sure, modest)], axis=1)
    first = np.tile([1.0, 0.0], (400, 1))
    truth = truth_probabilities(probabilities, labels)
    assert mixture_nll(first, truth).mean() < mixture_nll(uniform_weights(400, 2), truth).mean()
    assert not beats_averaging(first, probabilities, labels)


def test_at_most_a_few_of_many_idle_weights_pass() -> None:
    rng = np.random.default_rng(1)
    passed = 0
    for _ in range(100):
        labels = rng.integers(0, 3, 200)
        logits = rng.normal(size=(200, 2, 3)) + 2.0 * np.eye(3)[labels][:, None, :]
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
        passed += beats_averaging(rng.dirichlet([20.0, 20.0], 200), probabilities, labels)
    assert passed <= 5


def test_at_most_a_few_of_many_idle_constant_gates_pass() -> None:
    rng = np.random.default_rng(2)
    passed = 0
    for seed in range(40):
        labels = rng.permutation(np.arange(150) % 3)
        logits = rng.normal(size=(150, 2, 3)) + 2.0 * np.eye(3)[labels][:, None, :]
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
        passed += not GATES["constant"].make("constant").fit(GateInputs(150), probabilities, labels, seed).fallback
    assert passed <= 3


@pytest.mark.parametrize("name", ENTRIES)
def test_one_expert_is_trusted_without_any_training(name: str) -> None:
    inputs, probabilities, labels = idle_inputs()
    gate = ENTRIES[name].make(name).fit(GateInputs(inputs.rows), probabilities[:, :1], labels, seed=0)
    np.testing.assert_array_equal(gate.gate_weights(inputs), np.ones((inputs.rows, 1)))


def test_gates_learn_from_experts_that_are_sharpened_until_their_average_is_calibrated() -> None:
    seen: list[FloatArray] = []

    class Noting(ConstantGate):
        def cross_fit(self, inputs: GateInputs, truth: FloatArray, folds: Sequence[Fold], seed: int) -> FloatArray:
            seen.append(truth)
            return super().cross_fit(inputs, truth, folds, seed)

    inputs, probabilities, labels = idle_inputs()
    Noting("constant").fit(inputs, probabilities, labels, seed=0)
    sharpness = best_sharpness(probabilities, labels)
    assert abs(sharpness - 1) > 0.01, "otherwise nothing is sharpened"
    np.testing.assert_array_equal(seen[0], truth_probabilities(sharpened(probabilities, sharpness), labels))
