"""`fusion cache repair`: what it looks at, what it says of what it cannot repair, and its exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fusion_pipeline.store import Cache, Store
from fusion_pipeline.store.identity import canonical_json, digest
from tests.builders import tree_bytes
from tests.commands.made import failure, fusion
from tests.store.made import DATASET, open_attempt, publish, publish_index, write_partition


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store ``alpha``, with an index, in the cache of the working folder."""
    monkeypatch.chdir(tmp_path)
    publish_index(tmp_path / "cache")
    return publish(tmp_path / "cache")


def lose_features(store: Store) -> None:
    (store.path / "features/c/1/0").unlink()


def manifest_of(store: Store) -> Path:
    return store.path.parents[1] / "manifest.json"


@pytest.mark.parametrize("verb", ["verify", "repair"])
def test_what_was_not_looked_at_is_no_all_clear(store: Store, tmp_path: Path, verb: str) -> None:
    assert f"There is no store to {verb} in '{tmp_path / 'nothere'}'" in failure(
        10, "cache", verb, "--cache", "nothere"
    )
    assert "no data set 'typo'" in failure(10, "cache", verb, "--dataset", "typo")
    attempt = open_attempt(Cache("begun").backend)
    write_partition(attempt, 0)
    attempt.close()
    for chosen in ((), ("--dataset", DATASET)):
        assert f"There is no store to {verb} in" in failure(10, "cache", verb, "--cache", "begun", *chosen)


@pytest.mark.parametrize("way", ["fusion.toml", "FUSION_DATA", "FUSION_DATASET"])
def test_only_the_command_line_narrows(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    (tmp_path / "garden" / "rose").mkdir(parents=True)
    (tmp_path / "garden" / "rose" / "1.png").touch()
    shutil.copytree(tmp_path / "cache" / DATASET, tmp_path / "cache" / "garden")
    lose_features(store)
    if way == "fusion.toml":
        (tmp_path / "fusion.toml").write_text('data = "garden"')
    else:
        monkeypatch.setenv(way, "garden")
    assert fusion("cache", "verify").code == 12
    assert fusion("cache", "verify", "--dataset", "garden").code == 0
    assert fusion("cache", "verify", "--data", "garden").code == 0
    assert fusion("cache", "repair").code == 10
    assert "At least 2 are needed" in failure(17, "cache", "repair", "--data", "garden")
    assert fusion("cache", "repair", "--dataset", "garden").output == "Nothing is damaged.\n"
    (tmp_path / "cache" / DATASET).rename(tmp_path / "damaged")
    publish_index(tmp_path / "cache")
    publish(tmp_path / "cache")
    pushed = fusion("cache", "push", "home", "--json").document["stores"]
    assert {item["dataset"] for item in pushed} == {DATASET, "garden"}
    pulled = fusion("cache", "pull", "home", "--dataset", DATASET, "--json").document["stores"]
    assert {item["dataset"] for item in pulled} == {DATASET}


def test_without_images_it_says_what_it_restored_and_what_not(store: Store) -> None:
    manifest_of(store).unlink()
    lose_features(store)
    restored = f"{DATASET}/{store.folder}/manifest.json"
    outcome = fusion("cache", "repair")
    assert (outcome.code, outcome.output) == (10, f"restored {restored}\n")
    message = (
        f"Store '{DATASET}/{store.folder}' is damaged; repairing it needs the images of '{DATASET}'. "
        "Give their folder with --data."
    )
    assert outcome.errors == f"Note: {message}\n"
    manifest_of(store).unlink()
    again = fusion("cache", "repair", "--json")
    assert again.code == 10
    assert again.document == {
        "restored": [restored],
        "stores": [],
        "failures": [{"dataset": DATASET, "folder": store.folder, "message": message, "exit_code": 10}],
    }


def test_what_a_newer_version_wrote_needs_no_images(store: Store) -> None:
    fields = json.loads(manifest_of(store).read_bytes())
    fields["format"]["version"] = "9.0"
    del fields["digest"]
    manifest_of(store).write_bytes(canonical_json({**fields, "digest": digest(fields)}))
    before = tree_bytes(Path("cache"))
    outcome = fusion("cache", "repair")
    assert outcome.code == 13, outcome
    assert "Upgrade fusion-pipeline" in outcome.errors
    assert "images" not in outcome.errors
    assert tree_bytes(Path("cache")) == before
