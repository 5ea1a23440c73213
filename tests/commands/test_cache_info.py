"""`fusion cache info`: everything that a manifest tells, for people and for machines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusion_pipeline.store import Store
from tests.commands.made import failure, fusion
from tests.store.made import DATASET, publish, publish_index, put_manifest

GOLDEN = str(Path(__file__).parents[1] / "data" / "stores" / "v1" / "1.0")
OTHER_VERSION = "sha256:" + "2" * 64
MADE = {
    "user": "an\x1b[31mna",
    "host": "gpu1",
    "created": "2026-01-02T03:04:05.000006+00:00",
    "device": "NVIDIA H100",
    "batch_size": 64,
    "versions": {"torch": "2.4", "zarr": "3.1"},
    "deviation": 0.00031,
    "softmax_deviation": 0.5,
    "reused_from": {"sha256:" + "a" * 64: 1000, "this store": 2},
    "also_made_with": [{"device": "cpu", "threads": 2}],
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store ``alpha``, with an index, in the cache of the working folder."""
    monkeypatch.chdir(tmp_path)
    publish_index(tmp_path / "cache")
    return publish(tmp_path / "cache")


def facts(output: str) -> list[dict[str, str]]:
    """Return the lines of each store by their name; the values stand in one column."""
    stores: list[dict[str, str]] = []
    for line in output.splitlines():
        if not line.startswith(" "):
            stores.append({"": line})
            continue
        name, _, text = line.strip().partition("  ")
        stores[-1][name] = text.strip()
    for block in output.split(f"{DATASET}/")[1:]:
        starts = {len(line) - len(line[2:].partition("  ")[2].lstrip()) for line in block.splitlines()[1:]}
        assert len(starts) == 1
    return stores


def test_people_read_who_when_what_and_how_good(store: Store) -> None:
    told = put_manifest(store, replace(store.manifest, made=MADE))
    (found,) = facts(fusion("cache", "info", "alpha").output)
    assert found == {
        "": f"{DATASET}/{store.folder}",
        "made by": "an\\x1b[31mna on gpu1",
        "made at": "2026-01-02T03:04:05.000006+00:00",
        "device": "NVIDIA H100",
        "batch size": "64",
        "versions": "torch 2.4, zarr 3.1",
        "also made with": "device cpu, threads 2",
        "dataset": store.manifest.dataset,
        "deviation": "0.00031 of the features from a float32 network's on a CPU, relative, on two random images",
        "softmax deviation": "0.5 of the probabilities from what the stored head makes of the features, on all rows",
        "reused": f"1000 rows of sha256:{'a' * 64}, 2 rows of this store",
        "rows": "5 in partitions of 2",
        "bad rows": "none",
        "size": f"0.0 MB in {len(store.manifest.files)} files",
        "location": store.location,
        "format": "1.1",
        "key": store.manifest.key,
        "manifest": told.manifest_digest,
        "content": store.manifest.content,
    }


def test_machines_read_everything(store: Store) -> None:
    told = put_manifest(store, replace(store.manifest, made=MADE))
    (found,) = fusion("cache", "info", "alpha", "--json").document["stores"]
    assert found == {
        "dataset": DATASET,
        "folder": store.folder,
        "kind": "backbone",
        "name": "alpha",
        "format": "1.1",
        "key": store.manifest.key,
        "manifest": told.manifest_digest,
        "content": store.manifest.content,
        "rows": 5,
        "partition_rows": 2,
        "bad": {},
        "files": len(store.manifest.files),
        "bytes": store.n_bytes,
        "identity": dict(store.manifest.identity),
        "made": MADE,
        "path": store.location,
    }


def test_a_store_that_was_really_extracted() -> None:
    index, backbone = facts(fusion("cache", "info", "--cache", GOLDEN).output)
    assert index["thumbnails"].endswith("sizes 32; 64")
    assert backbone["weights"].startswith("sha256:eadb38fc")
    assert "input size 32" in backbone["preprocessing"]
    assert "mean 0.5; 0.5; 0.5" in backbone["preprocessing"]
    assert (backbone["dtype"], backbone["precision"]) == ("float16", "float32")
    assert index["bad rows"] == backbone["bad rows"] == "1 not an image in a format that is read"
    documents = fusion("cache", "info", "--cache", GOLDEN, "--json").document["stores"]
    assert [document["bad"] for document in documents] == [{"not an image in a format that is read": 1}] * 2


def test_codes_of_a_later_version(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "status", np.array([0, 200, 3, 3, 0], np.uint8))
    (found,) = facts(fusion("cache", "info", "alpha").output)
    assert found["bad rows"] == "2 damaged, cut short or of an unknown kind, 1 code 200 of a later version"


@pytest.mark.parametrize(
    "made",
    [
        {},
        {
            "user": None,
            "host": 3,
            "created": [1],
            "deviation": "much",
            "reused_from": [2],
            "versions": {"a": {"b": []}},
        },
    ],
)
def test_readers_work_whatever_was_told(store: Store, made: dict[str, Any]) -> None:
    put_manifest(store, replace(store.manifest, made=made))
    (found,) = facts(fusion("cache", "info", "alpha").output)
    assert found["made by"] == ("None on 3" if made else "unknown on an unknown machine")
    assert found["made at"] == ("[1]" if made else "unknown")
    assert found.get("reused") == ("2" if made else None)


def test_which_stores(store: Store) -> None:
    """By default those of the current version; by their folder those of any."""
    other = publish(Path(store.backend.location), "beta", OTHER_VERSION)
    index = store.index

    def named(*names: str) -> list[str]:
        return [item["folder"] for item in fusion("cache", "info", *names, "--json").document["stores"]]

    assert named() == [index.folder, store.folder]
    assert named(f"{other.folder}, alpha") == [other.folder, store.folder]
    assert named("index") == [index.folder]
    assert named(other.folder, "alpha") == [other.folder, store.folder]
    assert named(f"{DATASET}/{other.folder}", "--dataset", DATASET) == [other.folder]
    assert "no store 'gamma'" in failure(10, "cache", "info", f"{DATASET}/gamma")
    assert "no store '..'" in failure(10, "cache", "info", f"{DATASET}/..")
    assert "backbone 'gamma'" in failure(10, "cache", "info", "gamma")
    assert "another version of the images" in failure(14, "cache", "info", "beta")
    assert "no data set 'pets'" in failure(10, "cache", "info", "--dataset", "pets")


def test_of_several_data_sets_all_are_told(store: Store) -> None:
    root = Path(store.backend.location)
    (root / DATASET).rename(root / "other")
    publish_index(root)
    publish(root, "beta")
    line = failure(10, "cache", "info", "nosuch")
    assert f"None of the data sets '{DATASET}', 'other' in cache '{root}' has a store 'nosuch'." in line
    found = [(item["dataset"], item["name"]) for item in fusion("cache", "info", "--json").document["stores"]]
    assert found == [(DATASET, "index"), (DATASET, "beta"), ("other", "index"), ("other", "alpha")]
    assert [item["dataset"] for item in fusion("cache", "info", "alpha", "--json").document["stores"]] == ["other"]


def test_a_damaged_store(store: Store) -> None:
    (store.path / "status/c/1").unlink()
    assert "status/c/1' is missing" in failure(12, "cache", "info", "alpha")


def test_an_empty_cache(tmp_path: Path) -> None:
    for names in ([], ["alpha"]):
        assert "There is no store in" in failure(10, "cache", "info", *names, "--cache", str(tmp_path))
