"""Kills the writer at every one of its operations: readers see whole stores or none, and the next run finishes."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from fusion_pipeline.errors import IncompleteError, StorageError
from fusion_pipeline.store import Cache
from fusion_pipeline.store.care.verify import Damage, verify_dataset
from fusion_pipeline.store.making.unfinished import tidy_published
from fusion_pipeline.store.paths import MANIFEST
from fusion_pipeline.store.storage.local import LocalBackend
from tests.builders import tree_bytes
from tests.store.failpoints import before_the_call, killed_at, process_of_its_own
from tests.store.made import (
    DATASET,
    FEATURES,
    PARTITIONS,
    SAMPLES,
    finish,
    missing_partitions,
    open_attempt,
    publish,
    rows_of,
    write_partition,
)


def every(some: int) -> pytest.MarkDecorator:
    """Try every operation in `make soak`, and one of so many otherwise."""
    return pytest.mark.parametrize(
        "step", [pytest.param(some, id="some"), pytest.param(1, id="all", marks=pytest.mark.soak)]
    )


def run(root: Path) -> list[int]:
    """Do what an extraction does to its cache; return the partitions that it computed."""
    cache = Cache(root)
    cache.backend.check_writable()
    tidy_published(cache.backend, DATASET)
    if DATASET in cache and cache[DATASET].stores():
        return []
    attempt = open_attempt(cache.backend)
    computed = [number for number in missing_partitions(attempt) if attempt.claim(number) and not attempt.has(number)]
    for number in computed:
        write_partition(attempt, number)
    assert all(attempt.wait(number, SAMPLES[rows_of(number)]) for number in range(PARTITIONS))
    finish(attempt)
    return computed


def check_whole_or_none(root: Path, content: str) -> int:
    """Check that what a reader sees is whole; return how many stores that is."""
    cache = Cache(root)
    stores = [store for name in cache for store in cache[name].stores()]
    for store in stores:
        assert store.manifest.content == content
        assert np.array_equal(store.features[:], FEATURES)
        assert np.array_equal(store.read("features", "crc32c"), FEATURES)
    damage = [report.damage for name in cache for report in verify_dataset(cache[name]) if report.damage]
    # Who is killed between a manifest's copy and the manifest leaves a store that a repair, or the next run, restores.
    assert damage == [] or (stores, damage) == ([], [[Damage(MANIFEST, "missing")]])
    return len(stores)


def finished(root: Path) -> set[int]:
    """Return the partitions that are recorded in unfinished attempts, as they lie on the disk."""
    return {int(path.name.partition("-")[0]) for path in root.glob(f"{DATASET}/attempts/*/done/*.json")}


def litter(root: Path) -> list[str]:
    """Return what is neither the published store nor its manifest's copy."""
    (store,) = (Cache(root)[DATASET]).stores()
    own = (store.location, f"{store.location}.json", str(root / DATASET / store.folder / "manifest.json"))
    return [str(path) for path in root.rglob("*") if path.is_file() and not str(path).startswith(own)]


@pytest.fixture
def content(tmp_path: Path) -> str:
    """Digest of the store when nothing happens."""
    return publish(tmp_path / "undisturbed").manifest.content


@every(5)
def test_killed_at_every_operation(tmp_path: Path, content: str, step: int) -> None:
    seen: set[int] = set()
    for number in range(1, 1000, step):
        root = tmp_path / f"cache-{number}"
        with killed_at(number) as died:
            run(root)
        stores = check_whole_or_none(root, content)
        seen.add(stores)
        if not died:
            break
        before = finished(root) if not stores else set(range(PARTITIONS))
        with process_of_its_own():
            computed = run(root)
        assert not before & set(computed), f"computed again after a kill at {number}"
        assert check_whole_or_none(root, content) == 1, number
        # Of a kill nothing is left but half-written files, which are never read.
        assert [path for path in litter(root) if ".partial-" not in path] == [], number
        assert run(root) == []
    assert number > 100
    assert seen == {0, 1}


@every(29)
def test_killed_twice(tmp_path: Path, content: str, step: int) -> None:
    """The run that mends is killed as well."""
    for first in (40, 90, 150):
        for number in range(1, 1000, step):
            root = tmp_path / f"cache-{first}-{number}"
            with killed_at(first) as died:
                run(root)
            assert died
            with killed_at(number) as died:
                run(root)
            check_whole_or_none(root, content)
            before = finished(root)
            assert not before & set(run(root))
            assert check_whole_or_none(root, content) == 1, number
            if not died:
                break
        assert not died


@every(17)
def test_the_loser_killed_at_every_operation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Of two who publish at once one loses at the last moment, and dies while it makes way for the winner."""
    for number in range(1, 1000, step):
        root = tmp_path / f"cache-{number}"
        with killed_at(number) as died, monkeypatch.context() as patch:
            backend = LocalBackend(root)
            winner, loser = open_attempt(backend), open_attempt(backend)
            for partition in range(PARTITIONS):
                write_partition(loser, partition)
            before_the_call(patch, backend, "swap", partial(finish, winner))
            _, won = finish(loser)
            assert not won
        run(root)
        (store,) = Cache(root)[DATASET].stores()
        assert check_whole_or_none(root, store.manifest.content) == 1
        if not died:
            break
    assert not died


@every(5)
def test_who_shares_the_attempt_of_one_who_is_killed_at_any_moment(tmp_path: Path, content: str, step: int) -> None:
    """The survivor never ends without the store, and computes nothing that the dead one had recorded."""
    for number in range(1, 1000, step):
        root = tmp_path / f"cache-{number}"
        survivor = open_attempt(LocalBackend(root))
        assert survivor.claim(0)
        with killed_at(number) as died:
            dying = open_attempt(LocalBackend(root))
            for partition in (1, 2):
                assert dying.claim(partition)
                write_partition(dying, partition)
        before = finished(root)
        write_partition(survivor, 0)
        for partition in (1, 2):
            ours = not survivor.wait(partition, SAMPLES[rows_of(partition)])
            assert ours == (partition not in before)
            if ours:
                write_partition(survivor, partition)
        assert finish(survivor)[1]
        assert check_whole_or_none(root, content) == 1
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


@every(5)
def test_a_full_disk_at_any_moment_then_room_again(
    tmp_path: Path, content: str, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    for number in range(1, 1000, step):
        calls = 0

        def full(descriptor: int, number: int = number) -> None:
            nonlocal calls
            calls += 1
            if calls >= number:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        root = tmp_path / f"cache-{number}"
        with monkeypatch.context() as patch, process_of_its_own():
            patch.setattr(os, "fsync", full)
            with suppress(StorageError):
                run(root)
        before = finished(root)
        assert not before & set(run(root))
        assert check_whole_or_none(root, content) == 1
        if calls < number:
            break
    assert calls < number
    assert number > 30


def test_a_living_attempt_is_left_alone(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path)
    attempt = open_attempt(backend)
    write_partition(attempt, 0)
    before = tree_bytes(tmp_path)
    tidy_published(backend, DATASET)
    assert tree_bytes(tmp_path) == before
    assert finish(attempt)[1]


def test_an_unfinished_store_is_none(tmp_path: Path) -> None:
    attempt = open_attempt(LocalBackend(tmp_path))
    write_partition(attempt, 0)
    assert Cache(tmp_path)[DATASET].stores() == ()
    with pytest.raises(IncompleteError, match="has no finished index"):
        Cache(tmp_path)[DATASET].index()
    attempt.close()
