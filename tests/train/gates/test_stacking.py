"""The stacker of Eq. 9: a regression on the mean, which can mend what the experts confuse."""

from __future__ import annotations

import numpy as np

from fusion_pipeline.train.experts import Expert
from fusion_pipeline.train.gates.gate import GateInputs
from fusion_pipeline.train.gates.stacking import StackingGate
from fusion_pipeline.train.solvers.softmax import softmax


def test_equation_9_by_hand() -> None:
    weights, bias = np.array([[2.0, 0.0], [0.0, 1.0]], np.float32), np.array([0.5, 0.0])
    gate = StackingGate("stacking")
    gate.n_experts, gate.regression = 2, Expert(weights, bias)
    probabilities = np.array([[[0.9, 0.1], [0.3, 0.7]]])  # mean 0.6, 0.4
    np.testing.assert_allclose(gate.fuse(GateInputs(1), probabilities), softmax(np.array([[1.7, 0.4]])))
    np.testing.assert_array_equal(gate.gate_weights(GateInputs(1)), [[0.5, 0.5]])


def test_classes_that_experts_swap_are_swapped_back() -> None:
    labels = np.tile([0, 1, 2], 12)
    swapped = np.eye(3)[np.array([1, 0, 2])[labels]][:, None].repeat(2, axis=1) * 0.7 + 0.1
    gate = StackingGate("stacking").fit(GateInputs(36), swapped, labels, seed=0)
    assert (gate.fuse(GateInputs(36), swapped).argmax(axis=1) == labels).all()
    assert (swapped.mean(axis=1).argmax(axis=1) == labels).mean() < 0.4
