"""The estimator with a label embedding: what it asks for, what it gains, and the same bits from its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

from fusion_pipeline.errors import FormatError, UnusableDataError, UsageError
from fusion_pipeline.train.classifier import FusionClassifier
from fusion_pipeline.train.model import load_model, save_model
from tests.train.labels.test_space import VECTORS, make_imagenet
from tests.train.made import make_features, make_labels
from tests.train.test_model import rewrite

LABELS = make_labels(14, 3)
FEATURES = {"alpha": make_features(LABELS, 6, 1, 0.4), "beta": make_features(LABELS, 9, 2, 0.4)}
IMAGENET = {"alpha": make_imagenet(LABELS, seed=1), "beta": make_imagenet(LABELS, seed=2)}
EMBEDDINGS: dict[str, dict[str, Any]] = {
    "learned": {"label_embedding": "learned", "top": 3},
    "glove": {"label_embedding": "glove", "vectors": VECTORS},
    "fine-tuned": {"label_embedding": "glove", "vectors": VECTORS, "fine_tune_labels": True},
}


def fit(name: str, gate: str = "average", **options: Any) -> FusionClassifier:
    return FusionClassifier(gate, **EMBEDDINGS[name], **options).fit(FEATURES, LABELS, imagenet=IMAGENET)


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_labels_are_seen_and_help(name: str) -> None:
    train, test = np.arange(42) % 2 == 0, np.arange(42) % 2 == 1

    def part(matrices: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
        return {key: matrix[rows] for key, matrix in matrices.items()}

    model = FusionClassifier("average", **EMBEDDINGS[name])
    model.fit(part(FEATURES, train), LABELS[train], imagenet=part(IMAGENET, train))
    plain = FusionClassifier("average").fit(part(FEATURES, train), LABELS[train])
    gained = model.score(part(FEATURES, test), LABELS[test], imagenet=part(IMAGENET, test))
    assert gained > plain.score(part(FEATURES, test), LABELS[test])
    assert model.n_features == {"alpha": 6, "beta": 9}


@pytest.mark.parametrize("name", EMBEDDINGS)
@pytest.mark.parametrize("gate", ["average", "embedding"])
def test_a_model_folder_predicts_the_same_bits(name: str, gate: str, tmp_path: Path) -> None:
    model = fit(name, gate)
    save_model(tmp_path / "model", model, {})
    again, _ = load_model(tmp_path / "model")
    before, after = (m.predict_proba(FEATURES, imagenet=IMAGENET) for m in (model, again))
    assert before.tobytes() == after.tobytes()
    first, second = model.get_params(), again.get_params()
    np.testing.assert_array_equal(first.pop("vectors"), second.pop("vectors"))
    assert first | {"top": again.top} == second
    assert again.label_space_ is not None
    assert (again.label_space_.blocks, again.label_space_.top) == (model.label_space_.blocks, again.top)


def test_a_jointly_trained_model_comes_back_too(tmp_path: Path) -> None:
    model = fit("learned", "embedding", joint=True)
    save_model(tmp_path / "model", model, {})
    again, _ = load_model(tmp_path / "model")
    before, after = (m.predict_proba(FEATURES, imagenet=IMAGENET) for m in (model, again))
    assert before.tobytes() == after.tobytes()
    assert again.joint is True


def test_a_folder_from_before_label_embeddings_still_loads(tmp_path: Path) -> None:
    model = FusionClassifier("constant").fit(FEATURES, LABELS)
    save_model(tmp_path / "model", model, {})
    record = json.loads((tmp_path / "model" / "model.json").read_bytes())
    del record["label_space"], record["joint"]
    rewrite(tmp_path / "model", "model.json", json.dumps({**record, "version": "1.0"}).encode())
    again, _ = load_model(tmp_path / "model")
    assert again.label_space_ is None
    assert again.predict_proba(FEATURES).tobytes() == model.predict_proba(FEATURES).tobytes()


@pytest.mark.parametrize(
    ("key", "value"),
    [("n_classes", 10**12), ("n_classes", True), ("top", 0), ("top", "5"), ("kind", "none"), ("fine_tuned", 1)],
)
def test_a_record_of_labels_that_no_fit_leaves_is_refused(key: str, value: object, tmp_path: Path) -> None:
    save_model(tmp_path / "model", fit("learned"), {})
    record = json.loads((tmp_path / "model" / "model.json").read_bytes())
    record["label_space"][key] = value
    rewrite(tmp_path / "model", "model.json", json.dumps(record).encode())
    with pytest.raises(FormatError, match="do not fit together"):
        load_model(tmp_path / "model")


def test_clones_take_their_options_along() -> None:
    options = {"label_embedding": "learned", "top": 2, "joint": True}
    assert clone(FusionClassifier(**options)).get_params().items() >= options.items()


@pytest.mark.parametrize(
    ("imagenet", "message"),
    [
        (None, "needs ImageNet probabilities"),
        ({"alpha": IMAGENET["alpha"]}, "ImageNet probabilities lack 'beta'"),
        ({**IMAGENET, "gamma": IMAGENET["beta"]}, "'gamma' too many"),
        ({**IMAGENET, "beta": IMAGENET["beta"][:-1]}, "same number of rows"),
        ({**IMAGENET, "beta": IMAGENET["beta"][:, :-1]}, r"not \(42, 12\)"),
    ],
)
def test_probabilities_that_do_not_fit_are_refused(imagenet: dict[str, np.ndarray] | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        FusionClassifier("average", label_embedding="learned").fit(FEATURES, LABELS, imagenet=imagenet)
    with pytest.raises(UsageError, match=message):
        fit("learned").predict(FEATURES, imagenet=imagenet)


def test_probabilities_nobody_looks_at_and_rows_that_are_none_are_refused() -> None:
    with pytest.raises(UsageError, match="looks at none"):
        FusionClassifier("average").fit(FEATURES, LABELS, imagenet=IMAGENET)
    bad = {**IMAGENET, "beta": np.zeros((42, 12))}
    with pytest.raises(UnusableDataError, match="row 0 are no distribution"):
        FusionClassifier("average", label_embedding="learned").fit(FEATURES, LABELS, imagenet=bad)


def test_gates_do_not_ask_for_probabilities() -> None:
    model = fit("learned", "embedding")
    assert model.gate_weights(FEATURES).shape == (42, 2)


def test_an_in_sample_stacker_learns_from_what_the_experts_say_of_their_own_rows() -> None:
    honest, leaking = (fit("learned", gate).gate_.regression for gate in ("stacking", "leaking-stacking"))
    assert not np.array_equal(honest.weights, leaking.weights)
