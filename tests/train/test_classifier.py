"""The estimator: scikit-learn's conventions, and inputs that do not fit refused by name."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from fusion_pipeline.errors import UnusableDataError, UsageError
from fusion_pipeline.train.classifier import FusionClassifier
from tests.train.made import make_features, make_labels, make_thumbnails, telling_data

CODES = make_labels(10, 3)
LABELS = np.array(["tulip", "daisy", "rose"])[CODES]
FEATURES = {"alpha": make_features(CODES, 6, 1), "beta": make_features(CODES, 9, 2)}


@pytest.fixture(scope="module")
def model() -> FusionClassifier:
    return FusionClassifier(gate="constant", seed=3).fit(FEATURES, LABELS)


def test_it_learns_and_names_its_parts(model: FusionClassifier) -> None:
    assert model.classes_.tolist() == ["daisy", "rose", "tulip"]
    assert model.backbones_ == tuple(model.experts_) == ("alpha", "beta")
    assert model.gate_.name == "constant"
    assert model.fallback_ is model.gate_.fallback
    assert model.score(FEATURES, LABELS) > 0.9
    probabilities = model.predict_proba(FEATURES)
    assert probabilities.shape == (30, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    assert (model.predict(FEATURES) == model.classes_[probabilities.argmax(axis=1)]).all()


def test_what_experts_say_is_what_the_gate_fuses() -> None:
    average = FusionClassifier(gate="average", seed=3).fit(FEATURES, LABELS)
    said = average.expert_proba(FEATURES)
    assert said.shape == (30, 2, 3)
    np.testing.assert_allclose(said.sum(axis=2), 1.0)
    np.testing.assert_allclose(said.mean(axis=1), average.predict_proba(FEATURES))
    with pytest.raises(UsageError):
        average.expert_proba({"alpha": FEATURES["alpha"]})


def test_the_order_of_the_mapping_does_not_matter_for_predictions(model: FusionClassifier) -> None:
    turned = dict(reversed(FEATURES.items()))
    assert model.predict_proba(turned).tobytes() == model.predict_proba(FEATURES).tobytes()


SETTINGS = {
    "gate": "average",
    "seed": 5,
    "experts": "singles",
    "alphas": [1.0],
    "label_embedding": "none",
    "top": 7,
    "vectors": None,
    "fine_tune_labels": False,
    "joint": True,
}


def test_parameters_survive_cloning_and_setting() -> None:
    model = FusionClassifier(**SETTINGS)
    assert model.get_params() == vars(model) == SETTINGS
    assert clone(model).get_params() == FusionClassifier().set_params(**SETTINGS).get_params() == SETTINGS
    with pytest.raises(ValueError, match="Invalid parameter 'gates'"):
        model.set_params(gates="average")


def test_fitting_changes_no_parameter_and_adds_names_that_end_in_an_underscore(model: FusionClassifier) -> None:
    fitted = {name for name in vars(model) if name not in SETTINGS}
    assert fitted == {"classes_", "backbones_", "experts_", "label_space_", "gate_", "fallback_"}
    assert model.get_params() == FusionClassifier(gate="constant", seed=3).get_params()
    assert not [name for name in vars(clone(model)) if name not in SETTINGS]
    assert model.n_features == {"alpha": 6, "beta": 9}


def test_nothing_is_told_before_a_fit() -> None:
    model = FusionClassifier(gate="average")
    for call in (model.predict, model.predict_proba, model.gate_weights, lambda X: model.score(X, LABELS)):
        with pytest.raises(NotFittedError):
            call(FEATURES)


@pytest.mark.parametrize("gate", ["stacking", "embedding"])
def test_a_second_fit_is_a_fresh_fit(gate: str) -> None:
    once = FusionClassifier(gate).fit(FEATURES, LABELS)
    twice = FusionClassifier(gate).fit({"gamma": FEATURES["beta"]}, CODES)
    assert twice.fit(FEATURES, LABELS) is twice
    assert vars(twice).keys() == vars(once).keys()
    assert twice.predict_proba(FEATURES).tobytes() == once.predict_proba(FEATURES).tobytes()
    assert twice.predict(FEATURES).tolist() == once.predict(FEATURES).tolist()


@pytest.mark.parametrize("gate", ["constant", "stacking", "embedding", "cnn32"])
def test_a_pickled_or_dumped_model_does_the_same_to_the_bit(gate: str, tmp_path: Path) -> None:
    features, thumbnails, labels = telling_data(60)
    model = FusionClassifier(gate).fit(features, labels, thumbnails)
    joblib.dump(model, tmp_path / "model.joblib")
    for other in (pickle.loads(pickle.dumps(model)), joblib.load(tmp_path / "model.joblib")):
        assert (
            other.predict_proba(features, thumbnails).tobytes() == model.predict_proba(features, thumbnails).tobytes()
        )
        assert other.get_params() == model.get_params()


@pytest.mark.parametrize(
    "classes", [["tulip", "daisy", "rose"], [7, -1, 3], [0.5, 2.5, 1.5], np.array(["b", "c", "a"], object)]
)
def test_labels_of_any_kind_come_back(classes: Any) -> None:
    labels = np.asarray(classes)[CODES]
    model = FusionClassifier("average").fit(FEATURES, labels)
    assert model.classes_.tolist() == sorted(classes)
    assert model.predict(FEATURES).dtype == labels.dtype
    assert set(model.predict(FEATURES).tolist()) <= set(classes)


def test_what_is_given_is_left_as_it_is() -> None:
    features = {name: matrix.copy() for name, matrix in FEATURES.items()}
    for matrix in features.values():
        matrix.flags.writeable = False
    model = FusionClassifier("embedding").fit(features, tuple(LABELS))
    model.predict(features)
    assert all(np.array_equal(features[name], matrix) for name, matrix in FEATURES.items())


def test_one_backbone_alone_is_its_expert() -> None:
    model = FusionClassifier(gate="average").fit({"alpha": FEATURES["alpha"]}, LABELS)
    alone = model.experts_["alpha"].probabilities(FEATURES["alpha"])
    np.testing.assert_array_equal(model.predict_proba({"alpha": FEATURES["alpha"]}), alone)


def test_lists_of_whole_numbers_are_features_too() -> None:
    model = FusionClassifier(gate="average").fit({"alpha": [[0], [1], [8], [9]]}, [5, 5, 7, 7])
    assert model.predict({"alpha": [[0], [9]]}).tolist() == [5, 7]


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ({"alpha": FEATURES["alpha"]}, "lack 'beta'"),
        ({**FEATURES, "gamma": FEATURES["beta"]}, "have 'gamma' too many"),
        ({"alpha": FEATURES["alpha"][:5], "beta": FEATURES["beta"]}, "alpha 5, beta 30"),
        (
            {"alpha": FEATURES["beta"], "beta": FEATURES["beta"]},
            "'alpha' has 9 features, but the model was fitted on 6",
        ),
        ({"alpha": FEATURES["alpha"][0], "beta": FEATURES["beta"]}, r"'alpha' have shape \(6,\)"),
        (FEATURES["alpha"], "mapping with one matrix per backbone"),
        ({}, "mapping with one matrix per backbone"),
    ],
)
def test_features_that_do_not_fit_are_refused_by_name(model: FusionClassifier, X: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        model.predict(X)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused_by_backbone_and_row(model: FusionClassifier, value: float) -> None:
    spoilt = {name: matrix.copy() for name, matrix in FEATURES.items()}
    spoilt["beta"][4, 2] = value
    for call in (lambda: model.predict(spoilt), lambda: FusionClassifier(gate="average").fit(spoilt, LABELS)):
        with pytest.raises(UnusableDataError, match="'beta' are not finite in row 4"):
            call()


def test_labels_must_match_and_have_two_rows_a_class() -> None:
    with pytest.raises(UsageError, match="alpha 30, beta 30, y 29"):
        FusionClassifier(gate="average").fit(FEATURES, LABELS[:-1])
    lonely = np.array([*LABELS[:-1], "iris"])
    with pytest.raises(UnusableDataError, match="Class 'iris' has 1 usable image"):
        FusionClassifier(gate="average").fit(FEATURES, lonely)


def test_a_cnn_gate_names_the_thumbnails_that_it_needs() -> None:
    model = FusionClassifier(gate="cnn32")
    with pytest.raises(UsageError, match=r"\(30, 32, 32, 3\) and dtype uint8, but none were given"):
        model.fit(FEATURES, LABELS)
    with pytest.raises(UsageError, match=r"got \(30, 64, 64, 3\) uint8"):
        model.fit(FEATURES, LABELS, make_thumbnails(30, 64))
    with pytest.raises(UsageError, match=r"got \(30, 32, 32, 3\) float64"):
        model.fit(FEATURES, LABELS, make_thumbnails(30, 32) / 255)


@pytest.mark.parametrize("alphas", [[], [0.0], [1.0, -1.0], [float("nan")]])
def test_penalties_that_are_none_are_refused(alphas: list[float]) -> None:
    with pytest.raises(UsageError, match="positive numbers"):
        FusionClassifier(gate="average", alphas=alphas).fit(FEATURES, LABELS)


def test_an_unknown_gate_is_refused_before_any_work() -> None:
    with pytest.raises(UsageError, match="no gate 'embed'"):
        FusionClassifier(gate="embed").fit(FEATURES, LABELS)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.stack([LABELS, LABELS], axis=1), "y is not one label for each row"),
        (None, "y is not one label for each row"),
        (3, "y is not one label for each row"),
        (np.append(np.arange(29.0), np.nan), "not a finite number"),
        ([*LABELS[:29], 7.5, None], "y is not one label for each row"),
    ],
)
def test_what_is_no_label_is_refused(y: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        FusionClassifier(gate="average").fit(FEATURES, y)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [None, -1, 1.5, np.random.RandomState(0)])
def test_a_seed_that_cannot_be_repeated_is_refused(seed: object) -> None:
    with pytest.raises(UsageError, match="whole number"):
        FusionClassifier(gate="average", seed=seed).fit(FEATURES, LABELS)  # type: ignore[arg-type]


@pytest.mark.parametrize("alphas", [1.0, ["x"], [], [-1.0]])
def test_penalties_are_positive_numbers(alphas: object) -> None:
    with pytest.raises(UsageError, match="Penalties must be positive"):
        FusionClassifier(gate="average", alphas=alphas).fit(FEATURES, LABELS)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [complex, str])
def test_features_are_real_numbers(dtype: type) -> None:
    with pytest.raises(UsageError, match="Give real numbers"):
        FusionClassifier(gate="average").fit({"alpha": FEATURES["alpha"].astype(dtype)}, LABELS)


@pytest.mark.parametrize("scale", [1e-42, 1e160])
def test_features_beyond_float32_are_refused(scale: float) -> None:
    with np.errstate(all="ignore"), pytest.raises(UnusableDataError, match="Bring them nearer to 1"):
        FusionClassifier(gate="average").fit({"alpha": FEATURES["alpha"].astype(float) * scale}, LABELS)


def test_a_column_far_from_zero_loses_little() -> None:
    far = FEATURES["alpha"].astype(float) + 1e5
    near = FusionClassifier(gate="average").fit({"alpha": FEATURES["alpha"].astype(float)}, LABELS)
    moved = FusionClassifier(gate="average").fit({"alpha": far}, LABELS)
    expected = near.predict_proba({"alpha": FEATURES["alpha"].astype(float)})
    np.testing.assert_allclose(moved.predict_proba({"alpha": far}), expected, atol=1e-4)


def test_a_thumbnail_gate_can_be_scored() -> None:
    features, thumbnails, labels = telling_data()
    model = FusionClassifier(gate="cnn32").fit(features, labels, thumbnails)
    assert model.score(features, labels, thumbnails) == (model.predict(features, thumbnails) == labels).mean() > 0.9


def test_the_gate_believes_no_expert_that_knows_its_rows_by_heart() -> None:
    labels, row_ids = make_labels(10, 4), np.eye(40)
    model = FusionClassifier(gate="stacking", alphas=[0.1]).fit({"ids": row_ids}, labels)
    assert (model.experts_["ids"].probabilities(row_ids).argmax(axis=1) == labels).all()
    assert model.predict_proba({"ids": row_ids}).max() < 0.5
