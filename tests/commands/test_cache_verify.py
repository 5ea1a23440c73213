"""`fusion cache verify`: what is compared, what is said of it, and the exit codes."""

from __future__ import annotations

import itertools
import os
import shlex
from pathlib import Path

import numpy as np
import pytest

from fusion_pipeline.store import Cache, Store
from tests.builders import write_pictures
from tests.commands.made import failure, fusion
from tests.store.made import (
    DATASET,
    N_FEATURES,
    SAMPLES,
    VERSION,
    open_attempt,
    open_store,
    publish_index,
    write_partition,
)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store ``alpha``, with an index, in the cache of the working folder; its rows disagree with its head."""
    monkeypatch.chdir(tmp_path)
    publish_index(tmp_path / "cache")
    attempt = open_attempt(Cache(tmp_path / "cache").backend)
    for number in range(3):
        write_partition(attempt, number)
    head = {"head_weight": np.eye(2, N_FEATURES, dtype=np.float32), "head_bias": np.zeros(2, np.float32)}
    manifest, _ = attempt.publish(kind="backbone", dataset_digest=VERSION, samples=SAMPLES, arrays=head, made={})
    return open_store(Cache(tmp_path / "cache").backend, manifest)


def rows_damaged(*arguments: str) -> list[str]:
    document = fusion("cache", "verify", "--semantic", *arguments, "--json").document
    return sorted(item["file"] for store in document["stores"] for item in store["damage"])


def test_rows_part_by_part(store: Store) -> None:
    parts = [rows_damaged("--subset", f"{number}/3") for number in (1, 2, 3)]
    assert max(map(len, parts)) < 3
    assert sorted(itertools.chain(*parts)) == rows_damaged() == [f"features/c/{number}/0" for number in range(3)]


def test_rows_are_not_looked_at_quickly(store: Store) -> None:
    assert "--quick reads none" in failure(2, "cache", "verify", "--semantic", "--quick")
    assert fusion("cache", "verify", "--quick").code == 0


def test_a_damaged_index_costs_no_report(store: Store, tmp_path: Path) -> None:
    """And what a quick look passes over is found when the index is read."""
    write_pictures(tmp_path / "images", per_class=1)
    chunk = store.index.path / "sha256/c/0/0"
    content = chunk.read_bytes()
    chunk.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    given = ("cache", "verify", "--source", "--data", "images", "--dataset", DATASET)
    plain = fusion(*given)
    assert plain.code == 12
    assert f"{DATASET}/{store.folder}: ok" in plain.output.splitlines()
    assert f"The images of '{DATASET}' were not compared with their index. File " in plain.output
    document = fusion(*given, "--json").document
    assert [item["ok"] for item in document["stores"]] == [True, False]
    assert document["source"] is None
    quick = fusion(*given, "--quick", "--json")
    assert (quick.code, quick.document["source"]) == (12, None)
    chunk.write_bytes(content)
    assert len(fusion(*given, "--json").document["source"]) == 8


def test_images_without_an_index(store: Store, tmp_path: Path) -> None:
    write_pictures(tmp_path / "garden", per_class=1)
    (tmp_path / "fusion.toml").write_text('data = "garden"')
    outcome = fusion("cache", "verify", "--source", "--json")
    assert (outcome.code, outcome.document["source"], len(outcome.document["stores"])) == (10, None, 2)
    assert "no data set 'garden'" in outcome.errors


def test_images_that_a_manifest_names_and_that_are_gone(store: Store, tmp_path: Path) -> None:
    """They are told one by one, as those of class folders are; an image that was never there is added."""
    rows = dict(zip(store.sample_ids, (store.class_names[label] for label in store.labels), strict=True))
    lines = [f"{path},{label}" for path, label in {**rows, "new.png": "other"}.items()]
    (tmp_path / "images.csv").write_bytes(os.fsencode("\n".join(["path,label", *lines]) + "\n"))
    outcome = fusion("cache", "verify", "--source", "--data", "images.csv", "--dataset", DATASET, "--json")
    assert outcome.code == 14, outcome
    found = {item["sample"]: item["kind"] for item in outcome.document["source"]}
    assert found == {**dict.fromkeys(rows, "deleted"), "new.png": "added"}


def test_damage_of_a_data_set_that_goes_by_name(store: Store, tmp_path: Path) -> None:
    write_pictures(tmp_path / "my home" / "pets", per_class=1)
    (store.path / "features" / "c" / "0" / "0").unlink()
    given = ("--data", "pets", "--data-home", "my home", "--dataset", DATASET)
    verified = fusion("cache", "verify", *given)
    command = f"fusion cache repair --data pets --data-home 'my home' --dataset {DATASET}"
    assert (verified.code, verified.output.splitlines()[-1]) == (12, f"'{command}' mends them.")
    assert f"Store '{DATASET}/{store.folder}' was made of other images" in fusion(*shlex.split(command)[1:]).errors
    (tmp_path / "my home").rename(tmp_path / "elsewhere")
    assert "There is no folder 'pets' here, nor in" in failure(10, *shlex.split(command)[1:])


def test_why_a_store_cannot_be_read_is_in_the_document(store: Store) -> None:
    manifest = store.path.parents[1] / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:-1])
    reasons = {item["folder"]: item["reason"] for item in fusion("cache", "verify", "--json").document["stores"]}
    assert reasons[store.index.folder] == ""
    assert f"Manifest '{manifest}' is damaged" in reasons[store.folder]
