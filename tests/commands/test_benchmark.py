"""`fusion benchmark`: what people and machines are told, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fusion_pipeline.train import tasks
from fusion_pipeline.train.gates.stacking import StackingGate
from tests.commands.made import failure, fusion
from tests.train.made import make_features, make_labels, publish

LABELS = make_labels(10, 3)
PLAIN = ("--groups", "none", "--label-embedding", "none", "--executor", "loop", "--row", "a*", "--row", "concat-svm")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    features = {name: make_features(LABELS, 6, seed) for seed, name in enumerate(("alpha", "beta"))}
    publish(tmp_path / "cache", features, LABELS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_people_see_the_table(here: Path) -> None:
    outcome = fusion("benchmark", *PLAIN, "--repeats", "2")
    assert outcome.code == 0, outcome
    lines = outcome.output.splitlines()
    assert lines[0] == (
        "made: 30 images, 3 classes, 2-fold cross-validation, 2 repeats, seed 0, images split one by one"
    )
    assert " ".join(lines[2].split()) == "method accuracy % 95 % interval k/n macro F1 NLL ECE fit s paper %"
    assert [line.split("  ")[0] for line in lines[3:7]] == ["alpha", "concat-svm", "concat-svm (paper)", "average"]
    assert all("/60" in line for line in lines[3:7])
    assert lines[-1].startswith("20 tasks computed, 0 found; run: ")
    assert (
        fusion("benchmark", *PLAIN, "--repeats", "2").output.splitlines()[-1].startswith("0 tasks computed, 20 found")
    )


def test_machines_get_a_document(here: Path) -> None:
    document = fusion("benchmark", *PLAIN, "--holdout", "0.5", "--mode", "paper", "--json").document
    assert {row["method"] for row in document["rows"]} == {"alpha", "concat-svm", "average"}
    (svm,) = (row for row in document["rows"] if row["method"] == "concat-svm")
    assert (svm["mode"], svm["n"], svm["label_embedding"]) == ("paper", 15, "none")
    assert svm["accuracy"] * svm["n"] == pytest.approx(svm["correct"])
    assert document["protocol"]["holdout"] == "0.5"
    run = Path(document["run"])
    assert sorted(path.name for path in run.iterdir()) == [
        "benchmark.json", "ledger.json", "predictions.safetensors", "rows.csv", "seconds.json",
    ]  # fmt: skip
    table = np.genfromtxt(run / "rows.csv", delimiter=",", dtype=str)
    assert table[0].tolist()[:4] == ["method", "label_embedding", "accuracy", "correct"]
    assert len(table) == 1 + len(document["rows"])


def test_the_concatenation_is_one_more_expert(here: Path) -> None:
    words = ("--row", "average*", "--experts", "singles,concat", "--json")
    document = fusion("benchmark", *PLAIN[:-4], *words).document
    assert [(row["method"], row["experts"]) for row in document["rows"]] == [
        ("average", "singles"),
        ("average", "singles,concat"),
    ]
    plain = fusion("benchmark", *PLAIN[:-4], *words[:-1])
    assert plain.output.splitlines()[-1].startswith("0 tasks computed, 10 found")
    assert [line.split("  ")[0] for line in plain.output.splitlines()[3:5]] == ["average", "average + concat"]
    alone = failure(2, "benchmark", *PLAIN[:-4], *words[:-1], "--backbone", "alpha")
    assert "'alpha' side by side with nothing is itself" in alone


def test_the_paper_to_the_letter_leaks_and_says_so(here: Path) -> None:
    options = ("--transductive", "--in-sample", "--readout", "mean", "--row", "concat-pca*", "--row", "*-mean")
    outcome = fusion("benchmark", *PLAIN[:-4], *options, "--row", "*stacking", "--row", "average")
    assert outcome.code == 0, outcome
    names = [line.split("  ")[0] for line in outcome.output.splitlines()[3:10]]
    assert names == [
        "concat-pca-svm",
        "concat-pca-svm (paper)",
        "average",
        "stacking",
        "concat-pca-svm (transductive)",
        "embedding-mean",
        "leaking-stacking",
    ]
    told = dict(zip(names, outcome.output.splitlines()[3:10], strict=True))
    assert told["concat-pca-svm (transductive)"].endswith("leaks: components were fitted on test rows too")
    assert told["leaking-stacking"].endswith("leaks: fitted on the experts' predictions of their own training rows")
    assert sum("leaks" in line for line in told.values()) == 2
    document = fusion("benchmark", *PLAIN[:-4], *options, "--row", "*stacking", "--row", "average", "--json").document
    compared = {item["first"] for item in document["comparisons"]}
    assert compared == {"concat-pca-svm", "concat-pca-svm (paper)", "stacking", "embedding-mean"}
    ledger = json.loads((Path(document["run"]) / "ledger.json").read_text())
    assert sum(bool(entry["leaks"]) for entry in ledger["entries"]) > 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--label-embedding", "learned", "--label-vectors", "x.txt"), "--label-vectors is for GloVe"),
        (("--label-embedding", "none", "--label-top", "2"), "--label-top is for a label embedding"),
    ],
)
def test_options_of_labels_that_nothing_looks_at(here: Path, options: tuple[str, ...], message: str) -> None:
    assert message in failure(2, "benchmark", "--groups", "none", *options)


def test_the_same_seed_writes_the_same_bytes(here: Path) -> None:
    """In two folders, one after the other and side by side; only what was measured differs."""
    asked = ["--label-embedding", "none", "--groups", "none", "--repeats", "2"]
    asked += [each for name in ("alpha", "concat-svm", "stacking", "embedding") for each in ("--row", name)]
    written = []
    for folder, executor in (("one", "loop"), ("two", "threads")):
        document = fusion("benchmark", *asked, "--executor", executor, "--runs", folder, "--json").document
        assert document["tasks"]["found"] == 0
        written.append({path.name: path.read_bytes() for path in Path(document["run"]).glob("*.*")})
    assert written[0].keys() == {
        "benchmark.json",
        "rows.csv",
        "ledger.json",
        "predictions.safetensors",
        "seconds.json",
    }
    assert {name for name in written[0] if written[0][name] != written[1][name]} <= {"seconds.json"}
    assert b"seconds" not in written[0]["benchmark.json"] + written[0]["rows.csv"]
    measured = json.loads(written[0]["seconds.json"])["rows"]
    assert [(row["method"], row["mode"]) for row in measured][1:3] == [("concat-svm", "tuned"), ("concat-svm", "paper")]
    assert all(row["fit_seconds"] > 0 < row["predict_seconds"] for row in measured)
    other = fusion("benchmark", *asked, "--executor", "loop", "--seed", "1", "--json").document
    assert (Path(other["run"]) / "rows.csv").read_bytes() != written[0]["rows.csv"]


def test_a_planted_row_number_is_found(here: Path) -> None:
    """It makes a perfect classifier of images that stand in the order of their classes."""
    labels = np.repeat(np.arange(3), 20)
    told = {"ids": np.column_stack([np.arange(60), make_features(labels, 3, 1)]).astype(np.float32)}
    publish(here / "planted", told, labels)
    line = failure(16, "benchmark", "--cache", "planted", *PLAIN[:-4], "--row", "ids")
    assert "'features ids' gives the number of the row away" in line
    assert not list(here.glob("runs/*/benchmark.json"))


def test_a_planted_stacker_that_learns_in_sample_is_found(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "make_gate", lambda name: StackingGate(name, in_sample=True))
    line = failure(16, "benchmark", *PLAIN[:-4], "--row", "stacking")
    assert "The scores are not out of sample: 'gate stacking" in line
    assert not list(here.glob("runs/*/benchmark.json"))


def test_a_row_that_is_none_is_refused(here: Path) -> None:
    line = failure(2, "benchmark", *PLAIN[:-4], "--row", "concat-svn")
    assert "No row is called concat-svn. Known ones: alpha, beta, concat-svm, concat-svm (paper)" in line


def test_a_backbone_that_is_not_in_the_cache(here: Path) -> None:
    assert "no finished store of backbone 'xception'" in failure(10, "benchmark", *PLAIN, "--backbone", "xception")


def test_options_of_a_cluster_need_one(here: Path) -> None:
    assert "Without --scheduler" in failure(2, "benchmark", *PLAIN, "--resources", "GPU=1")


def test_images_without_a_column_group(here: Path) -> None:
    publish(
        here / "cache",
        {"gamma": make_features(LABELS, 6, 5)},
        LABELS,
        version="sha256:" + "2" * 64,
        thumbnail_sizes=(64,),
    )
    line = failure(2, "benchmark", "--backbone", "gamma", "--groups", "column", "--label-embedding", "none")
    assert "The data set has no column 'group'" in line


def test_repeats_are_tested_from_part_to_part_too(here: Path) -> None:
    labels = np.repeat(np.arange(3), 100)
    publish(
        here / "more", {name: make_features(labels, 4, seed, 0.7) for seed, name in enumerate(("one", "two"))}, labels
    )
    names = [each for name in ("one", "two", "average") for each in ("--row", name)]
    asked = ("benchmark", "--cache", "more", *PLAIN[:-4], *names, "--repeats", "5")
    for item in fusion(*asked, "--json").document["comparisons"]:
        assert [test["test"] for test in item["over_parts"]] == ["corrected resampled t", "5x2cv F"]
    sure = [line for line in fusion(*asked).output.splitlines() if line.startswith("average against ")]
    assert sure
    assert all("; corrected resampled t p = " in line and "; 5x2cv F p = " in line for line in sure)
    once = fusion(*asked[:-2], "--json").document
    assert [item["over_parts"] for item in once["comparisons"]] == [[]]
