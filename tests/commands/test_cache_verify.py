"""`fusion cache verify`: what is compared, what is said of it, and the exit codes."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from fusion_pipeline.store import Cache, Store
from tests.commands.made import failure, fusion
from tests.store.made import N_FEATURES, SAMPLES, VERSION, open_attempt, open_store, publish_index, write_partition


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
