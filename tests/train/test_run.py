"""Runs: a folder for every protocol, and a model that says which stores it was made from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fusion_pipeline.errors import RefusedError, StaleError, StorageError, UsageError
from fusion_pipeline.executors import LoopExecutor
from fusion_pipeline.store import Cache, Store
from fusion_pipeline.train.folds import Split
from fusion_pipeline.train.fusion import Fusion
from fusion_pipeline.train.gates.registry import make_gate
from fusion_pipeline.train.gates.stacking import StackingGate
from fusion_pipeline.train.ledger import LEDGER_FILE, Ledger, check
from fusion_pipeline.train.model import load_model
from fusion_pipeline.train.run import Training, choose_stores, train
from tests.train.made import DATASET, make_features, make_labels, publish

LABELS = make_labels(6, 2)
FEATURES = {"alpha": make_features(LABELS, 3, 1), "beta": make_features(LABELS, 4, 2)}


@pytest.fixture
def stores(tmp_path: Path) -> list[Store]:
    return publish(tmp_path / "cache", FEATURES, LABELS)


def run(
    stores: list[Store], runs: Path, *, gate: str = "average", folds: int = 2, split: int = 0, seed: int = 0
) -> Training:
    return train(stores, fusion=Fusion(gate), split=Split(folds, split), executor=LoopExecutor(), runs=runs, seed=seed)


def test_a_model_names_the_manifests_of_its_stores(tmp_path: Path, stores: list[Store]) -> None:
    training = run(stores, tmp_path / "runs")
    _, description = load_model(training.model)
    named = {name: backbone["manifest"] for name, backbone in description["backbones"].items()}
    assert named == {store.name: store.manifest_digest for store in stores}
    assert json.loads((training.run / "scores.json").read_bytes()) == training.summary


def test_what_every_parameter_saw_is_kept(tmp_path: Path, stores: list[Store]) -> None:
    training = run(stores, tmp_path / "runs", gate="stacking")
    ledger = Ledger.from_json(json.loads((training.run / LEDGER_FILE).read_bytes()))
    assert check(ledger) == []
    scored = {name: entry for name, entry in ledger.entries.items() if entry.scored}
    folds = ["seed 0, fold 1 of 2", "seed 0, fold 2 of 2"]
    fitted = ["expert alpha", "expert beta", "gate average", "gate stacking"]
    assert set(scored) == {
        *(f"{each}, {fold}" for each in fitted for fold in folds),
        *(f"{each}, all rows" for each in fitted if each != "gate average"),
    }
    for name, entry in scored.items():
        assert len(entry.fitted_on) + len(entry.predicts) == len(LABELS)
        assert (len(entry.predicts) == 0) == name.endswith("all rows")
    assert {(each.name, each.origin) for each in ledger.sources} == {
        (f"features {store.name}", str(store.manifest_digest)) for store in stores
    }


def test_a_gate_that_leaks_on_purpose_is_kept_and_says_so(tmp_path: Path, stores: list[Store]) -> None:
    training = run(stores, tmp_path / "runs", gate="leaking-stacking")
    ledger = Ledger.from_json(json.loads((training.run / LEDGER_FILE).read_bytes()))
    found = {finding.entry for finding in check(ledger)}
    assert found == {name for name, entry in ledger.entries.items() if entry.leaks}
    assert len(found) == 3


def test_a_gate_that_learns_from_what_its_experts_have_seen_is_found(
    tmp_path: Path, stores: list[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first planted leak: the gate takes the experts' predictions of their own training rows."""
    planted = {"stacking": lambda: StackingGate("stacking", in_sample=True), "average": lambda: make_gate("average")}
    monkeypatch.setattr("fusion_pipeline.train.tasks.make_gate", lambda name: planted[name]())
    with pytest.raises(RefusedError, match="'gate stacking, all rows' learned from predictions of 12 rows that nobody"):
        run(stores, tmp_path / "runs", gate="stacking")
    (folder,) = (tmp_path / "runs").iterdir()
    assert [path.name for path in folder.iterdir()] == [LEDGER_FILE]  # to be looked at; no scores, no model


def test_features_that_tell_the_row_are_found(tmp_path: Path) -> None:
    """The second planted leak: a column with the number of the row."""
    labels = make_labels(40, 2)
    told = {**{name: make_features(labels, 3, 1) for name in ("alpha", "beta")}}
    told["beta"] = np.column_stack([told["beta"], np.arange(len(labels))]).astype(told["beta"].dtype)
    with pytest.raises(RefusedError, match="'features beta' gives the number of the row away"):
        run(publish(tmp_path / "cache", told, labels), tmp_path / "runs")


def test_every_protocol_and_choice_of_stores_has_a_folder_of_its_own(tmp_path: Path, stores: list[Store]) -> None:
    runs = tmp_path / "runs"
    alpha = stores[:1]
    trainings = [
        run(alpha, runs),
        run(alpha, runs, seed=1),
        run(alpha, runs, split=1),
        run(alpha, runs, folds=3),
        run(alpha, runs, gate="constant"),
        run(stores[1:], runs),
    ]
    folders = [training.run for training in trainings]
    assert len(set(folders)) == len(folders)
    assert run(alpha, runs).run == folders[0]
    assert sorted(runs.iterdir()) == sorted(folders)


def test_of_several_data_sets_one_must_be_named(tmp_path: Path, stores: list[Store]) -> None:
    cache = Cache(tmp_path / "cache")
    assert [store.name for store in choose_stores(cache, None, ())] == ["alpha", "beta"]
    shutil.copytree(tmp_path / "cache" / DATASET, tmp_path / "cache" / "other")
    with pytest.raises(UsageError, match=r"Which data set\? The cache has made, other"):
        choose_stores(cache, None, ())
    assert {store.dataset for store in choose_stores(cache, "other", ())} == {"other"}
    for manifest in (tmp_path / "cache" / "other").glob("*/manifest.json"):
        manifest.write_bytes(b"")
    with pytest.raises(UsageError, match=r"Which data set\? The cache has made, other"):
        choose_stores(cache, None, ())
    assert {store.dataset for store in choose_stores(cache, "made", ())} == {"made"}


def test_a_backbone_with_stores_of_other_images_only_is_not_passed_over(tmp_path: Path) -> None:
    cache, now = tmp_path / "cache", "sha256:" + "1" * 64
    publish(cache, {"alpha": FEATURES["alpha"]}, LABELS)
    publish(cache, {"beta": FEATURES["beta"]}, LABELS, version=now)
    with pytest.raises(StaleError, match=r"Of alpha there are only stores of other versions .* --backbone alpha'"):
        choose_stores(Cache(cache), None, ())
    assert [store.name for store in choose_stores(Cache(cache), None, ("beta",))] == ["beta"]


def test_an_unfinished_data_set_is_not_asked_about(tmp_path: Path, stores: list[Store]) -> None:
    (tmp_path / "cache" / "other" / "attempts" / "index-1").mkdir(parents=True)
    assert {store.dataset for store in choose_stores(Cache(tmp_path / "cache"), None, ())} == {stores[0].dataset}


def test_a_place_that_takes_no_run_is_found_before_the_work(
    tmp_path: Path, stores: list[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    monkeypatch.setattr("fusion_pipeline.train.run.cross_validate", None)
    with pytest.raises(StorageError, match="Storage failed"):
        run(stores, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"mine"
