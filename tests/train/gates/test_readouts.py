"""The paper's literal readings: Eq. 6 without a head, Table 2's caption, and stacking in sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fusion_pipeline.errors import UsageError
from fusion_pipeline.train.gates.embedding import EmbeddingNetwork
from fusion_pipeline.train.gates.gate import GateInputs
from fusion_pipeline.train.gates.registry import make_gate, variant
from fusion_pipeline.train.gates.training import infer, seeded
from tests.train.gates.made import idle_inputs, telling_inputs


def test_equation_6_to_the_letter_by_hand() -> None:
    network = EmbeddingNetwork([1, 1], width=None)
    with torch.no_grad():
        network.embeddings[0].weight.copy_(torch.tensor([[1.0], [-1.0]]))
        network.embeddings[1].weight.copy_(torch.tensor([[2.0], [3.0]]))
        for layer in network.embeddings:
            layer.bias.zero_()
    # relu of (2, -2) and of (2, 3) have the mean (2, 1.5).
    expected = np.exp([2.0, 1.5]) / np.exp([2.0, 1.5]).sum()
    np.testing.assert_allclose(infer(network, (torch.tensor([[2.0]]), torch.tensor([[1.0]]))), [expected], rtol=1e-6)
    network.initialise(seeded(0, 0))
    assert [tuple(value.shape) for value in network.parameters()] == [(2, 1), (2,), (2, 1), (2,)]


def test_the_direct_softmax_needs_no_expert() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(90) % 3
    features = (3 * np.eye(3)[labels] + 0.3 * generator.normal(size=(90, 3)), generator.normal(size=(90, 2)))
    wrong = np.eye(3)[(labels + 1) % 3][:, None].repeat(2, axis=1)
    gate = make_gate("embedding-softmax").fit(GateInputs(90, features), wrong, labels, seed=0)
    fused = gate.fuse(GateInputs(90, features), wrong)
    assert (fused.argmax(axis=1) == labels).mean() > 0.95
    np.testing.assert_array_equal(fused, gate.fuse(GateInputs(90, features), wrong[:, ::-1]))
    np.testing.assert_array_equal(gate.gate_weights(GateInputs(90, features)), np.full((90, 2), 0.5))


def test_the_mean_readout_learns_whom_to_trust() -> None:
    inputs, probabilities, labels = telling_inputs(150)
    gate = make_gate("embedding-mean").fit(inputs, probabilities, labels, seed=0)
    assert not gate.fallback
    assert (gate.fuse(inputs, probabilities).argmax(axis=1) == labels).mean() > 0.9
    assert gate.state()[0]["embeddings.0.weight"].shape == (2, 6)
    restored = make_gate("embedding-mean").restore(*gate.state())
    assert restored.gate_weights(inputs).tobytes() == gate.gate_weights(inputs).tobytes()


def test_options_lead_to_gates_whose_names_tell_them() -> None:
    assert [variant("embedding", readout=how) for how in ("gate", "mean", "softmax")] == [
        "embedding",
        "embedding-mean",
        "embedding-softmax",
    ]
    assert variant("stacking", in_sample=True) == "leaking-stacking"
    for wrong in ({"gate": "cnn32", "readout": "mean"}, {"gate": "embedding", "readout": "median"}):
        with pytest.raises(UsageError, match="readout"):
            variant(**wrong)
    with pytest.raises(UsageError, match="in sample"):
        variant("constant", in_sample=True)
    with pytest.raises(UsageError, match="no gate"):
        variant("gat")


def test_stacking_in_sample_says_in_name_and_record_that_it_leaks() -> None:
    inputs, probabilities, labels = idle_inputs()
    honest, leaking = (
        make_gate(name).fit(inputs, probabilities, labels, seed=0) for name in ("stacking", "leaking-stacking")
    )
    assert (honest.in_sample, leaking.in_sample) == (False, True)
    assert "leaks" not in honest.state()[1]
    assert "own training rows" in leaking.state()[1]["leaks"]
