"""`fusion cache migrate`: an old cache becomes a new one, also on S3, where info, export and gc then work."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from fusion_pipeline.store import Cache
from tests.builders import tree_bytes
from tests.commands.made import failure, fusion
from tests.servers import BUCKET, moto, variables
from tests.store.made import open_attempt, write_partition

GOLDEN = Path(__file__).parents[1] / "data" / "stores" / "v1" / "1.0"


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of format 1.0, in the working folder as ``cache``."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(GOLDEN, tmp_path / "cache"))


def test_it_says_what_it_copied(old: Path, tmp_path: Path) -> None:
    before = tree_bytes(old)
    plain = fusion("cache", "migrate", "--to", "new")
    assert plain.code == 0, plain
    assert [line.split()[:2] for line in plain.output.splitlines()[:2]] == [
        ["copied", "flowers/index-481bc4aef562"],
        ["copied", "flowers/small_resnet-3e69a14772a9"],
    ]
    assert plain.output.splitlines()[2] == f"0.1 MB copied from {old} to {tmp_path / 'new'}"
    assert fusion("cache", "verify", "--cache", "new").code == 0
    assert tree_bytes(old) == before
    again = fusion("cache", "migrate", "flowers", "--to", "new", "--json").document
    assert again["bytes"] == 0
    source, target = Cache(old)["flowers"], Cache("new")["flowers"]
    for document in again["stores"]:
        store = target.open(document["folder"])
        assert document == {
            "dataset": "flowers",
            "folder": store.folder,
            "backbone": store.name,
            "key": store.manifest.key,
            "content": store.manifest.content,
            "manifest": store.manifest_digest,
            "migrated_from": source.open(store.folder).manifest_digest,
            "rows": 4,
            "state": "there already",
            "bytes": 0,
            "path": store.location,
        }


def test_what_is_left_out_decides_the_exit_code(old: Path) -> None:
    (chunk,) = old.glob("*/small_resnet-*/attempts/*/features/c/1/0")
    chunk.write_bytes(b"\0" * chunk.stat().st_size)
    outcome = fusion("cache", "migrate", "--to", "new", "--json")
    assert outcome.code == 12
    assert [store["state"] for store in outcome.document["stores"]] == ["copied", "left out"]
    assert "features/c/1/0' is damaged" in outcome.document["stores"][1]["error"]
    assert "Note: 'flowers/small_resnet-3e69a14772a9' was left out. File " in outcome.errors


def test_data_sets_are_named_as_extract_names_them(old: Path) -> None:
    (old / "flowers").rename(old / "my-flowers")
    assert fusion("cache", "migrate", "my flowers", "--to", "new").code == 0
    assert list(Cache("new")) == ["my-flowers"]
    assert "--dataset" not in failure(10, "cache", "migrate", "pets", "--to", "new")


def test_wrong_calls(old: Path, tmp_path: Path) -> None:
    assert "lies in the cache" in failure(2, "cache", "migrate", "--to", "cache/new")
    assert "no data set 'pets'" in failure(10, "cache", "migrate", "pets", "--to", "new")
    assert "no store to copy" in failure(10, "cache", "migrate", "--cache", str(tmp_path / "none"), "--to", "new")
    assert fusion("cache", "migrate").code == 2


def test_to_a_server_and_what_works_there(old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = f"s3://{BUCKET}/features"
    with moto(tmp_path) as endpoint:
        for name, value in variables(endpoint).items():
            monkeypatch.setenv(name, value)
        assert fusion("cache", "migrate", "--to", place).code == 0
        assert fusion("cache", "verify", "--cache", place).code == 0
        told = fusion("cache", "info", "small_resnet", "--cache", place, "--json").document["stores"]
        assert [store["path"].startswith(place) for store in told] == [True]
        assert fusion("cache", "export", "small_resnet", "--cache", place, "--to", "out").code == 0
        expected = Cache(old)["flowers"]["small_resnet"].read("features")
        assert np.array_equal(np.load("out/small_resnet/features.npy"), expected, equal_nan=True)
        attempt = open_attempt(Cache(place).backend)
        write_partition(attempt, 0)
        attempt.close()
        found = fusion("cache", "gc", "--grace", "0", "--cache", place, "--json").document
        assert found == {"removed": False, "items": [], "bytes": 0, "kept": []}  # less than a minute old
