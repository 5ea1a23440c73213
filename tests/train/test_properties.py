"""What must hold of a fused classifier on any data: drawn features, labels and gates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_pipeline.train.classifier import FusionClassifier
from fusion_pipeline.train.mixture import sample_nll
from tests.train.made import make_features, make_labels

CONVEX = ("average", "constant", "embedding")
"""Gates that mix the experts' probabilities themselves."""
LABELS = make_labels(6, 3)

drawn = st.tuples(st.integers(0, 10_000), st.sampled_from([0.0, 0.7, 3.0]))


def draw(n_backbones: int, seed: int, strength: float) -> dict[str, np.ndarray]:
    """Return features that tell the classes apart by as much as `strength`."""
    return {f"backbone {k}": make_features(LABELS, 3 + k, seed + k, strength) for k in range(n_backbones)}


def opinions(model: FusionClassifier, features: dict[str, np.ndarray]) -> np.ndarray:
    """Return what each expert says, (n, K, C)."""
    return np.stack([model.experts_[name].probabilities(features[name]) for name in model.backbones_], axis=1)


@pytest.mark.parametrize("gate", CONVEX)
@given(data=drawn, n_backbones=st.integers(1, 3))
@settings(max_examples=8, deadline=None)
def test_what_is_fused_lies_within_the_experts(gate: str, data: tuple[int, float], n_backbones: int) -> None:
    features = draw(n_backbones, *data)
    model = FusionClassifier(gate, alphas=[10.0]).fit(features, LABELS)
    weights, fused, said = model.gate_weights(features), model.predict_proba(features), opinions(model, features)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    np.testing.assert_allclose(fused.sum(axis=1), 1.0)
    assert (fused >= said.min(axis=1) - 1e-12).all()
    assert (fused <= said.max(axis=1) + 1e-12).all()
    losses = np.stack([sample_nll(said[:, k], LABELS) for k in range(n_backbones)], axis=1)
    assert (sample_nll(fused, LABELS) <= (weights * losses).sum(axis=1) + 1e-9).all()


@pytest.mark.parametrize("gate", [*CONVEX, "logit-average"])
@given(data=drawn)
@settings(max_examples=5, deadline=None)
def test_one_backbone_alone_is_its_expert(gate: str, data: tuple[int, float]) -> None:
    features = draw(1, *data)
    model = FusionClassifier(gate, alphas=[10.0]).fit(features, LABELS)
    np.testing.assert_allclose(model.predict_proba(features), opinions(model, features)[:, 0], atol=1e-12)


@pytest.mark.parametrize("gate", ["average", "logit-average", "calibrated-average", "constant", "stacking"])
@given(data=drawn)
@settings(max_examples=5, deadline=None)
def test_the_order_of_backbones_and_of_unseen_rows_does_not_matter(gate: str, data: tuple[int, float]) -> None:
    features = draw(3, *data)
    turned = dict(reversed(features.items()))
    order = np.random.default_rng(data[0]).permutation(len(LABELS))
    model = FusionClassifier(gate, alphas=[10.0]).fit(features, LABELS)
    other = FusionClassifier(gate, alphas=[10.0]).fit(turned, LABELS)
    fused = model.predict_proba(features)
    np.testing.assert_allclose(other.predict_proba(turned), fused, atol=1e-6)
    np.testing.assert_allclose(other.gate_weights(turned), model.gate_weights(features)[:, ::-1], atol=1e-6)
    permuted = {name: matrix[order] for name, matrix in features.items()}
    np.testing.assert_allclose(model.predict_proba(permuted), fused[order], atol=1e-12)


@pytest.mark.parametrize("gate", ["average", "calibrated-average", "constant", "stacking", "embedding"])
@given(data=drawn)
@settings(max_examples=4, deadline=None)
def test_the_same_seed_gives_the_same_bytes(gate: str, data: tuple[int, float]) -> None:
    features, seed = draw(2, *data), data[0]
    first, second = (FusionClassifier(gate, seed=seed).fit(features, LABELS) for _ in range(2))
    assert first.predict_proba(features).tobytes() == second.predict_proba(features).tobytes()
    assert first.gate_weights(features).tobytes() == second.gate_weights(features).tobytes()
