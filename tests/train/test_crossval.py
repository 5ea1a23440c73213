"""Cross-validation: the same bytes from every executor, no test row in any fit, a row for every method."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from fusion_pipeline.errors import UnusableDataError, UsageError
from fusion_pipeline.executors import LoopExecutor, make_executor
from fusion_pipeline.train.aligned import Aligned
from fusion_pipeline.train.classifier import FusionClassifier
from fusion_pipeline.train.crossval import CrossValidation, cross_validate
from fusion_pipeline.train.folds import Split, stratified_folds
from fusion_pipeline.train.fusion import Fusion
from fusion_pipeline.train.gates.registry import GATES
from fusion_pipeline.train.mixture import fuse
from fusion_pipeline.train.parts import Part
from fusion_pipeline.train.table import as_records, compare_methods, format_table, score_rows
from fusion_pipeline.train.tasks import ExpertTask, GateTask, run_expert, run_gate
from tests.train.made import make_aligned, make_features, publish, telling_data

SPLIT = Split(folds=2, seed=4)


def content(found: CrossValidation) -> list[bytes]:
    """Return all bytes that must not depend on the executor; seconds may."""
    methods = [
        part.tobytes() for m in found.methods.values() for part in (m.probabilities, m.gate_weights) if part is not None
    ]
    arrays, _ = found.classifier.gate_.state()
    experts = [expert.weights.tobytes() for expert in found.classifier.experts_.values()]
    return [*methods, *experts, *(array.tobytes() for array in arrays.values())]


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Aligned:
    return make_aligned(tmp_path_factory.mktemp("stores") / "cache")


@pytest.fixture(scope="module")
def telling(tmp_path_factory: pytest.TempPathFactory) -> Aligned:
    features, thumbnails, labels = telling_data()
    return Aligned.of(publish(tmp_path_factory.mktemp("telling") / "cache", features, labels, thumbnails=thumbnails))


@pytest.fixture(scope="module")
def found(aligned: Aligned) -> CrossValidation:
    return cross_validate(aligned, Fusion("embedding"), SPLIT, LoopExecutor())


@pytest.mark.parametrize("name", ["threads", "processes"])
def test_every_executor_gives_the_bytes_of_the_plain_loop(name: str, telling: Aligned) -> None:
    expected = cross_validate(telling, Fusion("embedding"), SPLIT, LoopExecutor())
    assert expected.methods["embedding"].fallbacks == (False, False), "otherwise no network is compared"
    assert content(cross_validate(telling, Fusion("embedding"), SPLIT, make_executor(name, 2))) == content(expected)


def test_every_method_predicts_every_row(found: CrossValidation) -> None:
    assert list(found.methods) == ["alpha", "beta", "average", "embedding"]
    for method in found.methods.values():
        np.testing.assert_allclose(method.probabilities.sum(axis=1), 1.0)
        assert method.probabilities.shape == (60, 3)
    experts = np.stack([found.methods[name].probabilities for name in ("alpha", "beta")], axis=1)
    np.testing.assert_allclose(found.methods["average"].probabilities, experts.mean(axis=1))
    gate = found.methods["embedding"]
    assert gate.gate_weights is not None
    np.testing.assert_allclose(gate.probabilities, fuse(gate.gate_weights, experts))
    assert gate.fit_seconds > found.methods["alpha"].fit_seconds + found.methods["beta"].fit_seconds
    assert gate.predict_seconds > found.methods["alpha"].predict_seconds + found.methods["beta"].predict_seconds


def test_the_final_model_is_the_estimator_fitted_on_all_rows(aligned: Aligned, found: CrossValidation) -> None:
    stores = aligned.open()
    features = {name: stores.features(name) for name in stores.backbones}
    names = np.array(stores.class_names)[stores.labels]
    alone = FusionClassifier(gate="embedding").fit(features, names)
    np.testing.assert_allclose(found.classifier.predict_proba(features), alone.predict_proba(features), atol=1e-6)
    assert found.classifier.classes_.tolist() == list(stores.class_names)


def test_a_backbones_row_is_plain_logistic_regression_on_standardised_features(aligned: Aligned) -> None:
    stores = aligned.open()
    features = stores.features("beta").astype(float)
    for fold, (train, test) in enumerate(stratified_folds(stores.labels, SPLIT.folds, SPLIT.seed)):
        ours = run_expert(ExpertTask(Part(aligned, SPLIT, fold), "beta", 0, alphas=(1.0,))).probabilities
        scaler = StandardScaler().fit(features[train])
        plain = LogisticRegression(C=1.0, tol=1e-8, max_iter=5000)
        plain.fit(scaler.transform(features[train]), stores.labels[train])
        np.testing.assert_allclose(ours, plain.predict_proba(scaler.transform(features[test])), atol=1e-4)


@pytest.mark.parametrize("gate", [name for name in GATES if name != "cnn64"])
def test_changing_test_rows_changes_no_fitted_byte(gate: str, tmp_path: Path) -> None:
    features, thumbnails, labels = telling_data()
    _, test = stratified_folds(labels, SPLIT.folds, SPLIT.seed)[0]
    changed = {name: matrix.copy() for name, matrix in features.items()}
    for matrix in changed.values():
        matrix[test] = 9
    others = thumbnails.copy()
    others[test] = 255 - others[test]
    states = []
    for folder, matrices, pictures in (("one", features, thumbnails), ("two", changed, others)):
        aligned = Aligned.of(publish(tmp_path / folder, matrices, labels, thumbnails=pictures))
        experts = [run_expert(ExpertTask(Part(aligned, SPLIT, 0), name, 0)) for name in aligned.backbones]
        arrays, settings = run_gate(GateTask(Part(aligned, SPLIT, 0), gate, 0), None, *experts).gate.state()
        fitted = [expert.fit.expert.weights.tobytes() for expert in experts]
        states.append((fitted, {key: array.tobytes() for key, array in arrays.items()}, settings))
    assert states[0] == states[1]
    assert gate in ("constant", "log-pool", "embedding-mean") or not states[0][2]["fallback"], "nothing is compared"


def test_each_expert_tells_the_penalties_that_it_chose(aligned: Aligned, found: CrossValidation) -> None:
    chosen = [run_expert(ExpertTask(Part(aligned, SPLIT, fold), "alpha", 0)).fit.alpha for fold in range(2)]
    assert found.methods["alpha"].penalties == tuple(chosen)
    assert found.methods["embedding"].penalties == ()


def test_tasks_carry_names_and_no_arrays(aligned: Aligned) -> None:
    expert, gate = ExpertTask(Part(aligned, SPLIT, 1), "alpha", 0), GateTask(Part(aligned, SPLIT, None), "constant", 0)
    assert (expert.name, gate.name) == ("expert alpha, seed 4, fold 2 of 2", "gate constant, all rows")
    for task in (expert, gate):
        assert len(pickle.dumps(task)) < 2000


def test_progress_counts_every_task_of_all(aligned: Aligned) -> None:
    seen: list[tuple[int, int]] = []
    cross_validate(
        aligned, Fusion("average"), SPLIT, LoopExecutor(), progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(done, 9) for done in range(1, 10)]  # (2 folds + final) x 2 experts, and as many gates


def test_small_classes_unknown_gates_and_ambiguous_names_are_refused_before_any_work(tmp_path: Path) -> None:
    labels = np.repeat([0, 1], [9, 3])
    features = {"average": make_features(labels, 3, 1)}
    aligned = Aligned.of(publish(tmp_path / "cache", features, labels))
    with pytest.raises(UsageError, match="'average' bears the name of a gate"):
        cross_validate(aligned, Fusion("constant"), SPLIT, LoopExecutor())
    with pytest.raises(UsageError, match="no gate 'best'"):
        cross_validate(aligned, Fusion("best"), SPLIT, LoopExecutor())
    aligned = Aligned.of(publish(tmp_path / "other", {"alpha": features["average"]}, labels))
    with pytest.raises(UnusableDataError, match="Class 'class 1' has 3 usable images, but 2 folds need at least 4"):
        cross_validate(aligned, Fusion("constant"), SPLIT, LoopExecutor())


def test_scores_and_table_of_a_cross_validation(found: CrossValidation) -> None:
    rows = score_rows(found)
    text = format_table(rows).splitlines()
    assert text[0].split() == ["method", "accuracy", "%", "95", "%", "interval", "k/n", "NLL"]
    assert [line.split()[0] for line in text[1:]] == list(found.methods)
    assert f"{rows[0].correct}/60" in text[1]
    records = as_records(rows)
    assert list(records[0]) == [
        "method", "label_embedding", "accuracy", "correct", "n", "ci95", "nll", "ece", "macro_f1",
        "fit_seconds", "predict_seconds", "fallback", "fallbacks", "leaks",
    ]  # fmt: skip
    assert isinstance(records[0]["ci95"], list)
    first, second = as_records(compare_methods(found))
    assert (first["first"], first["second"], second["first"]) == ("embedding", "average", "embedding")


@pytest.mark.parametrize("seed", [0, 5])
def test_predictions_of_the_test_parts_are_put_back_where_they_belong(seed: int, aligned: Aligned) -> None:
    split = Split(folds=2, seed=seed)
    found = cross_validate(aligned, Fusion("average"), split, LoopExecutor()).methods["beta"].probabilities
    for fold, (_, test) in enumerate(stratified_folds(aligned.open().labels, split.folds, split.seed)):
        expected = run_expert(ExpertTask(Part(aligned, split, fold), "beta", 0)).probabilities
        np.testing.assert_array_equal(found[test], expected)
