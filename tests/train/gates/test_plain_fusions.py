"""Fusions that do not adapt to the image: by hand, and what must hold for any experts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_pipeline.train.gates.average import AverageGate
from fusion_pipeline.train.gates.calibrated_average import CalibratedAverageGate
from fusion_pipeline.train.gates.gate import Gate, GateInputs
from fusion_pipeline.train.gates.logit_average import LogitAverageGate
from fusion_pipeline.train.gates.registry import make_gate
from fusion_pipeline.train.mixture import best_sharpness, sample_nll, sharpened

NAMES = ("average", "logit-average", "calibrated-average")
shapes = st.tuples(st.integers(2, 8), st.integers(1, 5), st.integers(2, 6))


def draw(shape: tuple[int, int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    n, n_experts, n_classes = shape
    generator = np.random.default_rng(seed)
    return generator.dirichlet(np.full(n_classes, 0.5), size=(n, n_experts)), generator.integers(0, n_classes, n)


def fitted(name: str, probabilities: np.ndarray, labels: np.ndarray) -> Gate:
    return make_gate(name).fit(GateInputs(len(labels)), probabilities, labels, seed=0)


def test_logit_average_by_hand() -> None:
    probabilities = np.array([[[0.8, 0.1, 0.1], [0.2, 0.4, 0.4]]])
    roots = np.sqrt([0.16, 0.04, 0.04])
    fused = fitted("logit-average", probabilities, np.array([0])).fuse(GateInputs(1), probabilities)
    np.testing.assert_allclose(fused, [roots / roots.sum()])
    logits = np.log(probabilities) + np.array([3.0, -40.0])[None, :, None]  # as no softmax can tell
    mean = np.exp(logits.mean(axis=1) - logits.mean(axis=1).max())
    np.testing.assert_allclose(fused, mean / mean.sum())


def test_logit_average_may_leave_the_experts_range() -> None:
    # Both give the first class 0.4; but each rules out what the other prefers.
    probabilities = np.array([[[0.4, 0.59, 0.01], [0.4, 0.01, 0.59]]])
    gate = LogitAverageGate("logit-average").fit(GateInputs(1), probabilities, np.array([0]), seed=0)
    assert gate.fuse(GateInputs(1), probabilities)[0, 0] > 0.6
    assert AverageGate("average").fit(GateInputs(1), probabilities, np.array([0]), 0).fuse(
        GateInputs(1), probabilities
    )[0, 0] == pytest.approx(0.4)


def test_a_veto_is_felt_but_no_probability_of_zero_is_infinite() -> None:
    probabilities = np.array([[[1.0, 0.0], [0.0, 1.0]]])
    np.testing.assert_allclose(
        fitted("logit-average", probabilities, np.array([0])).fuse(GateInputs(1), probabilities), [[0.5, 0.5]]
    )


def test_each_expert_has_its_own_temperature() -> None:
    modest, bold = np.tile([0.55, 0.45], (20, 1)), np.tile([0.99, 0.01], (20, 1))
    probabilities, labels = np.stack([modest, bold], axis=1), np.array([0] * 15 + [1] * 5)
    gate = CalibratedAverageGate("calibrated-average").fit(GateInputs(20), probabilities, labels, seed=0)
    # Three of four are right: both experts come out at 0.75.
    assert gate.sharpness[0] > 1 > gate.sharpness[1]
    np.testing.assert_allclose(sharpened(modest, gate.sharpness[0])[0], [0.75, 0.25], atol=1e-3)
    np.testing.assert_allclose(gate.fuse(GateInputs(20), probabilities)[0], [0.75, 0.25], atol=1e-3)
    assert gate.sharpness[1] == best_sharpness(probabilities[:, [1]], labels)


def test_calibration_lowers_the_loss_of_experts_that_are_too_bold() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 300)
    logits = 4 * (generator.normal(size=(300, 2, 3)) + np.eye(3)[labels][:, None])
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    inputs = GateInputs(300)
    losses = {
        name: sample_nll(fitted(name, probabilities, labels).fuse(inputs, probabilities), labels).mean()
        for name in ("average", "calibrated-average")
    }
    assert losses["calibrated-average"] < losses["average"]


@pytest.mark.parametrize("name", NAMES)
@given(shape=shapes, seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_fused_probabilities_sum_to_one_and_follow_samples_and_experts(
    name: str, shape: tuple[int, int, int], seed: int
) -> None:
    probabilities, labels = draw(shape, seed)
    generator = np.random.default_rng(seed)
    experts, samples = generator.permutation(shape[1]), generator.permutation(shape[0])
    inputs = GateInputs(shape[0])
    fused = fitted(name, probabilities, labels).fuse(inputs, probabilities)
    np.testing.assert_allclose(fused.sum(axis=1), 1.0)
    assert (fused >= 0).all()
    turned = fitted(name, probabilities[:, experts], labels)
    np.testing.assert_allclose(turned.fuse(inputs, probabilities[:, experts]), fused, atol=1e-9)
    same = fitted(name, probabilities, labels)
    np.testing.assert_allclose(same.fuse(inputs, probabilities[samples]), fused[samples], atol=1e-12)


@given(shape=shapes, seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_calibrated_fusion_stays_within_the_calibrated_experts(shape: tuple[int, int, int], seed: int) -> None:
    probabilities, labels = draw(shape, seed)
    gate = CalibratedAverageGate("calibrated-average").fit(GateInputs(shape[0]), probabilities, labels, seed=0)
    calibrated = sharpened(probabilities, gate.sharpness[:, None])
    fused = gate.fuse(GateInputs(shape[0]), probabilities)
    assert (fused >= calibrated.min(axis=1) - 1e-12).all()
    assert (fused <= calibrated.max(axis=1) + 1e-12).all()


@pytest.mark.parametrize("name", ["average", "logit-average"])
@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_one_expert_alone_is_itself(name: str, seed: int) -> None:
    probabilities, labels = draw((6, 1, 4), seed)
    fused = fitted(name, probabilities, labels).fuse(GateInputs(6), probabilities)
    np.testing.assert_allclose(fused, probabilities[:, 0], atol=1e-12)
