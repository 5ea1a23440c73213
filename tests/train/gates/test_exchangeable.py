"""Experts that nobody could tell apart: at most one gate in twenty says that it knows whom to trust."""

from __future__ import annotations

import numpy as np
import pytest

from fusion_pipeline.train.gates.gate import Gate, GateInputs
from fusion_pipeline.train.gates.registry import GATES
from tests.train.made import make_features

N, N_CLASSES, N_EXPERTS = 120, 3, 3

cases = pytest.mark.parametrize(
    ("name", "size", "runs"),
    [
        ("constant", 0, 100),
        ("stacking", 0, 5),  # Eq. 9 gives every expert the same part: it cannot claim anything
        ("embedding", 0, 100),
        ("cnn32", 8, 20),  # the same network, on thumbnails that take a sixteenth of the time
        pytest.param("cnn32", 32, 100, marks=pytest.mark.soak),
        pytest.param("cnn64", 64, 100, marks=pytest.mark.soak),
    ],
)


def exchangeable(seed: int, size: int) -> tuple[GateInputs, np.ndarray, np.ndarray]:
    """Return experts that err independently and equally often; what gates look at tells the class, and no more."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(N) % N_CLASSES)
    logits = generator.normal(size=(N, N_EXPERTS, N_CLASSES)) + 2 * np.eye(N_CLASSES)[labels][:, None]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    features = tuple(make_features(labels, 8, 1000 * seed + k) for k in range(N_EXPERTS))
    thumbnails = generator.integers(0, 200, size=(N, size, size, 3), dtype=np.uint8)
    thumbnails += (20 * labels).astype(np.uint8)[:, None, None, None]
    return GateInputs(N, features, thumbnails), probabilities, labels


def claims(gate: Gate, inputs: GateInputs) -> bool:
    """Return whether a gate trusts some experts more than others."""
    return not np.array_equal(gate.gate_weights(inputs), np.full((N, N_EXPERTS), 1 / N_EXPERTS))


@cases
def test_at_most_one_in_twenty_claims_to_adapt(name: str, size: int, runs: int) -> None:
    claimed = 0
    for seed in range(runs):
        inputs, probabilities, labels = exchangeable(seed, size)
        gate = GATES[name].make(name)
        gate.thumbnail_size = size or None
        gate.fit(inputs, probabilities, labels, seed)
        assert claims(gate, inputs) == (name != "stacking" and not gate.fallback)
        claimed += claims(gate, inputs)
    assert claimed <= runs // 20
