"""How gate networks learn: for how long, and what pulls them back to averaging."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fusion_pipeline.train.gates.embedding import EmbeddingGate, EmbeddingNetwork
from fusion_pipeline.train.gates.training import Learner, Recipe, infer, seeded
from tests.train.gates.made import idle_inputs, telling_inputs


@pytest.fixture
def epochs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of rows that were learned from, one for each epoch of each network."""
    rows: list[int] = []
    true_epoch = Learner.epoch

    def epoch(self: Learner) -> None:
        rows.append(len(self.rows))
        true_epoch(self)

    monkeypatch.setattr(Learner, "epoch", epoch)
    return rows


def test_the_gate_learns_from_all_rows_as_long_as_held_out_rows_gained(epochs: list[int]) -> None:
    inputs, probabilities, labels = telling_inputs()
    gate = EmbeddingGate("embedding").fit(inputs, probabilities, labels, seed=0)
    assert gate.epochs > 1
    assert epochs.count(len(labels)) == gate.epochs


def test_trying_ends_once_patience_is_lost(epochs: list[int]) -> None:
    inputs, probabilities, labels = idle_inputs()
    gate = EmbeddingGate("embedding").fit(inputs, probabilities, labels, seed=0)
    assert gate.fallback
    assert len(epochs) == gate.cross_fit_folds * (gate.epochs + gate.recipe.patience)
    assert gate.epochs + gate.recipe.patience < gate.recipe.epochs


def test_without_evidence_weights_move_towards_averaging() -> None:
    network = EmbeddingNetwork([1, 1])
    nothing, equal = (torch.zeros(1, 1),) * 2, torch.tensor([[0.5, 0.5]])
    recipe = Recipe(epochs=1, patience=1, batch_size=1, learning_rate=0.1, weight_decay=0.0)
    learner = Learner(network, nothing, equal, np.array([0]), recipe, seeded(0, 0))
    with torch.no_grad():
        network.head.bias.copy_(torch.tensor([0.8, 0.2]).log())
    learner.epoch()
    # AdamW's first step is the learning rate, whatever the gradient: log(0.8 / 0.2) loses 2 x 0.1.
    expected = 1 / (1 + np.exp(0.2) / 4)
    np.testing.assert_allclose(infer(network, nothing), [[expected, 1 - expected]], rtol=1e-4)
