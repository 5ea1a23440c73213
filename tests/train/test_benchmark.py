"""The benchmark: every row on the same parts, the same bytes again, what is known not computed, no leak."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusion_pipeline.errors import RefusedError, UsageError
from fusion_pipeline.executors import LoopExecutor, make_executor
from fusion_pipeline.store import Store
from fusion_pipeline.train import benchmark as benchmark_module
from fusion_pipeline.train import tasks
from fusion_pipeline.train.benchmark import Protocol
from fusion_pipeline.train.benchmark_run import BenchmarkRun, benchmark
from fusion_pipeline.train.benchmark_scores import score_benchmark
from fusion_pipeline.train.folds import Split
from fusion_pipeline.train.gates.stacking import StackingGate
from fusion_pipeline.train.labels.choice import LabelChoice
from fusion_pipeline.train.rows import RowName, all_rows
from fusion_pipeline.train.tasks import run_expert
from tests.train.made import make_features, make_labels, publish

LABELS = make_labels(12, 3)
FEATURES = {"alpha": make_features(LABELS, 8, 1, 0.7), "beta": make_features(LABELS, 10, 2, 0.7)}
PROTOCOL = Protocol(Split(2, 0), 2, "none", 0, {"none": LabelChoice(), "learned": LabelChoice("learned")})
ROWS = [row for row in all_rows(["alpha", "beta"], ["learned"]) if row.method not in ("cnn32", "cnn64")]
FEW = [row for row in all_rows("ab", ()) if row.method not in ("cnn32", "cnn64")]


def imagenet(seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).random((len(LABELS), 1000)) ** 40
    return (drawn / drawn.sum(axis=1, keepdims=True)).astype(np.float16)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[Store]:
    known = {name: imagenet(seed) for seed, name in enumerate(FEATURES)}
    return publish(tmp_path_factory.mktemp("stores") / "cache", FEATURES, LABELS, imagenet=known)


def run(
    stores: list[Store], runs: Path, rows: list[RowName] = ROWS, executor: Any = None, **changes: Any
) -> BenchmarkRun:
    return benchmark(stores, rows, replace(PROTOCOL, **changes), executor or LoopExecutor(), runs)


@pytest.fixture(scope="module")
def whole(stores: list[Store], tmp_path_factory: pytest.TempPathFactory) -> BenchmarkRun:
    return run(stores, tmp_path_factory.mktemp("runs"))


def test_every_row_is_scored_on_every_image_in_every_repeat(whole: BenchmarkRun) -> None:
    assert [result.row for result in whole.found.rows] == ROWS
    for result in whole.found.rows:
        assert result.probabilities.shape == (2, len(LABELS), 3)
        assert np.allclose(result.probabilities.sum(axis=2), 1.0)
    for row in whole.scores.rows:
        assert row.n == 2 * len(LABELS)
        assert row.correct == round(row.accuracy * row.n)
        assert row.ci95[0] <= row.accuracy <= row.ci95[1]


def test_a_row_alone_says_what_it_says_beside_others(stores: list[Store], whole: BenchmarkRun, tmp_path: Path) -> None:
    for position in (0, 3, 9):
        alone = run(stores, tmp_path / str(position), [ROWS[position]])
        assert np.array_equal(alone.found.rows[0].probabilities, whole.found.rows[position].probabilities)


@pytest.mark.parametrize("name", ["threads", "processes"])
def test_every_executor_gives_the_same_bytes(
    stores: list[Store], whole: BenchmarkRun, tmp_path: Path, name: str
) -> None:
    again = run(stores, tmp_path, executor=make_executor(name, 2))
    assert again.scores.predictions == whole.scores.predictions
    assert (again.folder / "rows.csv").read_bytes() == (whole.folder / "rows.csv").read_bytes()
    assert (again.folder / "ledger.json").read_bytes() == (whole.folder / "ledger.json").read_bytes()
    assert (again.folder / "benchmark.json").read_bytes() == (whole.folder / "benchmark.json").read_bytes()


def test_what_is_known_is_not_computed_again(stores: list[Store], tmp_path: Path) -> None:
    first = run(stores, tmp_path, ROWS[:3])
    more = run(stores, tmp_path)
    again = run(stores, tmp_path)
    assert first.found.found == 0
    assert more.found.found == first.found.computed
    assert (again.found.computed, again.found.found) == (0, more.found.computed + more.found.found)
    assert more.scores == again.scores
    kept = [json.loads((again.folder / name).read_text()) for name in ("benchmark.json", "seconds.json")]
    assert [lasting | passing for lasting, passing in zip(*(each["rows"] for each in kept), strict=True)] == (
        more.summary["rows"]
    )
    assert kept[1]["tasks"] == again.summary["tasks"]


def test_what_was_done_before_a_failure_stays(
    stores: list[Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(100))

    def failing(*arguments: Any) -> Any:
        if next(calls) == 3:
            raise MemoryError
        return run_expert(*arguments)

    monkeypatch.setitem(benchmark_module._RUN, benchmark_module.ExpertTask, failing)  # type: ignore[arg-type]
    with pytest.raises(MemoryError):
        run(stores, tmp_path)
    monkeypatch.undo()
    assert run(stores, tmp_path).found.found == 3


def test_other_seeds_are_other_repeats(whole: BenchmarkRun) -> None:
    first, second = whole.found.rows[0].probabilities
    assert not np.array_equal(first, second)
    assert len(whole.found.tests) == 4


def test_a_holdout_tests_a_part_once(stores: list[Store], tmp_path: Path) -> None:
    found = run(stores, tmp_path, ROWS[:3], split=Split(2, 0, "0.5"), repeats=1)
    assert {row.n for row in found.scores.rows} == {18}
    assert np.isnan(found.found.rows[0].probabilities[0, :, 0]).sum() == 18


def test_near_duplicates_stay_on_one_side(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, size=(len(LABELS), 8, 8, 3), dtype=np.uint8)
    pictures = coarse.repeat(8, axis=1).repeat(8, axis=2)
    twins = np.flatnonzero(LABELS == 0)[:2]
    pictures[twins[1]] = pictures[twins[0]]
    stores = publish(tmp_path / "cache", FEATURES, LABELS, thumbnails=pictures, thumbnail_sizes=(32, 64))
    found = run(stores, tmp_path / "runs", ROWS[:2], grouping="duplicates", labels={"none": LabelChoice()})
    assert found.summary["dataset"]["near_duplicates"] == 1
    assert all((twins[0] in test) == (twins[1] in test) for test in found.found.tests)


def test_a_stacker_that_learns_in_sample_is_found(
    stores: list[Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "make_gate", lambda name: StackingGate(name, in_sample=True))
    with pytest.raises(RefusedError, match="The scores are not out of sample: 'gate stacking"):
        run(stores, tmp_path, [RowName("gate", "stacking")])


def test_a_feature_that_is_the_row_s_number_is_found(tmp_path: Path) -> None:
    labels = make_labels(30, 3)
    told = {"ids": np.column_stack([np.arange(90), make_features(labels, 3, 1)]).astype(np.float32)}
    stores = publish(tmp_path / "cache", told, labels)
    with pytest.raises(RefusedError, match="'features ids' gives the number of the row away"):
        run(stores, tmp_path / "runs", [RowName("backbone", "ids")], labels={"none": LabelChoice()})


def test_the_concatenation_is_one_more_expert_of_further_rows(stores: list[Store], tmp_path: Path) -> None:
    rows = [row for row in all_rows(["alpha", "beta"], ["learned"], ["tuned"], "singles,concat") if row.kind != "gate"]
    rows += [
        RowName("gate", method, label_embedding=kind, experts=experts)
        for method, kind in (("average", "none"), ("stacking", "none"), ("average", "learned"))
        for experts in ("singles", "singles,concat")
    ]
    found = run(stores, tmp_path, rows)
    said = {result.row.text: result for result in found.found.rows}
    single, concat = [said[name].probabilities for name in ("alpha", "beta")], said["concat-softmax"].probabilities
    np.testing.assert_allclose(said["average"].probabilities, np.mean(single, axis=0))
    np.testing.assert_allclose(said["average + concat"].probabilities, np.mean([*single, concat], axis=0))
    weights = said["average + learned + concat"].gate_weights
    assert weights is not None
    assert weights.shape == (2, len(LABELS), 3)
    scored = {row.text: row for row in found.scores.rows}
    assert scored["stacking + concat"].experts == "singles,concat"
    ledger = json.loads((found.folder / "ledger.json").read_text())
    learned_from = next(
        e["learned_from"] for e in ledger["entries"] if e["name"].startswith("gate stacking with concat")
    )
    assert any(name.startswith("expert concat") and "without inner fold" in name for name in learned_from)


def test_the_paper_printed_nothing_about_the_concatenation_as_an_expert(tmp_path: Path) -> None:
    stores = publish(tmp_path / "cache", FEATURES, LABELS)
    rows = [RowName("gate", "stacking", experts=experts) for experts in ("singles", "singles,concat")]
    found = run(stores, tmp_path / "runs", rows, repeats=1)
    paper = [row.paper for row in score_benchmark(found.found, "flowers17").rows]
    assert paper == [0.9397, None]


@pytest.mark.parametrize("name", ["concat", "concat-softmax"])
def test_a_backbone_with_the_name_of_the_concatenation_is_refused(tmp_path: Path, name: str) -> None:
    stores = publish(tmp_path / "cache", {name: FEATURES["alpha"]}, LABELS)
    with pytest.raises(UsageError, match="bears the name of another row"):
        run(stores, tmp_path / "runs", [RowName("backbone", name)], labels={"none": LabelChoice()})


def test_a_backbone_with_the_name_of_a_row_is_refused(tmp_path: Path) -> None:
    stores = publish(tmp_path / "cache", {"concat-svm": FEATURES["alpha"]}, LABELS)
    with pytest.raises(UsageError, match="bears the name of another row"):
        run(stores, tmp_path / "runs", [RowName("backbone", "concat-svm")], labels={"none": LabelChoice()})


@pytest.mark.slow
def test_shuffled_labels_are_chance(tmp_path: Path) -> None:
    """Of every row there is; labels in their order show that the same features could have told them."""
    labels = make_labels(40, 3, seed=5)
    features = {name: make_features(labels, 9, seed) for seed, name in enumerate("ab")}
    shuffled = np.random.default_rng(1).permutation(labels)
    drawn = np.random.default_rng(2).dirichlet(np.full(1000, 0.01), size=len(labels)).astype(np.float16)
    found = []
    for folder, truth, rows in (("true", labels, FEW), ("shuffled", shuffled, all_rows("ab", ["learned"]))):
        known = dict.fromkeys(features, drawn)
        stores = publish(tmp_path / folder, features, truth, imagenet=known, thumbnail_sizes=(32, 64))
        found.append(run(stores, tmp_path / "runs", list(rows), repeats=1).scores.rows)
    told, chance = found
    assert all(row.ci95[0] > 1 / 3 for row in told)
    assert len(chance) == 19
    assert [row for row in chance if not row.ci95[0] <= 1 / 3 <= row.ci95[1]] == []
