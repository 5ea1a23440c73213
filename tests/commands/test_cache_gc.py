"""`fusion cache gc`: shows what would go, and why, and removes it only when told to."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from fusion_pipeline.store import Cache
from fusion_pipeline.store.care.gc import GRACE_SECONDS
from tests.builders import tree_bytes
from tests.commands.made import failure, fusion
from tests.store.made import DATASET, open_attempt, publish, write_partition


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache ``cache`` of the working folder, with a store."""
    monkeypatch.chdir(tmp_path)
    publish(tmp_path / "cache")
    return tmp_path / "cache"


def leave_attempt(cache: Path, days: float, name: str = "beta") -> str:
    attempt = open_attempt(Cache(cache).backend, name)
    write_partition(attempt, 0)
    attempt.close()
    then = time.time() - days * 86_400
    for path in (cache / attempt.folder).rglob("*"):
        os.utime(path, (then, then))
    return attempt.folder


def test_it_only_looks_until_told(cache: Path) -> None:
    before = tree_bytes(cache)
    folder = leave_attempt(cache, 8)
    left = tree_bytes(cache)
    size = sum(path.stat().st_size for path in (cache / folder).rglob("*") if path.is_file())
    plain = fusion("cache", "gc")
    assert plain.code == 0
    assert plain.output.splitlines() == [
        f"       0.0 MB  {folder}  (attempt that nobody is at work on, untouched for 8 days)",
        "       0.0 MB can be removed: add --delete.",
    ]
    item = {"path": folder, "bytes": size, "reason": "attempt that nobody is at work on, untouched for 8 days"}
    assert fusion("cache", "gc", "--json").document == {"removed": False, "items": [item], "bytes": size, "kept": []}
    assert tree_bytes(cache) == left
    done = fusion("cache", "gc", "--delete", "--json")
    assert (done.code, done.document) == (0, {"removed": True, "items": [item], "bytes": size, "kept": []})
    assert tree_bytes(cache) == before
    assert fusion("cache", "gc", "--delete").output == f"There is nothing to remove in '{cache}'.\n"


def test_the_grace(cache: Path) -> None:
    folder = leave_attempt(cache, 3)
    assert fusion("cache", "gc", "--json").document["items"] == []
    found = fusion("cache", "gc", "--grace", "2.5", "--json").document["items"]
    assert [item["path"] for item in found] == [folder]
    assert fusion("cache", "gc", "--grace", "-1").code == 2
    assert "[default: 7]" in fusion("cache", "gc", "--help").output
    assert GRACE_SECONDS == 7 * 86_400


def test_only_one_data_set(cache: Path) -> None:
    folder = leave_attempt(cache, 8)
    (cache / DATASET).rename(cache / "other")
    publish(cache)
    assert fusion("cache", "gc", DATASET, "--json").document["items"] == []
    (item,) = fusion("cache", "gc", "other", "--json").document["items"]
    assert item["path"] == folder.replace(DATASET, "other", 1)
    assert "no data set 'pets'" in failure(10, "cache", "gc", "pets")


def test_an_unreadable_manifest(cache: Path) -> None:
    leave_attempt(cache, 8)
    (manifest,) = cache.glob("*/*/manifest.json")
    manifest.write_bytes(manifest.read_bytes()[:-1])
    before = tree_bytes(cache)
    line = failure(12, "cache", "gc", "--delete")
    assert "Nothing was removed" in line
    assert f"'{manifest}' is damaged" in line
    assert tree_bytes(cache) == before


def test_what_is_another_users(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = leave_attempt(cache, 8)
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    outcome = fusion("cache", "gc", "--delete")
    assert outcome.code == 0
    assert outcome.output == f"There is nothing to remove in '{cache}'.\n"
    reason = "attempt that nobody is at work on, untouched for 8 days"
    assert outcome.errors == f"Note: '{folder}' ({reason}) stays. It is another user's.\n"
    document = fusion("cache", "gc", "--delete", "--json").document
    assert [(item["path"], item["reason"], item["why"]) for item in document["kept"]] == [
        (folder, reason, "It is another user's.")
    ]
    assert (cache / folder).exists()


def test_names_from_outside_are_escaped(cache: Path) -> None:
    folder = cache / DATASET / "attempts" / "al\x1b[2Jpha\n-1"
    folder.mkdir(parents=True)
    (folder / "attempt.json").touch()
    os.utime(folder / "attempt.json", (0, 0))
    assert "attempts/al\\x1b[2Jpha\\n-1  (attempt" in fusion("cache", "gc").output


def test_data_sets_are_named_as_extract_names_them(cache: Path) -> None:
    (cache / DATASET).rename(cache / "my-flowers")
    assert fusion("cache", "gc", "my flowers").code == 0
    line = failure(10, "cache", "gc", "my pets")
    assert "no data set 'my-pets' (it has 'my-flowers'). Correct the name" in line
    assert "--dataset" not in line
