"""Attempts: resumed by re-hashing, never mixed, published once."""

from __future__ import annotations

import errno
import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from fusion_pipeline.errors import StorageError
from fusion_pipeline.store import Cache
from fusion_pipeline.store.backend import PARTIAL, LocalBackend
from fusion_pipeline.store.identity import canonical_json, digest
from fusion_pipeline.store.layout import GroupEncoder, backbone_arrays
from fusion_pipeline.store.manifest import Manifest
from fusion_pipeline.store.verify import verify
from fusion_pipeline.store.attempt import Attempt, PartitionRecord, recover
from tests.builders import tree_bytes
from tests.store.made import (
    DATASET,
    N_FEATURES,
    RECIPE,
    ROWS,
    SAMPLES,
    VERSION,
    finish,
    missing_partitions,
    open_attempt,
    publish,
    write_partition,
)

LENGTHS = {"features": 3, "imagenet_probabilities": 2}


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def backend(tmp_path: Path) -> LocalBackend:
    return LocalBackend(tmp_path / "cache")


def stopped(backend: LocalBackend) -> Attempt:
    """Return an attempt with all its partitions, left by its run."""
    attempt = open_attempt(backend)
    for number in range(3):
        write_partition(attempt, number)
    attempt.close()
    return attempt


def test_resume_finds_what_is_done(backend: LocalBackend) -> None:
    folder = stopped(backend).folder
    resumed = open_attempt(backend)
    assert (resumed.folder, missing_partitions(resumed)) == (folder, [])
    record = resumed.record(2)
    assert record is not None
    assert record.samples == (SAMPLES[4],)
    resumed.close()


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "record", "no-record"])
def test_only_a_damaged_partition_is_redone(backend: LocalBackend, damage: str) -> None:
    attempt = stopped(backend)
    chunk = backend.path(f"{attempt.folder}/data/features/c/1/0")
    record = backend.path(f"{attempt.folder}/done/1.json")
    match damage:
        case "flip":
            chunk.write_bytes(bytes([chunk.read_bytes()[0] ^ 1]) + chunk.read_bytes()[1:])
        case "truncate":
            chunk.write_bytes(b"")
        case "delete":
            chunk.unlink()
        case "record":
            record.write_bytes(b'{"samples": [')
        case "no-record":
            record.unlink()
    resumed = open_attempt(backend)
    assert missing_partitions(resumed) == [1]
    manifest, _ = finish(resumed)
    assert manifest.content == publish(backend.root.with_name("undisturbed")).manifest.content


def test_another_recipe_begins_anew(backend: LocalBackend) -> None:
    attempt = stopped(backend)
    before = tree_bytes(backend.path(attempt.folder))
    other = open_attempt(backend, recipe={"kind": "backbone", "made": "otherwise"})
    assert other.folder != attempt.folder
    assert missing_partitions(other) == [0, 1, 2]
    assert tree_bytes(backend.path(attempt.folder)) == before
    other.close()


def test_a_living_owner_keeps_its_attempt(backend: LocalBackend) -> None:
    first = open_attempt(backend)
    write_partition(first, 0)
    second = open_attempt(backend)
    assert second.folder != first.folder
    assert missing_partitions(second) == [0, 1, 2]
    first.close()
    second.close()


def test_the_loser_uses_the_winners_store(backend: LocalBackend) -> None:
    first, second = open_attempt(backend), open_attempt(backend)
    winner, won = finish(first)
    assert won
    assert finish(second) == (winner, False)
    stores = Cache(backend.root)[DATASET].stores()
    assert [store.manifest for store in stores] == [winner]
    assert backend.list(f"{DATASET}/attempts") == []
    assert backend.list(f"{DATASET}/{stores[0].folder}/attempts") == [winner.attempt]


def test_many_threads_publish_one_store(backend: LocalBackend) -> None:
    attempts = [open_attempt(backend) for _ in range(4)]
    barrier = threading.Barrier(len(attempts))
    results: list[tuple[Manifest, bool]] = []

    def publish_one(attempt: Attempt) -> None:
        barrier.wait()
        results.append(finish(attempt))

    threads = [threading.Thread(target=publish_one, args=(attempt,)) for attempt in attempts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won for _, won in results) == [False, False, False, True]
    assert len({manifest.attempt for manifest, _ in results}) == 1
    assert len(Cache(backend.root)[DATASET].stores()) == 1


