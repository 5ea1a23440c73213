"""Gates as estimators: what a fused classifier does, from experts of one's own; predictions that are none refused."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from fusion_pipeline.errors import UnusableDataError, UsageError
from fusion_pipeline.train.classifier import FusionClassifier
from fusion_pipeline.train.expert_classifier import ExpertClassifier
from fusion_pipeline.train.gate_classifier import GateClassifier
from fusion_pipeline.train.gates.registry import GATES
from tests.train.made import telling_data

FEATURES, THUMBNAILS, CODES = telling_data(90)
LABELS = np.array(["tulip", "daisy", "rose"])[CODES]
EXPERTS = {name: ExpertClassifier().fit(matrix, LABELS) for name, matrix in FEATURES.items()}
UNSEEN = {name: expert.out_of_fold_ for name, expert in EXPERTS.items()}
PREDICTED = {name: EXPERTS[name].predict_proba(matrix) for name, matrix in FEATURES.items()}


def looks_at(gate: str) -> dict[str, Any]:
    """Return what a gate must be given beside predictions."""
    if gate.startswith("embedding"):
        return {"features": FEATURES}
    return {"thumbnails": THUMBNAILS} if gate == "cnn32" else {}


@pytest.mark.parametrize("gate", [name for name in GATES if name not in ("cnn64", "leaking-stacking")])
def test_experts_and_a_gate_are_the_fused_classifier(gate: str) -> None:
    seen = looks_at(gate)
    ours = GateClassifier(gate, seed=0).fit(UNSEEN, LABELS, **seen)
    whole = FusionClassifier(gate, seed=0).fit(FEATURES, LABELS, seen.get("thumbnails"))
    assert ours.predict_proba(PREDICTED, **seen).tobytes() == whole.predict_proba(FEATURES, THUMBNAILS).tobytes()
    assert ours.gate_weights(PREDICTED, **seen).tobytes() == whole.gate_weights(FEATURES, THUMBNAILS).tobytes()
    assert (ours.fallback_, ours.backbones_) == (whole.fallback_, whole.backbones_)
    assert ours.classes_.tolist() == whole.classes_.tolist()
    assert ours.score(PREDICTED, LABELS, **seen) == whole.score(FEATURES, LABELS, THUMBNAILS)


def test_scikit_learns_conventions() -> None:
    gate = GateClassifier("constant", seed=5)
    assert clone(gate).get_params() == {"gate": "constant", "seed": 5}
    with pytest.raises(NotFittedError):
        gate.predict(PREDICTED)
    assert vars(gate).keys() == {"gate", "seed"}
    assert gate.set_params(seed=6).fit(UNSEEN, LABELS) is gate
    assert {name for name in vars(gate) if not name.endswith("_")} == {"gate", "seed"}


def test_a_second_fit_forgets_the_first() -> None:
    other = {name: matrix[:60, ::-1] for name, matrix in UNSEEN.items()}
    twice = GateClassifier("constant").fit(other, LABELS[:60]).fit(UNSEEN, LABELS)
    once = GateClassifier("constant").fit(UNSEEN, LABELS)
    assert twice.predict_proba(PREDICTED).tobytes() == once.predict_proba(PREDICTED).tobytes()


def test_a_pickled_gate_and_one_with_its_experts_turned_do_the_same() -> None:
    gate = GateClassifier("embedding").fit(UNSEEN, LABELS, FEATURES)
    expected = gate.predict_proba(PREDICTED, FEATURES).tobytes()
    assert pickle.loads(pickle.dumps(gate)).predict_proba(PREDICTED, FEATURES).tobytes() == expected
    turned = dict(reversed(PREDICTED.items())), dict(reversed(FEATURES.items()))
    assert gate.predict_proba(*turned).tobytes() == expected


def test_features_that_the_gate_looks_at_must_be_there() -> None:
    gate = GateClassifier("embedding")
    with pytest.raises(UsageError, match="'embedding' looks at features"):
        gate.fit(UNSEEN, LABELS)
    with pytest.raises(UsageError, match="features lack 'beta'"):
        gate.fit(UNSEEN, LABELS, {"alpha": FEATURES["alpha"]})
    with pytest.raises(UsageError, match="features of alpha 10"):
        gate.fit(UNSEEN, LABELS, {name: matrix[:10] for name, matrix in FEATURES.items()})
    with pytest.raises(UsageError, match="'alpha' has 3 features, but the gate was fitted on 4"):
        gate.fit(UNSEEN, LABELS, FEATURES).predict(PREDICTED, {**FEATURES, "alpha": FEATURES["beta"]})
    with pytest.raises(UsageError, match="needs thumbnails"):
        GateClassifier("cnn32").fit(UNSEEN, LABELS)


def test_predictions_that_are_none_are_refused() -> None:
    gate = GateClassifier("average").fit(UNSEEN, LABELS)
    with pytest.raises(UsageError, match="'alpha' have 2 columns, but there are 3 classes"):
        gate.predict({**PREDICTED, "alpha": PREDICTED["alpha"][:, :2]})
    logits = {name: expert.decision_function(FEATURES[name]) for name, expert in EXPERTS.items()}
    with pytest.raises(UnusableDataError, match="'alpha' are no probabilities in row 0"):
        gate.predict(logits)
    with pytest.raises(UsageError, match="predictions lack 'beta'"):
        gate.predict({"alpha": PREDICTED["alpha"]})
    with pytest.raises(UsageError, match="alpha 90, beta 5"):
        gate.predict({**PREDICTED, "beta": PREDICTED["beta"][:5]})
    with pytest.raises(UsageError, match="alpha 90, beta 90, y 3"):
        gate.fit(UNSEEN, ["tulip", "daisy", "rose"])


def test_settings_and_labels_that_are_none_are_refused() -> None:
    with pytest.raises(UsageError, match="no gate 'best'"):
        GateClassifier("best").fit(UNSEEN, LABELS)
    with pytest.raises(UsageError, match="seed=-1"):
        GateClassifier("average", seed=-1).fit(UNSEEN, LABELS)
    with pytest.raises(UnusableDataError, match="only class 'rose'"):
        GateClassifier("average").fit({"alpha": np.ones((4, 1))}, ["rose"] * 4)
