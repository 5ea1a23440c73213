"""The logarithmic opinion pool: its equation by hand, its optimum, and when it is not used."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from fusion_pipeline.train.gates.gate import GateInputs
from fusion_pipeline.train.gates.log_pool import LogPoolGate, pool_weights, pooled
from fusion_pipeline.train.mixture import log_pool, uniform_weights
from tests.train.gates.made import opinions


def experts(n: int, rates: list[float], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return opinions (n, K, 3) of independent experts that are right at some rates, and the labels."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    return opinions(generator.random((n, len(rates))) < np.array(rates), labels), labels


def fitted(probabilities: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None) -> LogPoolGate:
    return LogPoolGate("log-pool").fit(GateInputs(len(labels), groups=groups), probabilities, labels, seed=0)


def test_the_pool_by_hand() -> None:
    # 0.8^2 * 0.3 : 0.1^2 * 0.5 : 0.1^2 * 0.2 = 0.192 : 0.005 : 0.002
    probabilities = np.array([[[0.8, 0.1, 0.1], [0.3, 0.5, 0.2]]])
    expected = np.array([[0.192, 0.005, 0.002]]) / 0.199
    np.testing.assert_allclose(pooled(np.array([2.0, 1.0]), probabilities), expected, rtol=1e-12)


def test_equal_weights_that_sum_to_one_are_the_logit_average() -> None:
    probabilities, _ = experts(9, [0.9, 0.5, 0.7], seed=0)
    weights = uniform_weights(9, 3)
    np.testing.assert_allclose(pooled(weights[0], probabilities), log_pool(weights, probabilities), rtol=1e-12)


def test_weights_by_hand() -> None:
    # Two classes at odds 3 : 1, each expert right in 3 of 4 rows of its own; the other says nothing there. Alone each
    # would be calibrated as it is: weight 1.
    sure, idle = [0.75, 0.25], [0.5, 0.5]
    probabilities = np.array([[sure, idle]] * 4 + [[idle, sure]] * 4)
    labels = np.array([0, 0, 0, 1] * 2)
    np.testing.assert_allclose(pool_weights(probabilities, labels), [1.0, 1.0], atol=1e-6)
    # The second is right in 9 of 10 rows: odds of 9 are 3 squared, so without a penalty its weight is 2.
    probabilities = np.array([[sure, idle]] * 4 + [[idle, sure]] * 10)
    labels = np.array([0, 0, 0, 1] + [0] * 9 + [1])
    np.testing.assert_allclose(pool_weights(probabilities, labels, spread_penalty=0.0), [1.0, 2.0], atol=1e-5)


def test_the_penalty_draws_weights_together_and_not_to_zero() -> None:
    sure, idle = [0.75, 0.25], [0.5, 0.5]
    probabilities = np.array([[sure, idle]] * 4 + [[idle, sure]] * 10)
    labels = np.array([0, 0, 0, 1] + [0] * 9 + [1])
    first, second = pool_weights(probabilities, labels, spread_penalty=1e6)
    # One weight for both: 12 of 14 rows are right, odds of 6.
    assert first == pytest.approx(second, abs=1e-4)
    assert first == pytest.approx(np.log(6) / np.log(3), abs=1e-3)


@given(seed=st.integers(0, 10_000), n_experts=st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_no_other_weights_are_likelier(seed: int, n_experts: int) -> None:
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.full(4, 0.5), size=(30, n_experts))
    labels = generator.integers(0, 4, 30)

    def loss(weights: np.ndarray) -> float:
        logits = np.einsum("k,nkc->nc", weights, np.log(np.maximum(probabilities, 1e-15)))
        apart = weights - weights.mean()
        return float((logsumexp(logits, axis=1) - logits[np.arange(30), labels]).sum() + 10 * (apart**2).sum())

    found = pool_weights(probabilities, labels)
    assert (found >= 0).all()
    for _ in range(20):
        other = np.abs(found + 0.05 * generator.normal(size=n_experts))
        assert loss(found) <= loss(other) + 1e-7


def test_an_expert_that_is_mostly_wrong_gets_no_weight() -> None:
    probabilities, labels = experts(300, [0.8, 0.05], seed=1)
    gate = fitted(probabilities, labels)
    assert not gate.fallback
    assert gate.weights[0] > 0.5
    assert gate.weights[1] == 0.0


def test_unequal_experts_are_better_pooled_than_averaged_on_new_rows() -> None:
    rates = [0.85, 0.8, 0.45, 0.45, 0.45]
    gate = fitted(*experts(300, rates, seed=2))
    unseen, labels = experts(3000, rates, seed=3)
    right = (gate.fuse(GateInputs(3000), unseen).argmax(axis=1) == labels).mean()
    assert not gate.fallback
    assert right > (unseen.mean(axis=1).argmax(axis=1) == labels).mean() + 0.02


def test_alike_experts_are_averaged() -> None:
    # Every expert says the same: pooling them is averaging them at another temperature, which the guard looks through.
    probabilities, labels = experts(120, [0.7], seed=4)
    gate = fitted(np.repeat(probabilities, 3, axis=1), labels)
    assert gate.fallback
    np.testing.assert_allclose(gate.fuse(GateInputs(120), probabilities.repeat(3, axis=1)), probabilities[:, 0])
    np.testing.assert_allclose(gate.gate_weights(GateInputs(2)), 1 / 3)


def test_one_expert_alone_is_itself() -> None:
    probabilities, labels = experts(60, [0.9], seed=5)
    gate = fitted(probabilities, labels)
    np.testing.assert_array_equal(gate.fuse(GateInputs(60), probabilities), probabilities[:, 0])


def test_learned_weights_are_restored_to_the_bit() -> None:
    probabilities, labels = experts(300, [0.85, 0.5], seed=2)
    gate = fitted(probabilities, labels)
    assert not gate.fallback
    again = LogPoolGate("log-pool").restore(*gate.state())
    inputs = GateInputs(300)
    assert again.fuse(inputs, probabilities).tobytes() == gate.fuse(inputs, probabilities).tobytes()
    assert again.gate_weights(inputs).tobytes() == gate.gate_weights(inputs).tobytes()


def test_experts_that_never_err_get_finite_weights() -> None:
    probabilities, labels = experts(60, [1.0, 1.0], seed=6)
    assert np.isfinite(pool_weights(probabilities, labels)).all()


def test_permuting_experts_permutes_weights() -> None:
    probabilities, labels = experts(150, [0.9, 0.6, 0.4], seed=7)
    order = [2, 0, 1]
    np.testing.assert_allclose(
        pool_weights(probabilities[:, order], labels), pool_weights(probabilities, labels)[order], atol=1e-5
    )


def test_the_guard_judges_by_rows_whose_group_took_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    probabilities, labels = experts(120, [0.9, 0.5], seed=8)
    groups = np.arange(120) // 6
    seen: list[int] = []
    monkeypatch.setattr(
        "fusion_pipeline.train.gates.log_pool.pool_weights",
        lambda rows, _labels: (seen.append(len(rows)), pool_weights(rows, _labels))[1],
    )
    fitted(probabilities, labels, groups)
    assert seen[-1] == 120
    assert all(length % 6 == 0 and length < 120 for length in seen[:-1])
