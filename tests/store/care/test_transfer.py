"""Stores that are copied are the same bytes, appear as a whole or not at all, and are gone on with after any break."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from obstore.store import MemoryStore

from fusion_pipeline.errors import FusionError, IntegrityError, RefusedError
from fusion_pipeline.store import Cache, Store
from fusion_pipeline.store.care import transfer as transfer_module
from fusion_pipeline.store.care.transfer import Progress, Transferred, transfer
from fusion_pipeline.store.care.verify import Damage, verify_dataset
from fusion_pipeline.store.identity import canonical_json, digest
from fusion_pipeline.store.making.presence import Process
from fusion_pipeline.store.making.unfinished import attempt_folders, living_writers
from fusion_pipeline.store.manifest import DIGEST
from fusion_pipeline.store.paths import MANIFEST, manifest_copy
from fusion_pipeline.store.storage.backend import Backend
from fusion_pipeline.store.storage.local import LocalBackend
from fusion_pipeline.store.storage.objects import ObjectBackend
from tests.faults.harness import FLIP, HICCUP, KILL, KILL_AFTER, READS, TRUNCATE, Fault, FaultyBackend, Killed
from tests.store.made import DATASET, as_format_1_0, publish, publish_index, publish_on

CHUNK = "features/c/1/0"


@pytest.fixture
def source(tmp_path: Path) -> Cache:
    """A cache with an index and two backbones."""
    publish_index(tmp_path / "source")
    publish(tmp_path / "source", "alpha")
    publish(tmp_path / "source", "beta")
    return Cache(tmp_path / "source")


@pytest.fixture
def stores(source: Cache) -> list[Store]:
    """Its index, ``alpha`` and ``beta``."""
    return list(source[DATASET].current())


@pytest.fixture(params=["folder", "memory"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Cache:
    """An empty cache."""
    return cache_on(place(request.param, tmp_path / "target"))


def place(storage: str, folder: Path) -> Backend:
    return LocalBackend(folder) if storage == "folder" else ObjectBackend("s3://team/x", store=MemoryStore())


def cache_on(backend: Backend) -> Cache:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fusion_pipeline.store.cache.open_backend", lambda *_, **__: backend)
        return Cache(backend.location)


def when_on_its_way(act: Callable[[], object] = lambda: None, arrived: list[int] | None = None) -> Progress:
    """Return a progress that does something before the first file of each store, and lists the bytes that arrive."""

    @contextmanager
    def progress(_description: str, _total: int) -> Iterator[Callable[[int], object]]:
        act()
        yield ([] if arrived is None else arrived).append

    return progress


def send(stores: Sequence[Store], source: Cache, target: Cache, *expected: str) -> list[Transferred]:
    return transfer(stores, source, target, when_on_its_way(), expected)


def files(backend: Backend) -> dict[str, bytes]:
    """Return all files of all stores, published or not."""
    found = {file.path: backend.read(file.path) or b"" for file in backend.walk("")}
    return {path: content for path, content in found.items() if not path.endswith("current.json")}


def damage(cache: Cache) -> list[object]:
    reports = verify_dataset(cache[DATASET]) if DATASET in cache else ()
    return [item for report in reports for item in report.damage]


def states(done: Sequence[Transferred]) -> list[str]:
    return [item.state for item in done]


def test_a_copy_is_the_same_files(source: Cache, stores: list[Store], backend: Backend) -> None:
    arrived: list[int] = []
    target = cache_on(backend)
    done = transfer(stores, source, target, when_on_its_way(arrived=arrived))
    assert [(item.state, item.copied, item.found, item.is_same) for item in done] == [
        ("copied", store.n_bytes, 0, True) for store in stores
    ]
    assert sum(arrived) == sum(store.n_bytes for store in stores)
    assert files(target.backend) == files(source.backend)
    assert damage(target) == []


def test_from_every_kind_of_storage(source: Cache, stores: list[Store], backend: Backend, tmp_path: Path) -> None:
    target = cache_on(backend)
    send(stores, source, target)
    home = Cache(tmp_path / "home")
    send(target[DATASET].current(), target, home)
    assert files(home.backend) == files(source.backend)


def test_what_is_there_stays_unread(
    source: Cache, stores: list[Store], target: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(stores, source, target)
    monkeypatch.setattr(Store, "content", None)
    monkeypatch.setattr(type(target.backend), "check_writable", None)
    done = send(stores, source, target)
    assert [(item.state, item.copied, item.found, item.is_same) for item in done] == [("there already", 0, 0, True)] * 3


def test_a_store_that_others_made_stays(source: Cache, stores: list[Store], target: Cache) -> None:
    theirs = publish_on(target.backend, "alpha")
    before = files(target.backend)
    done = send(stores, source, target)
    assert [(item.state, item.is_same) for item in done] == [
        ("copied", True),
        ("there already", False),
        ("copied", True),
    ]
    assert done[1].store.manifest_digest == theirs.manifest_digest
    assert before.items() <= files(target.backend).items()


def test_a_store_that_others_publish_meanwhile_stays(source: Cache, stores: list[Store], target: Cache) -> None:
    (item,) = transfer(stores[1:2], source, target, when_on_its_way(lambda: publish_on(target.backend, "alpha")))
    assert (item.state, item.is_same) == ("there already", False)
    assert damage(target) == []
    assert stores[1].manifest.attempt not in " ".join(files(target.backend))


def test_two_who_copy_the_same_store_both_succeed(source: Cache, stores: list[Store], target: Cache) -> None:
    item, *_ = transfer(stores[:1], source, target, when_on_its_way(lambda: send(stores[:1], source, target)))
    assert item.is_same
    assert damage(target) == []


def test_a_damaged_manifest_in_the_target_is_told_before_anything_is_copied(
    source: Cache, stores: list[Store], target: Cache
) -> None:
    theirs = publish_on(target.backend, "beta")
    path = f"{DATASET}/{theirs.folder}/{MANIFEST}"
    target.backend.write(path, theirs.manifest_bytes.replace(b"test", b"tset"))
    before = files(target.backend)
    with pytest.raises(IntegrityError, match=path):
        send(stores, source, target)
    assert files(target.backend) == before


def as_later_minor(store: Store) -> Store:
    """Add a field that only a later version knows."""
    fields: dict[str, Any] = {**json.loads(store.manifest_bytes), "later": {"a": 1}}
    del fields[DIGEST]
    content = canonical_json({**fields, DIGEST: digest(fields)})
    store.backend.write(f"{store.dataset}/{store.folder}/{MANIFEST}", content)
    return Store(store.backend, store.dataset, store.folder)


@pytest.mark.parametrize("change", [as_format_1_0, as_later_minor])
def test_manifests_of_all_minor_versions_are_passed_on_byte_for_byte(
    source: Cache, stores: list[Store], target: Cache, change: Callable[[Store], Store]
) -> None:
    store = change(stores[1])
    (item,) = send([store], source, target)
    assert item.store.manifest_bytes == store.manifest_bytes
    copy = manifest_copy(f"{DATASET}/{store.folder}", store.manifest.attempt)
    assert target.backend.read(copy) == store.manifest_bytes
    assert damage(target) == []


@pytest.mark.parametrize("changed", [b"", b"shorter", None], ids=["empty", "cut", "missing"])
def test_a_damaged_file_is_named_and_its_store_not_published(
    source: Cache, stores: list[Store], target: Cache, changed: bytes | None
) -> None:
    path = stores[1].file(CHUNK)
    source.backend.remove_file(path) if changed is None else source.backend.write(path, changed)
    with pytest.raises(IntegrityError, match=path):
        send(stores, source, target)
    assert [store.folder for store in target[DATASET].stores()] == [stores[0].folder]
    assert damage(target) == []


@pytest.mark.parametrize("fault", [FLIP, TRUNCATE, HICCUP], ids=str)
def test_what_a_source_gives_wrongly_never_arrives(tmp_path: Path, fault: Fault) -> None:
    publish_index(tmp_path / "source")
    true = LocalBackend(tmp_path / "source")
    for number in itertools.count(1):
        lying = FaultyBackend(true, Fault(fault.name, READS, fault.around, fault.garble), number)
        home = Cache(tmp_path / f"{number}")
        with suppress(FusionError):
            send(cache_on(lying)[DATASET].current(), cache_on(lying), home)
        if not lying.struck:
            break
        assert damage(home) == [], lying.struck
        if DATASET in home and home[DATASET].stores():
            assert files(home.backend) == files(true), lying.struck


@contextmanager
def in_a_process_that_dies() -> Iterator[None]:
    dead = Process("elsewhere", 1, Process.this().machine, "0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Process, "this", lambda: dead)
        yield


@pytest.mark.parametrize("storage", ["folder", "memory"])
@pytest.mark.parametrize("fault", [HICCUP, KILL, KILL_AFTER], ids=str)
def test_whatever_breaks_it_the_same_call_goes_on(tmp_path: Path, fault: Fault, storage: str) -> None:
    store, resumed = publish_index(tmp_path / "source"), 0
    source = Cache(tmp_path / "source")
    for number in itertools.count(1):
        home = place(storage, tmp_path / f"{number}")
        faulty = FaultyBackend(home, fault, number)
        with in_a_process_that_dies(), suppress(FusionError, Killed):
            send([store], source, cache_on(faulty))
        if not faulty.struck:
            break
        # Between the manifest's copy and the manifest nothing tells it from a store that lost it: both are restored.
        assert damage(cache_on(home)) in ([], [Damage("manifest.json", "missing")]), faulty.struck
        (item,) = send([store], source, cache_on(home))
        resumed += item.state == "resumed"
        assert item.copied + item.found == (0 if item.state == "there already" else store.n_bytes)
        arrived = {path: content for path, content in files(home).items() if not path.startswith(".probe")}
        assert arrived == files(source.backend), faulty.struck
        assert damage(cache_on(home)) == []
    assert resumed >= len(store.manifest.files)


@pytest.mark.parametrize("left", [lambda content: content[:-1] + b"?", lambda content: content[:-1], lambda _: b""])
def test_only_what_is_right_of_a_broken_copy_is_kept(
    source: Cache, stores: list[Store], target: Cache, left: Callable[[bytes], bytes]
) -> None:
    store = stores[1]
    for name in store.manifest.files:
        content = store.content(name)
        target.backend.write(store.file(name), left(content) if name == CHUNK else content)
    (item,) = send([store], source, target)
    length = store.manifest.files[CHUNK].length
    assert (item.state, item.copied, item.found) == ("resumed", length, store.n_bytes - length)
    assert damage(target) == []


def test_what_arrived_on_s3_is_told_by_its_tags(
    source: Cache, stores: list[Store], s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, target, read = stores[1], Cache(s3), []
    for name in store.manifest.files:
        target.backend.write(store.file(name), store.content(name))
    true_read = ObjectBackend.read

    def reading(self: ObjectBackend, path: str, at_most: int | None = None) -> bytes | None:
        read.append(path)
        return true_read(self, path, at_most)

    monkeypatch.setattr(ObjectBackend, "read", reading)
    (item,) = send([store], source, target)
    assert (item.copied, item.found) == (0, store.n_bytes)
    assert {store.file(name) for name in store.manifest.files}.isdisjoint(read)


def test_others_know_that_a_store_is_on_its_way(source: Cache, stores: list[Store], target: Cache) -> None:
    seen: list[bool] = []

    def look() -> None:
        seen.extend(living_writers(target.backend, folder) for folder in attempt_folders(target.backend, DATASET))

    transfer(stores, source, target, when_on_its_way(look))
    assert seen == [True] * 3
    assert list(attempt_folders(target.backend, DATASET)) == []


def test_what_is_current_in_the_source_becomes_current(source: Cache, target: Cache) -> None:
    send(source[DATASET].current(), source, target)
    index = publish_index(Path(source.location), version="sha256:" + "2" * 64)
    newest = publish(Path(source.location), "alpha", version="sha256:" + "2" * 64)
    source[DATASET].mark_current(index, [newest])
    send([index, newest], source, target)
    assert [store.folder for store in target[DATASET].current()] == [index.folder, newest.folder]
    other = publish(Path(source.location), "beta", version="sha256:" + "2" * 64)
    send([index, other], source, target)
    assert [store.name for store in target[DATASET].current()] == ["index", "alpha", "beta"]


def send_later_version(source: Cache, target: Cache) -> str:
    """Send the current version of the images, then a later one; return the later index, current in the target only."""
    first = source[DATASET].index()
    send(source[DATASET].current(), source, target)
    later = publish_index(Path(source.location), version="sha256:" + "3" * 64)
    source[DATASET].mark_current(later)
    send([later], source, target)
    source[DATASET].mark_current(first)
    return later.folder


def test_what_is_there_already_moves_nothing(source: Cache, target: Cache) -> None:
    later = send_later_version(source, target)
    assert set(states(send(source[DATASET].current(), source, target))) == {"there already"}
    assert target[DATASET].index().folder == later
    new = publish(Path(source.location), "gamma")
    send(source[DATASET].current(), source, target)
    assert target[DATASET].index().folder == later, "a new store of an earlier version came"
    assert new.folder in [folder for folder, _ in target[DATASET].survey()]


def test_what_a_transfer_that_was_killed_did_not_mark_is_marked(source: Cache, target: Cache) -> None:
    later = send_later_version(source, target)
    target.backend.remove_file(f"{DATASET}/current.json")
    send(source[DATASET].current(), source, target)
    assert target[DATASET].index().folder == source[DATASET].index().folder != later


def test_a_store_without_the_current_index_changes_nothing_current(source: Cache, target: Cache) -> None:
    send(source[DATASET].current(), source, target)
    before = target.backend.read(f"{DATASET}/current.json")
    newer = "sha256:" + "2" * 64
    publish_index(Path(source.location), version=newer)
    send([publish(Path(source.location), "alpha", version=newer)], source, target)
    assert target.backend.read(f"{DATASET}/current.json") == before


def test_an_earlier_index_does_not_become_current(source: Cache, stores: list[Store], target: Cache) -> None:
    source[DATASET].mark_current(publish_index(Path(source.location), version="sha256:" + "2" * 64))
    send(stores[:2], source, target)
    assert target.backend.read(f"{DATASET}/current.json") is None


def test_expected_manifests(source: Cache, stores: list[Store], target: Cache) -> None:
    noted = [store.manifest_digest for store in stores]
    with pytest.raises(RefusedError, match=stores[2].folder):
        send(stores, source, target, *noted[:2])
    assert files(target.backend) == {}
    assert states(send(stores, source, target, *noted)) == ["copied"] * 3


def test_what_is_there_already_must_be_expected_too(source: Cache, stores: list[Store], target: Cache) -> None:
    theirs = publish_on(target.backend, "alpha")
    noted = [store.manifest_digest for store in stores]
    with pytest.raises(RefusedError, match=theirs.manifest_digest):
        send(stores, source, target, *noted)
    with pytest.raises(RefusedError, match=stores[2].folder):  # whose was published meanwhile
        transfer(stores[2:], source, target, when_on_its_way(lambda: publish_on(target.backend, "beta")), noted)


class Weighing(LocalBackend):
    """A folder that knows how many bytes were read from it and not written yet to another one."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.held = self.most = 0
        self._lock = threading.Lock()

    def hold(self, count: int) -> None:
        with self._lock:
            self.held += count
            self.most = max(self.most, self.held)

    def read(self, path: str, at_most: int | None = None) -> bytes | None:
        content = super().read(path, at_most)
        self.hold(len(content or b"") if "/c/" in path else 0)
        return content


@pytest.mark.parametrize("limit", [1, 5_000, 1 << 20])
def test_memory_is_bounded(source: Cache, target: Cache, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    weighing = Weighing(Path(source.location))
    true_write = type(target.backend).write

    def write(self: Backend, path: str, content: bytes) -> None:
        true_write(self, path, content)
        weighing.hold(-len(content) if "/c/" in path else 0)

    monkeypatch.setattr(type(target.backend), "write", write)
    monkeypatch.setattr(transfer_module, "WAVE_BYTES", limit)
    stores = cache_on(weighing)[DATASET].current()
    send(stores, cache_on(weighing), target)
    longest = max(entry.length for store in stores for entry in store.manifest.files.values())
    assert 0 < weighing.most <= max(limit, longest)
    assert weighing.held == 0
