"""Kills the writer at every one of its operations: readers see whole stores or none, and the next run finishes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from fusion_pipeline.errors import StorageError
from fusion_pipeline.store import Cache
from fusion_pipeline.store.local import LocalBackend
from fusion_pipeline.store.verify import verify
from fusion_pipeline.store.attempt import recover
from tests.builders import tree_bytes
from tests.store.failpoints import killed_at
from tests.store.made import DATASET, FEATURES, finish, missing_partitions, open_attempt, publish, write_partition


def run(root: Path) -> None:
    """Do what an extraction does to its cache."""
    backend = Cache(root).backend
    recover(backend, DATASET)
    if DATASET not in Cache(root) or not Cache(root)[DATASET].stores():
        finish(open_attempt(backend))


def check_whole_or_none(root: Path, content: str) -> int:
    stores = [store for name in Cache(root) for store in Cache(root)[name].stores()]
    for store in stores:
        assert store.manifest.content == content
        assert list(verify(store)) == []
        assert np.array_equal(store.features[:], FEATURES)
    return len(stores)


def test_killed_at_every_operation(tmp_path: Path) -> None:
    content = publish(tmp_path / "undisturbed").manifest.content
    seen: set[int] = set()
    for number in range(1, 1000):
        root = tmp_path / f"cache-{number}"
        with killed_at(number) as died:
            run(root)
        seen.add(check_whole_or_none(root, content))
        if not died:
            break
        run(root)
        assert check_whole_or_none(root, content) == 1, number
    assert number > 50
    assert seen == {0, 1}


def test_killed_twice(tmp_path: Path) -> None:
    """The run that mends is killed as well, at each of its operations."""
    content = publish(tmp_path / "undisturbed").manifest.content
    for number in range(1, 1000, 7):
        root = tmp_path / f"cache-{number}"
        with killed_at(60):
            run(root)
        with killed_at(number) as died:
            run(root)
        run(root)
        assert check_whole_or_none(root, content) == 1, number
        if not died:
            break
    assert not died


def test_loser_killed_at_every_operation(tmp_path: Path) -> None:
    """An attempt at a store that somebody else has published dies while it makes way for the winner."""
    for number in range(1, 1000):
        root = tmp_path / f"cache-{number}"
        backend = LocalBackend(root)
        winner, loser = open_attempt(backend), open_attempt(backend)
        manifest, _ = finish(winner)
        for partition in missing_partitions(loser):
            write_partition(loser, partition)
        with killed_at(number) as died:
            finish(loser)
        if died:
            loser.close()  # its lock, which the operating system takes back
        recover(backend, DATASET)
        run(root)
        assert [store.manifest for store in Cache(root)[DATASET].stores()] == [manifest], number
        assert check_whole_or_none(root, manifest.content) == 1
        if not died:
            break
    assert not died


def test_finished_partitions_survive_a_kill(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path)
    attempt = open_attempt(backend)
    write_partition(attempt, 0)
    with killed_at(3) as died:
        write_partition(attempt, 1)
    assert died
    attempt.close()
    resumed = open_attempt(backend)
    assert resumed.folder == attempt.folder
    assert missing_partitions(resumed) == [1, 2]
    resumed.close()


@pytest.mark.parametrize("number", [5, 20, 40])
def test_full_disk_then_room_again(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    content = publish(tmp_path / "undisturbed").manifest.content
    calls = 0
    true_fsync = os.fsync

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls >= number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        true_fsync(descriptor)

    root = tmp_path / "cache"
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space for"):
            run(root)
    run(root)
    assert check_whole_or_none(root, content) == 1


def test_recovery_leaves_a_living_attempt_alone(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path)
    attempt = open_attempt(backend)
    write_partition(attempt, 0)
    before = tree_bytes(tmp_path)
    recover(backend, DATASET)
    assert tree_bytes(tmp_path) == before
    assert finish(attempt)[1]