@pytest.mark.parametrize("locked_first", [False, True])
def test_an_attempt_that_vanishes_while_it_is_looked_at(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, locked_first: bool
) -> None:
    """Its owner finishes between the look at the attempt and the taking of its lock, or just after that."""
    owner = stopped(backend)
    true_lock = LocalBackend.lock

    def lock_late(self: LocalBackend, path: str) -> object:
        lock = true_lock(self, path) if locked_first else None
        if owner.folder in path:
            backend.remove(owner.folder)
        return lock if locked_first else true_lock(self, path)

    monkeypatch.setattr(LocalBackend, "lock", lock_late)
    attempt = open_attempt(backend)
    assert attempt.folder != owner.folder
    assert not backend.exists(owner.folder)
    recover(backend, DATASET)
    assert finish(attempt)[1]


def test_the_manifest_names_every_file(tmp_path: Path) -> None:
    store = publish(tmp_path)
    assert {name: entry.sha256 for name, entry in store.manifest.files.items()} == tree_bytes(store.path)
    assert store.manifest.identity["dataset"] == VERSION
    assert {"created", "host", "user", "why"} <= set(store.manifest.made)


def test_discard_leaves_nothing(backend: LocalBackend) -> None:
    attempt = open_attempt(backend)
    write_partition(attempt, 0)
    attempt.discard()
    assert backend.list(f"{DATASET}/attempts") == []


def test_a_record_round_trips(backend: LocalBackend) -> None:
    attempt = open_attempt(backend)
    nothing = {name: np.full((1, length), np.nan, np.float16) for name, length in LENGTHS.items()}
    attempt.write(2, {**nothing, "status": np.array([6], np.uint8)}, [""], {4: 6})
    record = attempt.record(2)
    assert record is not None
    assert record.bad == {4: 6}
    assert PartitionRecord.from_bytes(record.to_bytes()) == record
    attempt.close()


