"""What a run folder must be, and which stores belong to it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusion_pipeline.analysis.kept_run import KeptRun, newest_runs
from fusion_pipeline.analysis.report.standings import stand
from fusion_pipeline.errors import FormatError, IncompleteError, IntegrityError, StaleError, UsageError
from fusion_pipeline.train.predictions import RowPredictions
from fusion_pipeline.train.rows import RowName
from tests.analysis.made import HOSTILE, publish_telling, run_benchmark_on
from tests.train.made import DATASET


@pytest.fixture
def copied(run_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run_folder, tmp_path / run_folder.name))


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads((folder / "benchmark.json").read_text())
    change(document)
    (folder / "benchmark.json").write_text(json.dumps(document))


def test_what_a_run_says_of_itself(kept: KeptRun, run_folder: Path) -> None:
    assert kept.folder == run_folder
    assert kept.dataset == DATASET
    assert kept.predictions.class_names == HOSTILE
    assert kept.scored("constant")["method"] == "constant"
    gate = kept.predictions.row("embedding")
    assert gate is not None
    assert kept.experts_of(gate) == ("alpha", "beta")


def test_its_stores_are_those_that_it_was_made_from(kept: KeptRun) -> None:
    stores = kept.stores()
    assert list(stores.backbones) == ["alpha", "beta"]
    for name, store in stores.backbones.items():
        assert store.manifest_digest == kept.summary["backbones"][name]["manifest"]
    np.testing.assert_array_equal(stores.index.labels[kept.predictions.usable_rows], kept.predictions.labels)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(IncompleteError, match="There is no run at"):
        KeptRun.open(tmp_path / "none\n")


def test_the_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"not the run of a benchmark: it has no benchmark\.json"):
        KeptRun.open(tmp_path)


def test_a_run_that_has_not_finished(copied: Path) -> None:
    (copied / "benchmark.json").unlink()
    with pytest.raises(IncompleteError, match="has not finished"):
        KeptRun.open(copied)


def test_damaged_predictions(copied: Path) -> None:
    with (copied / "predictions.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    with pytest.raises(IntegrityError, match="not what the benchmark wrote"):
        KeptRun.open(copied)


def test_missing_predictions(copied: Path) -> None:
    (copied / "predictions.safetensors").unlink()
    with pytest.raises(IncompleteError, match=r"predictions\.safetensors' is missing"):
        KeptRun.open(copied)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document["rows"][0].update(correct=1),
        lambda document: document["rows"].pop(),
        lambda document: document["dataset"].update(usable=3),
        lambda document: document["backbones"].update(gamma=document["backbones"]["beta"]),
    ],
    ids=["other score", "fewer rows", "fewer images", "more backbones"],
)
def test_a_table_of_other_predictions(change: Callable[[dict[str, Any]], object], copied: Path) -> None:
    rewrite(copied, change)
    with pytest.raises(IntegrityError, match="do not belong together"):
        KeptRun.open(copied)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.pop("files"),
        lambda document: document.update(rows={}),
        lambda document: document.update(backbones=[]),
        lambda document: document["dataset"].update(name=7),
        lambda document: document["rows"][0].pop("fallbacks"),
        lambda document: document["rows"][0].pop("ci95"),
        lambda document: document["rows"][0].update(paper="90"),
        lambda document: document["protocol"].pop("groups"),
        lambda document: document["comparisons"][0].pop("p_holm"),
        lambda document: document["gain"][0].pop("first_accuracy"),
    ],
    ids=[
        "no files",
        "rows no list",
        "no backbones",
        "name no text",
        "no fallbacks",
        "no interval",
        "paper no number",
        "no groups",
        "no adjusted p",
        "no accuracy",
    ],
)
def test_a_document_of_another_version(change: Callable[[dict[str, Any]], object], copied: Path) -> None:
    rewrite(copied, change)
    with pytest.raises(FormatError, match=r"not what this version of 'fusion benchmark' writes\. Run the same"):
        KeptRun.open(copied)


def test_a_run_from_before_there_were_tests_over_parts(copied: Path) -> None:
    rewrite(copied, lambda document: [step.pop("over_parts") for step in document["comparisons"]])
    run = KeptRun.open(copied)
    assert run.summary["comparisons"]
    to_best = stand(run, run.predictions.row("embedding")).to_best
    assert to_best is not None
    assert to_best.over_parts == {}


@pytest.mark.parametrize("text", ["", "[]", '{"rows": NaN}', "[" * 100_000], ids=["empty", "a list", "NaN", "deep"])
def test_what_is_no_strict_json(text: str, copied: Path) -> None:
    (copied / "benchmark.json").write_text(text)
    with pytest.raises(FormatError):
        KeptRun.open(copied)


def test_without_a_cache_there_are_no_stores(copied: Path) -> None:
    (copied / "seconds.json").unlink()
    run = KeptRun.open(copied)
    assert run.cache is None
    with pytest.raises(IncompleteError, match=r"does not say where its cache is\. Give the place with --cache"):
        run.stores()


def test_what_is_said_of_the_cache_may_be_damaged(copied: Path) -> None:
    (copied / "seconds.json").write_text("[")
    assert KeptRun.open(copied).cache is None


def test_other_stores_are_refused(kept: KeptRun, tmp_path: Path) -> None:
    publish_telling(tmp_path / "cache", bad=5)
    with pytest.raises(StaleError, match="does not have the store of backbone 'alpha' that"):
        kept.stores(tmp_path / "cache")


def test_a_cache_that_went_away(kept: KeptRun, tmp_path: Path) -> None:
    with pytest.raises(IncompleteError, match="has no data set 'made'"):
        kept.stores(tmp_path / "cache")


def test_the_newest_run_of_each_data_set(run_folder: Path, tmp_path: Path) -> None:
    old, new = (Path(shutil.copytree(run_folder, tmp_path / name)) for name in ("z", "a"))
    os.utime(old / "benchmark.json", (1, 1))
    other = Path(shutil.copytree(run_folder, tmp_path / "other"))
    rewrite(other, lambda document: document["dataset"].update(name="zoo"))
    (tmp_path / "unfinished").mkdir()
    assert [run.folder for run in newest_runs(tmp_path)] == [new, other]


def test_no_run_at_all(tmp_path: Path) -> None:
    with pytest.raises(IncompleteError, match="no finished run of a benchmark in"):
        newest_runs(tmp_path / "runs")


def test_a_gate_with_one_expert_more(tmp_path: Path) -> None:
    run = KeptRun.open(run_benchmark_on(publish_telling(tmp_path / "cache", 60), tmp_path / "runs", []).folder)
    row = RowName("gate", "average", experts="singles,concat")
    assert run.experts_of(RowPredictions(row, np.zeros(0), np.zeros(0), None)) == ("alpha", "beta", "concat")  # type: ignore[arg-type]
