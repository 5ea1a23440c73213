"""The concatenation as one more expert: the regression that it should be, out of fold, in every gate and model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fusion_pipeline.errors import FormatError, UsageError
from fusion_pipeline.executors import LoopExecutor
from fusion_pipeline.train.aligned import Aligned
from fusion_pipeline.train.classifier import FusionClassifier
from fusion_pipeline.train.concat_expert import BlockNormaliser, fit_concat
from fusion_pipeline.train.crossval import CrossValidation, cross_validate
from fusion_pipeline.train.expert_sets import EXPERT_SETS
from fusion_pipeline.train.experts import fit_expert
from fusion_pipeline.train.folds import Split, inner_folds, stratified_folds
from fusion_pipeline.train.fusion import Fusion
from fusion_pipeline.train.gates.registry import GATES
from fusion_pipeline.train.mixture import fuse
from fusion_pipeline.train.model import load_model, save_model
from fusion_pipeline.train.parts import Part
from fusion_pipeline.train.table import compare_methods, score_rows
from fusion_pipeline.train.tasks import ExpertTask, run_expert
from tests.train.made import make_aligned, make_features, make_labels, publish, telling_data
from tests.train.test_model import rewrite

LABELS = make_labels(12, 3)
FEATURES = {"alpha": make_features(LABELS, 6, 1, 0.6), "beta": make_features(LABELS, 9, 2, 0.6)}
WITH = "singles,concat"


@pytest.mark.parametrize("sizes", [(6, 9), (30, 40)], ids=["fewer features than rows", "more"])
def test_it_is_the_regression_on_normalised_blocks(sizes: tuple[int, int]) -> None:
    blocks = [make_features(LABELS, size, seed, 0.5) for seed, size in enumerate(sizes)]
    features = np.hstack([blocks[0], 20 * blocks[1]]).astype(np.float32)
    ours = fit_concat(features, sizes, LABELS, 3, seed=4)
    plain = fit_expert(features, LABELS, 3, seed=4, scalings=[BlockNormaliser(sizes)])
    assert ours.alpha == plain.alpha
    np.testing.assert_allclose(ours.out_of_fold, plain.out_of_fold, atol=1e-3)
    np.testing.assert_allclose(ours.expert.probabilities(features), plain.expert.probabilities(features), atol=1e-4)


def test_its_own_rows_have_no_part_in_its_out_of_fold_predictions() -> None:
    features = np.hstack(list(FEATURES.values())).astype(np.float64)
    whole = fit_concat(features, [6, 9], LABELS, 3, seed=0, alphas=[1.0])
    train, held_out = inner_folds(LABELS, 0)[0]
    apart = fit_expert(features[train], LABELS[train], 3, seed=0, alphas=[1.0], scalings=[BlockNormaliser((6, 9))])
    np.testing.assert_allclose(whole.out_of_fold[held_out], apart.expert.probabilities(features[held_out]), atol=1e-3)


@pytest.mark.parametrize("width", [5, 90], ids=["fewer columns than rows", "more"])
def test_changing_test_rows_changes_no_fitted_byte(tmp_path: Path, width: int) -> None:
    features = {name: make_features(LABELS, width, seed) for seed, name in enumerate(("alpha", "beta"))}
    split = Split(2, 3)
    _, test = stratified_folds(LABELS, split.folds, split.seed)[0]
    changed = {name: matrix.copy() for name, matrix in features.items()}
    for matrix in changed.values():
        matrix[test] = 9
    found = []
    for folder, matrices in (("one", features), ("two", changed)):
        aligned = Aligned.of(publish(tmp_path / folder, matrices, LABELS))
        fit = run_expert(ExpertTask(Part(aligned, split, 0), "concat", 0)).fit
        found.append((fit.alpha, fit.expert.weights.tobytes(), fit.out_of_fold.tobytes()))
    assert found[0] == found[1]


@pytest.mark.parametrize("gate", [name for name in GATES if name != "cnn64"])
def test_every_gate_takes_it_and_a_model_folder_predicts_the_same_bits(gate: str, tmp_path: Path) -> None:
    features, pictures, labels = telling_data()
    thumbnails = pictures if gate == "cnn32" else None
    model = FusionClassifier(gate, experts=WITH).fit(features, labels, thumbnails)
    assert (model.backbones_, tuple(model.experts_)) == (("alpha", "beta"), ("alpha", "beta", "concat"))
    weights = model.gate_weights(features, thumbnails)
    assert weights.shape == (len(labels), 3)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    save_model(tmp_path / "model", model, {})
    again, _ = load_model(tmp_path / "model")
    for method in ("predict_proba", "gate_weights"):
        before, after = (getattr(each, method)(features, thumbnails) for each in (model, again))
        assert before.tobytes() == after.tobytes()
    assert again.get_params() == model.get_params()
    assert again.n_features == {"alpha": 4, "beta": 3}


def test_it_tells_what_no_backbone_tells_alone() -> None:
    """One backbone sees the class through noise, the other one sees the noise."""
    signal, noise = np.random.default_rng(0).normal(size=(2, 300, 1))
    labels = (signal[:, 0] > 0).astype(int)
    features = {"masked": signal + 3 * noise, "mask": noise}
    with_it, without = (FusionClassifier("average", experts=each).fit(features, labels) for each in EXPERT_SETS[::-1])
    assert with_it.score(features, labels) > 0.95
    assert without.score(features, labels) < 0.75


def test_joint_training_and_label_embeddings_go_with_it(tmp_path: Path) -> None:
    features, _, labels = telling_data()
    imagenet = {name: np.abs(make_features(labels, 5, seed, 2.0)) + 0.1 for seed, name in enumerate(features)}
    model = FusionClassifier("embedding", experts=WITH, joint=True, label_embedding="learned")
    model.fit(features, labels, imagenet=imagenet)
    assert {name: len(expert.weights) for name, expert in model.experts_.items()} == {
        "alpha": 9,
        "beta": 8,
        "concat": 7,
    }
    save_model(tmp_path / "model", model, {})
    again, _ = load_model(tmp_path / "model")
    before, after = (each.predict_proba(features, imagenet=imagenet) for each in (model, again))
    assert before.tobytes() == after.tobytes()


@pytest.mark.parametrize(
    ("features", "experts", "message"),
    [
        (FEATURES, "concat", "no experts 'concat'. Known: singles or singles,concat"),
        ({"alpha": FEATURES["alpha"]}, WITH, "'alpha' side by side with nothing is itself"),
        ({"alpha": FEATURES["alpha"], "concat": FEATURES["beta"]}, WITH, "bears the name of the expert"),
    ],
)
def test_experts_that_cannot_be(features: dict[str, np.ndarray], experts: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        FusionClassifier("average", experts=experts).fit(features, LABELS)


@pytest.mark.parametrize("experts", ["singles", "concat", 3, None])
def test_a_model_with_other_experts_than_it_has_is_refused(experts: object, tmp_path: Path) -> None:
    save_model(tmp_path / "model", FusionClassifier("constant", experts=WITH).fit(FEATURES, LABELS), {})
    record = json.loads((tmp_path / "model" / "model.json").read_bytes())
    rewrite(tmp_path / "model", "model.json", json.dumps({**record, "experts": experts}).encode())
    with pytest.raises(FormatError, match="do not fit together"):
        load_model(tmp_path / "model")


SPLIT = Split(folds=2, seed=4)


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Aligned:
    return make_aligned(tmp_path_factory.mktemp("stores") / "cache")


@pytest.fixture(scope="module")
def found(aligned: Aligned) -> CrossValidation:
    return cross_validate(aligned, Fusion("constant", WITH), SPLIT, LoopExecutor())


def test_cross_validation_has_a_row_for_it_and_fuses_it(found: CrossValidation) -> None:
    assert list(found.methods) == ["alpha", "beta", "concat-softmax", "average", "constant"]
    experts = np.stack([found.methods[name].probabilities for name in list(found.methods)[:3]], axis=1)
    np.testing.assert_allclose(found.methods["average"].probabilities, experts.mean(axis=1))
    gate = found.methods["constant"]
    assert gate.gate_weights is not None
    np.testing.assert_allclose(gate.probabilities, fuse(gate.gate_weights, experts))
    assert len(found.methods["concat-softmax"].penalties) == 2
    assert [row.method for row in score_rows(found)] == list(found.methods)
    assert [item.second for item in compare_methods(found)][:2] == ["average", "concat-softmax"]


def test_each_fold_s_is_fitted_on_the_other_rows(aligned: Aligned, found: CrossValidation) -> None:
    stores = aligned.open()
    features = np.hstack([stores.features(name) for name in stores.backbones])
    for train, test in stratified_folds(stores.labels, SPLIT.folds, SPLIT.seed):
        alone = fit_concat(features[train], [12, 20], stores.labels[train], 3, seed=0).expert
        np.testing.assert_allclose(
            found.methods["concat-softmax"].probabilities[test], alone.probabilities(features[test]), atol=1e-9
        )


def test_the_final_model_is_the_estimator_fitted_on_all_rows(aligned: Aligned, found: CrossValidation) -> None:
    stores = aligned.open()
    features = {name: stores.features(name) for name in stores.backbones}
    alone = FusionClassifier("constant", experts=WITH).fit(features, np.array(stores.class_names)[stores.labels])
    assert tuple(found.classifier.experts_) == ("alpha", "beta", "concat")
    assert found.classifier.predict_proba(features).tobytes() == alone.predict_proba(features).tobytes()


def test_a_backbone_that_bears_its_name_is_refused(tmp_path: Path) -> None:
    aligned = Aligned.of(publish(tmp_path / "cache", {"concat": FEATURES["alpha"]}, LABELS))
    with pytest.raises(UsageError, match="'concat' bears the name of a gate or of the concatenation"):
        cross_validate(aligned, Fusion("average"), SPLIT, LoopExecutor())
