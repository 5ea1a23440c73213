"""The guard: what is not better than averaging on unseen rows is averaging."""

from __future__ import annotations

import numpy as np
import pytest

from fusion_pipeline.train.gates.gate import Gate
from fusion_pipeline.train.gates.guard import beats_averaging
from fusion_pipeline.train.gates.registry import GATES, GateEntry
from fusion_pipeline.train.mixture import uniform_weights
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
    truth = np.random.default_rng(0).random((20, 3)) + 0.1
    assert not beats_averaging(uniform_weights(20, 3), truth)
    assert beats_averaging(np.eye(3)[truth.argmax(axis=1)], truth)
    assert not beats_averaging(np.eye(3)[truth.argmin(axis=1)], truth)
