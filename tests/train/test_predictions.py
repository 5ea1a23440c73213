"""What a benchmark predicted, kept beside its scores: the same numbers, the same bytes, nothing else taken for it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from fusion_pipeline.errors import FormatError, IncompleteError, IntegrityError
from fusion_pipeline.executors import LoopExecutor
from fusion_pipeline.train.benchmark import Protocol
from fusion_pipeline.train.benchmark_run import BenchmarkRun, benchmark
from fusion_pipeline.train.folds import Split
from fusion_pipeline.train.labels.choice import LabelChoice
from fusion_pipeline.train.predictions import PREDICTIONS_FILE, Predictions, read_predictions
from fusion_pipeline.train.rows import RowName
from tests.train.made import make_features, make_labels, make_thumbnails, publish

LABELS = make_labels(12, 3)
FEATURES = {"alpha": make_features(LABELS, 8, 1, 0.7), "beta": make_features(LABELS, 10, 2, 0.7)}
ROWS = [RowName("backbone", "alpha"), RowName("backbone", "beta"), RowName("gate", "constant")]


@pytest.fixture(scope="module", params=["", "0.5"], ids=["folds", "holdout"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> BenchmarkRun:
    home = tmp_path_factory.mktemp("predictions")
    stores = publish(home / "cache", FEATURES, LABELS, bad={"beta": [4]})
    protocol = Protocol(Split(2, 0, request.param), 2, "none", 0, {"none": LabelChoice()})
    return benchmark(stores, ROWS, protocol, LoopExecutor(), home / "runs")


def told(run: BenchmarkRun) -> str:
    return str(json.loads((run.folder / "benchmark.json").read_text())["files"][PREDICTIONS_FILE])


@pytest.fixture(scope="module")
def predictions(run: BenchmarkRun) -> Predictions:
    return read_predictions(run.folder, told(run))


def test_the_file_holds_what_was_predicted(run: BenchmarkRun, predictions: Predictions) -> None:
    for result, kept in zip(run.found.rows, predictions.rows, strict=True):
        assert kept.row == result.row
        assert np.array_equal(kept.probabilities, result.probabilities.astype(np.float32), equal_nan=True)
        assert (kept.gate_weights is None) == (result.row.kind != "gate")
    assert predictions.row("constant") is predictions.rows[2]
    assert predictions.row("stacking") is None


def test_accuracies_follow_from_the_file(run: BenchmarkRun, predictions: Predictions) -> None:
    for scored, kept in zip(run.scores.rows, predictions.rows, strict=True):
        tested = kept.predicted >= 0
        assert (kept.predicted == predictions.labels)[tested].sum() == scored.correct
        assert tested.sum() == scored.n


def test_untested_images_have_no_part_and_no_class(run: BenchmarkRun, predictions: Predictions) -> None:
    for repeat, tested_in in enumerate(predictions.tested_in):
        folds = len(run.found.tests) // 2
        for part in range(folds):
            assert np.array_equal(np.flatnonzero(tested_in == part), np.sort(run.found.tests[repeat * folds + part]))
        for kept in predictions.rows:
            assert np.array_equal(kept.predicted[repeat] == -1, tested_in == -1)
            assert np.array_equal(np.isnan(kept.probabilities[repeat, :, 0]), tested_in == -1)


def test_images_are_named_as_the_stores_name_them(predictions: Predictions) -> None:
    assert predictions.sample_ids[3:5] == ("003.jpg", "005.jpg")
    assert predictions.usable_rows[3:5].tolist() == [3, 5]
    assert predictions.labels.tolist() == np.delete(LABELS, 4).tolist()
    assert predictions.class_names == ("class 0", "class 1", "class 2")
    assert predictions.backbones == ("alpha", "beta")


@pytest.mark.parametrize("grouping", ["none", "duplicates"])
def test_who_was_kept_together_is_kept(grouping: str, tmp_path: Path) -> None:
    twins = make_thumbnails(len(LABELS), 64)
    twins[LABELS == 2] = twins[np.flatnonzero(LABELS == 2) // 2 * 2 % len(LABELS)]
    stores = publish(tmp_path / "cache", FEATURES, LABELS, thumbnail_sizes=(32, 64), thumbnails=twins)
    protocol = Protocol(Split(2, 0), 1, grouping, 0, {"none": LabelChoice()})
    run = benchmark(stores, ROWS, protocol, LoopExecutor(), tmp_path / "runs")
    kept = read_predictions(run.folder, told(run)).groups
    assert (kept is None) == (grouping == "none") == (run.found.groups is None)
    assert kept is None or np.array_equal(kept, run.found.groups)


def test_the_same_predictions_are_the_same_bytes(run: BenchmarkRun, predictions: Predictions) -> None:
    assert predictions.to_bytes() == (run.folder / PREDICTIONS_FILE).read_bytes()


def test_damage_is_refused(run: BenchmarkRun, tmp_path: Path) -> None:
    content = bytearray((run.folder / PREDICTIONS_FILE).read_bytes())
    content[-1] ^= 1
    (tmp_path / PREDICTIONS_FILE).write_bytes(content)
    with pytest.raises(IntegrityError, match="not what the benchmark wrote"):
        read_predictions(tmp_path, told(run))


def test_a_missing_file_is_named(run: BenchmarkRun, tmp_path: Path) -> None:
    with pytest.raises(IncompleteError, match=r"predictions\.safetensors"):
        read_predictions(tmp_path, told(run))


@pytest.mark.parametrize(
    "content",
    [b"", b"none", save({"labels": np.zeros(2)}), save({"labels": np.zeros(2)}, {"facts": '{"format": "other"}'})],
    ids=["empty", "no header", "no facts", "other format"],
)
def test_what_is_no_predictions_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / PREDICTIONS_FILE).write_bytes(content)
    with pytest.raises(FormatError, match="cannot read"):
        read_predictions(tmp_path, hashlib.sha256(content).hexdigest())
