"""Migrations: an older cache becomes one of the current format elsewhere, with the same bytes, and stays as it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from obstore.store import MemoryStore

from fusion_pipeline.errors import FormatError, IncompleteError, IntegrityError, StorageError, UsageError
from fusion_pipeline.store import Cache, Store
from fusion_pipeline.store.care.migrate import Migrated, migrate
from fusion_pipeline.store.care.transfer import Progress
from fusion_pipeline.store.care.verify import verify_dataset
from fusion_pipeline.store.manifest import FORMAT_MINOR
from fusion_pipeline.store.storage.objects import ObjectBackend
from tests.builders import tree_bytes
from tests.store.made import DATASET, as_format_1_0, publish, publish_index

GOLDEN = Path(__file__).parents[2] / "data" / "stores" / "v1" / "1.0"
OTHER_VERSION = "sha256:" + "2" * 64


@contextmanager
def silently(_name: str, _total: int) -> Iterator[Callable[[int], object]]:
    yield lambda _: None


@pytest.fixture
def source(tmp_path: Path) -> Cache:
    """A cache of format 1.0: two versions of the images, the older one current."""
    root = tmp_path / "source"
    index, alpha = (as_format_1_0(store) for store in (publish_index(root), publish(root)))
    for store in (publish_index(root, OTHER_VERSION), publish(root, version=OTHER_VERSION)):
        as_format_1_0(store)
    home = Cache(root)[DATASET]
    home.mark_current(index, [alpha])
    return home.cache


@pytest.fixture(params=["folder", "memory"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Cache:
    """An empty cache."""
    cache = Cache(tmp_path / "target")
    if request.param == "memory":
        cache.backend = ObjectBackend("s3://team/features", store=MemoryStore())
    return cache


def run(source: Cache, target: Cache, *names: str, progress: Progress = silently) -> list[Migrated]:
    return list(migrate(source, target, names, progress))


def states(done: list[Migrated]) -> list[str]:
    return [item.arrived.state if item.arrived else "left out" for item in done]


def by_folder(cache: Cache, name: str = DATASET) -> dict[str, Store]:
    return {store.folder: store for store in cache[name].stores()}


def test_the_bytes_stay_and_the_manifests_become_current(source: Cache, target: Cache) -> None:
    before = tree_bytes(Path(source.location))
    done = run(source, target)
    assert states(done) == ["copied"] * 4
    assert [item.folder.startswith("index-") for item in done] == [True, True, False, False]
    assert tree_bytes(Path(source.location)) == before
    old, new = by_folder(source), by_folder(target)
    assert new.keys() == old.keys()
    for folder, store in new.items():
        manifest, older = store.manifest, old[folder].manifest
        assert (manifest.key, manifest.content, manifest.attempt) == (older.key, older.content, older.attempt)
        assert (manifest.minor, older.minor) == (FORMAT_MINOR, 0)
        assert manifest.made == {**older.made, "migrated_from": old[folder].manifest_digest}
        assert all(entry.crc32c for entry in manifest.files.values())
        assert np.array_equal(store.read("status", "crc32c"), old[folder].read("status"))
        for file in manifest.files:
            assert target.backend.read(store.file(file)) == source.backend.read(old[folder].file(file))
    reports = list(verify_dataset(target[DATASET]))
    assert [report.damage for report in reports] == [[]] * 4


def test_what_is_current_stays_so(source: Cache, target: Cache) -> None:
    run(source, target)
    assert target[DATASET].index().folder == source[DATASET].index().folder != source[DATASET].indexes()[0].folder
    assert target[DATASET]["alpha"].folder == source[DATASET]["alpha"].folder


def test_the_golden_store_of_format_1_0(target: Cache) -> None:
    run(Cache(GOLDEN), target)
    old, new = Cache(GOLDEN)["flowers"]["small_resnet"], target["flowers"]["small_resnet"]
    assert np.array_equal(new.read("features"), old.read("features"), equal_nan=True)
    assert (new.manifest.content, new.sample_paths) == (old.manifest.content, old.sample_paths)
    assert [report.damage for report in verify_dataset(target["flowers"])] == [[], []]


def test_a_current_store_keeps_its_very_manifest(tmp_path: Path, target: Cache) -> None:
    stores = [publish_index(tmp_path / "source"), publish(tmp_path / "source")]
    run(Cache(tmp_path / "source"), target)
    assert {store.folder: store.manifest_bytes for store in stores} == {
        folder: store.manifest_bytes for folder, store in by_folder(target).items()
    }


def test_what_is_there_is_not_even_read(source: Cache, target: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    run(source, target)
    before = {file.path: file.modified for file in target.backend.walk("")}

    def unread(store: Store, name: str) -> bytes:
        raise AssertionError(name)

    monkeypatch.setattr(Store, "content", unread)
    done = run(source, target)
    assert states(done) == ["there already"] * 4
    assert {file.path: file.modified for file in target.backend.walk("")} == before


def test_a_broken_migration_is_gone_on_with(source: Cache, target: Cache) -> None:
    """Killed within the last store of four."""
    count = 0

    class KilledError(BaseException):
        """The process is dead."""

    @contextmanager
    def dying(_name: str, _total: int) -> Iterator[Callable[[int], object]]:
        nonlocal count
        count += 1

        def advance(_: int) -> None:
            if count == 4:
                raise KilledError

        yield advance

    with pytest.raises(KilledError):
        run(source, target, progress=dying)
    assert states(run(source, target)) == ["there already"] * 3 + ["resumed"]
    assert [report.damage for report in verify_dataset(target[DATASET])] == [[]] * 4
    assert target[DATASET].index().folder == source[DATASET].index().folder


def test_a_damaged_store_stops_no_other(source: Cache, target: Cache) -> None:
    index, alpha = source[DATASET].current()
    chunk = Path(source.location) / alpha.file("features/c/1/0")
    good = chunk.read_bytes()
    chunk.write_bytes(b"\0" * len(good))
    done = run(source, target)
    assert sorted(states(done)) == ["copied"] * 3 + ["left out"]
    (bad,) = (item for item in done if item.error is not None)
    assert (bad.dataset, bad.folder, type(bad.error)) == (DATASET, alpha.folder, IntegrityError)
    assert "features/c/1/0" in str(bad.error)
    assert not target.backend.exists(f"{DATASET}/current.json")
    chunk.write_bytes(good)
    assert sorted(states(run(source, target))) == ["copied"] + ["there already"] * 3
    assert target[DATASET].index().folder == index.folder


def test_an_unreadable_store_stops_no_other(source: Cache, target: Cache) -> None:
    newer = Path(source.location) / DATASET / source[DATASET]["alpha"].folder / "manifest.json"
    newer.write_bytes(b'{"format":{"name":"fusion-store","required_features":[],"version":"2.0"}}')
    done = run(source, target)
    assert states(done) == ["copied"] * 3 + ["left out"]
    assert isinstance(done[-1].error, FormatError)


def test_a_storage_that_fails_ends_it(source: Cache, target: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StorageError("no space")

    monkeypatch.setattr(target.backend, "write", full)
    with pytest.raises(StorageError):
        run(source, target)


def test_a_store_that_others_made_there_stays(source: Cache, tmp_path: Path) -> None:
    there = publish(tmp_path / "target")
    target = Cache(tmp_path / "target")
    assert sorted(states(run(source, target))) == ["copied"] * 3 + ["there already"]
    assert by_folder(target)[there.folder].manifest == there.manifest


def test_only_the_data_sets_that_are_named(source: Cache, target: Cache) -> None:
    shutil.copytree(Path(source.location) / DATASET, Path(source.location) / "other")
    run(source, target, "other")
    assert list(target) == ["other"]
    with pytest.raises(IncompleteError, match="no data set 'pets'"):
        run(source, target, "pets")


@pytest.mark.parametrize("inside", ["", "new", "made/new"])
def test_a_cache_is_not_copied_into_itself(source: Cache, inside: str) -> None:
    before = tree_bytes(Path(source.location))
    target = Cache(Path(source.location) / inside)
    with pytest.raises(UsageError, match="lies in the cache that is to be copied"):
        run(source, target)
    assert tree_bytes(Path(source.location)) == before