def test_storage_that_fails_keeps_finished_partitions(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = open_attempt(backend)
    write_partition(attempt, 0)
    with monkeypatch.context() as patch:
        patch.setattr(LocalBackend, "_write_partial", no_space)
        with pytest.raises(StorageError, match="No space"):
            write_partition(attempt, 1)
    attempt.close()
    resumed = open_attempt(backend)
    assert missing_partitions(resumed) == [1, 2]
    resumed.close()


def test_other_partitions_begin_anew(backend: LocalBackend) -> None:
    attempt = stopped(backend)
    encoder = GroupEncoder(backbone_arrays(N_FEATURES, 2, "float16", head=True), ROWS, 3)
    other = Attempt.open(backend, DATASET, "alpha", RECIPE, encoder)
    assert other.folder != attempt.folder
    assert [other.record(number) for number in range(encoder.partitions)] == [None, None]
    other.close()


def test_a_record_of_no_files_is_not_done(backend: LocalBackend) -> None:
    attempt = stopped(backend)
    record = PartitionRecord((SAMPLES[2], SAMPLES[3]), {}, {})
    backend.write(f"{attempt.folder}/done/1.json", record.to_bytes())
    resumed = open_attempt(backend)
    assert missing_partitions(resumed) == [1]
    resumed.close()


def test_half_written_files_are_not_published(backend: LocalBackend) -> None:
    attempt = open_attempt(backend)
    write_partition(attempt, 0)
    backend.path(f"{attempt.folder}/data/zarr.json{PARTIAL}0123").write_bytes(b"half")
    manifest, _ = finish(attempt)
    (store,) = Cache(backend.root)[DATASET].stores()
    assert set(tree_bytes(store.path)) == set(manifest.files)


def test_a_store_that_is_published_at_the_last_moment_wins(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have seen that nothing is published yet; the first creates its manifest just before the second does."""
    first, second = open_attempt(backend), open_attempt(backend)
    true_move, winners = LocalBackend.move, []

    def move(self: LocalBackend, source: str, target: str) -> None:
        true_move(self, source, target)
        if source.startswith(second.folder):
            winners.append(finish(first)[0])

    monkeypatch.setattr(LocalBackend, "move", move)
    loser = finish(second)
    assert loser == (winners[0], False)
    assert [store.manifest for store in Cache(backend.root)[DATASET].stores()] == winners


def published_until_the_end(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, stop_at: str) -> Attempt:
    """Return an attempt whose run was killed while it published, at an operation of the backend."""

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    attempt = stopped(backend)
    attempt = open_attempt(backend)
    with monkeypatch.context() as patch:
        patch.setattr(LocalBackend, stop_at, kill)
        with pytest.raises(KeyboardInterrupt):
            finish(attempt)
    attempt.close()
    return attempt


@pytest.mark.parametrize("stop_at", ["move", "create"])
def test_a_killed_publication_is_finished_before_its_attempt_is_resumed(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, stop_at: str
) -> None:
    left = published_until_the_end(backend, monkeypatch, stop_at)
    other = open_attempt(backend)
    assert other.folder != left.folder
    assert not backend.exists(left.folder)
    assert len(Cache(backend.root)[DATASET].stores()) == 1
    other.discard()


@pytest.mark.parametrize("stop_at", ["move", "create"])
def test_a_killed_publication_whose_files_changed_is_not_finished(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, stop_at: str
) -> None:
    left = published_until_the_end(backend, monkeypatch, stop_at)
    chunk = next(path for path in backend.root.rglob("features/c/1/0"))
    chunk.write_bytes(bytes(len(chunk.read_bytes())))
    recover(backend, DATASET)
    assert not backend.exists(f"{left.folder}/manifest.json")
    assert Cache(backend.root)[DATASET].stores() == ()
    finish(open_attempt(backend))
    (store,) = Cache(backend.root)[DATASET].stores()
    assert list(verify(store)) == []


def test_an_attempt_of_a_newer_version_stops_nobody(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    left = published_until_the_end(backend, monkeypatch, "move")
    manifest = backend.path(f"{left.folder}/manifest.json")
    fields = json.loads(manifest.read_bytes())
    fields["format"]["version"] = "9.0"
    del fields["digest"]
    manifest.write_bytes(canonical_json({**fields, "digest": digest(fields)}))
    before = tree_bytes(backend.path(left.folder))
    recover(backend, DATASET)
    assert finish(open_attempt(backend))[1]
    assert tree_bytes(backend.path(left.folder)) == before


def test_an_attempt_that_may_only_be_read_stops_nobody(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    left = stopped(backend)
    true_open = os.open

    def deny(path: object, flags: int, *arguments: object, **options: object) -> int:
        if str(path).endswith("/lock") and left.folder in str(path) and flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return true_open(path, flags, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", deny)
    recover(backend, DATASET)
    assert finish(open_attempt(backend))[1]


def test_what_cannot_be_tidied_up_is_no_failure(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: LocalBackend, path: str) -> None:
        raise StorageError(f"busy: {path}")

    attempt = open_attempt(backend)
    monkeypatch.setattr(LocalBackend, "remove", refuse)
    assert finish(attempt)[1]


def test_a_record_that_lacks_an_array_is_not_done(backend: LocalBackend) -> None:
    attempt = stopped(backend)
    path = backend.path(f"{attempt.folder}/done/1.json")
    record = PartitionRecord.from_bytes(path.read_bytes())
    del record.files["status/c/1"]  # type: ignore[attr-defined]
    path.write_bytes(record.to_bytes())
    resumed = open_attempt(backend)
    assert missing_partitions(resumed) == [1]
    resumed.close()


def test_a_damaged_manifest_of_an_attempt_costs_no_partition(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = published_until_the_end(backend, monkeypatch, "move")
    manifest = backend.path(f"{left.folder}/manifest.json")
    manifest.write_bytes(manifest.read_bytes()[:-1])
    resumed = open_attempt(backend)
    assert (resumed.folder, missing_partitions(resumed)) == (left.folder, [])
    assert finish(resumed)[1]
