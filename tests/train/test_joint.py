"""Experts and gate that are trained together: the same start, something learned, and back to frozen ones."""

from __future__ import annotations

import numpy as np
import pytest

from fusion_pipeline.errors import UsageError
from fusion_pipeline.train.classifier import FusionClassifier
from fusion_pipeline.train.experts import ExpertFit, fit_expert
from fusion_pipeline.train.gates.gate import GateInputs
from fusion_pipeline.train.gates.registry import make_gate
from fusion_pipeline.train.gates.training import seeded
from fusion_pipeline.train.joint import JointLearner, train_jointly
from tests.train.made import make_features, make_labels, telling_data


def experts_of(features: dict[str, np.ndarray], labels: np.ndarray) -> list[ExpertFit]:
    return [fit_expert(matrix, labels, int(labels.max()) + 1, seed=0) for matrix in features.values()]


def test_it_starts_as_the_average_of_the_frozen_experts() -> None:
    features, _, labels = telling_data()
    fits, rows = experts_of(features, labels), np.arange(len(labels))
    gate = make_gate("embedding")
    gate.n_experts = 2
    looked_at = gate.tensors(GateInputs(len(labels), tuple(features.values())))
    learner = JointLearner(
        [fit.expert for fit in fits],
        [fit.alpha for fit in fits],
        [fit.scaling(matrix) for fit, matrix in zip(fits, features.values(), strict=True)],
        gate,
        list(features.values()),
        looked_at,
        labels,
        rows,
        seeded(0, 0),
    )
    frozen = [fit.expert.probabilities(matrix) for fit, matrix in zip(fits, features.values(), strict=True)]
    np.testing.assert_allclose(learner.fused(rows), np.mean(frozen, axis=0), atol=1e-5)
    for expert, fit in zip(learner.experts(), fits, strict=True):
        np.testing.assert_allclose(expert.weights, fit.expert.weights, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(expert.bias, fit.expert.bias, rtol=1e-4, atol=1e-5)


def test_together_they_learn_whom_to_trust_and_the_experts_move() -> None:
    features, _, labels = telling_data(300)
    model = FusionClassifier(gate="embedding", joint=True).fit(features, labels)
    frozen = FusionClassifier(gate="average").fit(features, labels)
    assert not model.fallback_
    assert model.score(features, labels) > frozen.score(features, labels) + 0.05
    for name, expert in model.experts_.items():
        assert not np.array_equal(expert.weights, frozen.experts_[name].weights)


def test_the_same_seed_gives_the_same_bytes_and_unseen_rows_play_no_part() -> None:
    features, _, labels = telling_data()
    first, second = (FusionClassifier(gate="embedding", joint=True, seed=3).fit(features, labels) for _ in range(2))
    assert first.predict_proba(features).tobytes() == second.predict_proba(features).tobytes()
    other = FusionClassifier(gate="embedding", joint=True, seed=4).fit(features, labels)
    assert first.predict_proba(features).tobytes() != other.predict_proba(features).tobytes()


def test_where_nothing_is_gained_the_experts_stay_frozen_and_are_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = make_labels(12, 3)
    features = {"a": make_features(labels, 4, 0), "b": make_features(labels, 5, 1)}
    fits = experts_of(features, labels)
    monkeypatch.setattr("fusion_pipeline.train.joint._best_epochs", lambda *_: 0)
    gate = make_gate("embedding")
    inputs = GateInputs(len(labels), tuple(features.values()))
    experts = train_jointly(fits, gate, list(features.values()), inputs, labels, seed=0)
    assert all(expert is fit.expert for expert, fit in zip(experts, fits, strict=True))
    assert gate.fallback
    np.testing.assert_array_equal(gate.gate_weights(inputs), np.full((len(labels), 2), 0.5))


@pytest.mark.parametrize("gate", ["average", "constant", "stacking", "embedding-softmax"])
def test_a_gate_without_a_network_is_refused(gate: str) -> None:
    features, _, labels = telling_data(60)
    with pytest.raises(UsageError, match="cannot be trained together"):
        FusionClassifier(gate=gate, joint=True).fit(features, labels)
