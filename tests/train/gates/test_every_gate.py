"""What every gate promises: weights that sum to one, the same bytes for the same seed, a state that restores."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from fusion_pipeline.errors import UsageError
from fusion_pipeline.train.gates.gate import Gate
from fusion_pipeline.train.gates.registry import GATES, GateEntry, make_gate
from tests.train.gates.made import idle_inputs, telling_inputs

MADE = {"cnn32": GateEntry("cnn", "ThumbnailGate", {"thumbnail_size": 8})}


def fitted(name: str, seed: int = 0) -> Gate:
    inputs, probabilities, labels = telling_inputs()
    return MADE.get(name, GATES[name]).make(name).fit(inputs, probabilities, labels, seed)


@pytest.fixture(scope="module", params=[name for name in GATES if name != "cnn64"])
def gate(request: pytest.FixtureRequest) -> Gate:
    return fitted(request.param)


def test_weights_are_non_negative_and_sum_to_one(gate: Gate) -> None:
    inputs, probabilities, _ = idle_inputs()
    weights = gate.gate_weights(inputs)
    assert weights.shape == (90, 2)
    assert weights.dtype == np.float64
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(gate.fuse(inputs, probabilities).sum(axis=1), 1.0, rtol=1e-12)


def test_the_same_seed_gives_the_same_bytes(gate: Gate) -> None:
    again = fitted(gate.name)
    assert gate.state()[1] == again.state()[1]
    arrays, others = gate.state()[0], again.state()[0]
    assert {name: array.tobytes() for name, array in arrays.items()} == {
        name: array.tobytes() for name, array in others.items()
    }


def test_a_restored_or_pickled_gate_does_the_same_to_the_bit(gate: Gate) -> None:
    inputs, probabilities, _ = idle_inputs()
    restored = MADE.get(gate.name, GATES[gate.name]).make(gate.name).restore(*gate.state())
    for other in (restored, pickle.loads(pickle.dumps(gate))):
        assert other.fuse(inputs, probabilities).tobytes() == gate.fuse(inputs, probabilities).tobytes()
        assert (other.name, other.n_experts, other.fallback) == (gate.name, gate.n_experts, gate.fallback)


def test_permuting_samples_permutes_weights(gate: Gate) -> None:
    inputs, _, _ = idle_inputs()
    order = np.random.default_rng(0).permutation(inputs.rows)
    np.testing.assert_allclose(gate.gate_weights(inputs.take(order)), gate.gate_weights(inputs)[order], atol=1e-6)


@pytest.mark.parametrize("name", ["embedding", "cnn32"])
def test_a_gate_that_looks_follows_what_it_sees(name: str) -> None:
    inputs, probabilities, labels = telling_inputs()
    gate = fitted(name)
    assert not gate.fallback
    fused = gate.fuse(inputs, probabilities)
    assert (fused.argmax(axis=1) == labels).mean() > 0.95
    assert (probabilities.mean(axis=1).argmax(axis=1) == labels).mean() < 0.7, "averaging cannot tell"


@pytest.mark.parametrize("name", ["embedding", "cnn32"])
def test_other_seeds_give_other_gates(name: str) -> None:
    first, other = fitted(name).state()[0], fitted(name, seed=1).state()[0]
    assert any(not np.array_equal(first[key], other[key]) for key in first)


def test_the_registry_makes_each_gate_under_its_name_and_names_the_nearest() -> None:
    for name in GATES:
        assert make_gate(name).name == name
    assert (make_gate("cnn32").thumbnail_size, make_gate("cnn64").thumbnail_size) == (32, 64)
    with pytest.raises(UsageError, match="Did you mean 'stacking'"):
        make_gate("stakcing")
    with pytest.raises(UsageError, match=r"no gate '\\x1b'"):
        make_gate("\x1b")
