"""Collection: what nobody needs goes once it is old by the storage's clock; what anybody may need never does."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from obstore.store import MemoryStore

from fusion_pipeline.errors import FormatError, FusionError, IncompleteError, IntegrityError, RefusedError, StorageError
from fusion_pipeline.store import Cache, Store
from fusion_pipeline.store.care.gc import Collection, collect
from fusion_pipeline.store.care.mending import restore_manifests
from fusion_pipeline.store.care.verify import lost_manifests, verify
from fusion_pipeline.store.identity import canonical_json
from fusion_pipeline.store.making.attempt import Attempt
from fusion_pipeline.store.making.presence import Process
from fusion_pipeline.store.making.publication import Publication
from fusion_pipeline.store.paths import manifest_copy
from fusion_pipeline.store.storage.backend import PARTIAL, StoredFile
from fusion_pipeline.store.storage.local import LocalBackend
from fusion_pipeline.store.storage.objects import ObjectBackend
from tests.builders import tree_bytes
from tests.store.made import DATASET, as_format_1_0, finish, open_attempt, publish, write_partition

DAY = 86_400.0
GROUP = "0" * 32


@pytest.fixture(params=["folder", "memory"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Cache:
    """A cache with one published store."""
    opened = Cache(tmp_path / "cache")
    if request.param == "memory":
        opened.backend = ObjectBackend("s3://team/features", store=MemoryStore())
    finish(open_attempt(opened.backend))
    return opened


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[Cache, float], None]:
    """Let the clock of the storage go on, by seconds."""

    def go_on(cache: Cache, seconds: float) -> None:
        now = cache.backend.now()
        monkeypatch.setattr(cache.backend, "now", lambda: now + seconds)

    return go_on


def paths(collection: Collection) -> list[str]:
    return [item.path for item in collection.items]


def files(cache: Cache, folder: str = "") -> set[str]:
    return {file.path for file in cache.backend.walk(folder)}


def store_of(cache: Cache) -> Store:
    return next(iter(cache[DATASET].stores()))


def leave_attempt(cache: Cache, name: str = "beta") -> str:
    """Begin an attempt and leave it; return its folder."""
    attempt = open_attempt(cache.backend, name)
    write_partition(attempt, 0)
    attempt.close()
    return attempt.folder


def leave_writer(cache: Cache, attempt: str, *, machine: str, pid: int = 1) -> None:
    """Leave the file of a writer in an attempt, as a kill does."""
    process = {"beat": 3, "host": "elsewhere", "machine": machine, "pid": pid, "started": "1"}
    cache.backend.write(f"{attempt}/writers/0123456789abcdef.json", canonical_json(process))


def leave_publication(cache: Cache, attempt: str, store: str = f"{DATASET}/beta-0123456789ab") -> str:
    """Leave a group that an attempt was about to publish; return its path."""
    intent = canonical_json({"store": store, "writer": "0123456789abcdef"})
    cache.backend.write(Publication.marker(attempt, GROUP), intent)
    cache.backend.write(f"{store}/attempts/{GROUP}/zarr.json", b"{}")
    cache.backend.write(manifest_copy(store, GROUP), b"{}")
    return f"{store}/attempts/{GROUP}"


def test_an_attempt_goes_when_its_grace_is_over(cache: Cache, pass_time: Callable[..., None]) -> None:
    before = files(cache)
    attempt = leave_attempt(cache)
    size = sum(file.length for file in cache.backend.walk(attempt))
    pass_time(cache, 6 * DAY)
    assert paths(collect(cache)) == []
    pass_time(cache, 2 * DAY)
    plan = collect(cache)
    assert (paths(plan), plan.n_bytes, plan.removed) == ([attempt], size, False)
    assert plan.items[0].reason == "attempt that nobody is at work on, untouched for 8 days"
    assert len(files(cache, attempt)) > 1
    done = collect(cache, delete=True)
    assert (paths(done), done.n_bytes, done.removed) == ([attempt], size, True)
    assert files(cache) == before
    assert list(verify(store_of(cache))) == []
    assert paths(collect(cache)) == []


def test_a_living_writer_keeps_its_attempt_for_ever(cache: Cache, pass_time: Callable[..., None]) -> None:
    """However long it was stopped: it is this very process."""
    attempt = open_attempt(cache.backend, "beta")
    pass_time(cache, 400 * DAY)
    assert paths(collect(cache, delete=True)) == []
    finish(attempt)
    assert [store.name for store in cache[DATASET].stores()] == ["beta", "alpha"]


def test_a_writer_that_the_system_calls_dead_keeps_nothing(cache: Cache, pass_time: Callable[..., None]) -> None:
    attempt = leave_attempt(cache)
    leave_writer(cache, attempt, machine=Process.this().machine, pid=os.getpid())  # our number, another start
    pass_time(cache, 60)
    assert paths(collect(cache, grace_seconds=0)) == [attempt]


@pytest.mark.parametrize(("silent", "grace", "goes"), [(30, 0, False), (60, 0, True), (60, 90, False), (99, 90, True)])
def test_a_writer_elsewhere_lives_until_it_is_silent_for_the_grace(
    cache: Cache, pass_time: Callable[..., None], silent: float, grace: float, goes: bool
) -> None:
    attempt = leave_attempt(cache)
    leave_writer(cache, attempt, machine="another one")
    pass_time(cache, silent)
    assert paths(collect(cache, grace_seconds=grace)) == [attempt] * goes


def test_a_killed_publication_goes_as_a_whole(cache: Cache, pass_time: Callable[..., None]) -> None:
    before = files(cache)
    attempt = leave_attempt(cache)
    group = leave_publication(cache, attempt)
    pass_time(cache, 8 * DAY)
    done = collect(cache, delete=True)
    assert paths(done) == [group, attempt]
    assert done.items[0].reason == "group of a publication that was stopped, untouched for 8 days"
    assert done.items[0].n_bytes == 4  # the copy of the manifest too
    assert files(cache) == before


def test_an_attempt_stays_as_long_as_the_group_that_it_tells_of(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, nothing would tell that group from a store that lost its manifest."""
    attempt = leave_attempt(cache)
    group = leave_publication(cache, attempt)
    walk = cache.backend.walk

    def young(path: str) -> Any:
        for file in walk(path):
            age = 0 if file.path.startswith(group) else 8 * DAY
            yield StoredFile(file.path, file.length, file.modified - age)

    monkeypatch.setattr(cache.backend, "walk", young)
    assert paths(collect(cache)) == []


def test_what_a_living_writer_is_publishing_stays(cache: Cache, pass_time: Callable[..., None]) -> None:
    attempt = open_attempt(cache.backend, "beta")
    leave_publication(cache, attempt.folder, f"{DATASET}/{store_of(cache).folder}")
    pass_time(cache, 8 * DAY)
    assert paths(collect(cache)) == []
    attempt.close()


@pytest.mark.parametrize("step", ["write_all", "copy_all", "swap"])
def test_collecting_while_a_store_is_published(
    cache: Cache, pass_time: Callable[..., None], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """However old everything looks."""
    attempt = open_attempt(cache.backend, "beta")
    pass_time(cache, 8 * DAY)
    true_step = getattr(cache.backend, step)
    collections = []

    def collecting(*arguments: Any) -> Any:
        collections.append(collect(cache, grace_seconds=0, delete=True))
        result = true_step(*arguments)
        collections.append(collect(cache, grace_seconds=0, delete=True))
        return result

    monkeypatch.setattr(cache.backend, step, collecting)
    _, won = finish(attempt)
    assert won
    assert [paths(found) for found in collections] == [[]] * len(collections)
    assert collections
    assert [list(verify(store)) for store in cache[DATASET].stores()] == [[], []]


def test_what_a_repair_replaced_stays_for_those_who_read_it(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own files are old; the manifest that names others is not."""
    store = store_of(cache)
    before = files(cache)
    old = f"{DATASET}/{store.folder}/attempts/{GROUP}"
    cache.backend.write(f"{old}/zarr.json", b"{}")
    cache.backend.write(f"{old}.json", b"{}")
    now, walk = cache.backend.now(), cache.backend.walk
    days_ago: dict[str, float] = {old: 300, f"{DATASET}/{store.folder}/manifest.json": 6}

    def aged(path: str) -> Any:
        for file in walk(path):
            days = next((days for start, days in days_ago.items() if file.path.startswith(start)), 300)
            yield StoredFile(file.path, file.length, now - days * DAY)

    monkeypatch.setattr(cache.backend, "walk", aged)
    monkeypatch.setattr(cache.backend, "now", lambda: now)
    assert paths(collect(cache)) == []
    days_ago[f"{DATASET}/{store.folder}/manifest.json"] = 8
    done = collect(cache, delete=True)
    assert [(item.path, item.reason) for item in done.items] == [(old, "group that was replaced, untouched for 8 days")]
    assert files(cache) == before


def test_litter_goes(tmp_path: Path) -> None:
    store = publish(tmp_path)
    cache = Cache(tmp_path)
    before = tree_bytes(tmp_path)
    litter = [
        f"{DATASET}/{store.folder}/manifest.json{PARTIAL}0123456789ab",
        f"{DATASET}/{store.folder}/attempts/{store.manifest.attempt}/features/c/0/0{PARTIAL}0123456789ab",
        f"{DATASET}/{store.folder}/attempts/{GROUP}{PARTIAL}0123456789ab/features/c/0/0",
        f"{DATASET}/attempts/alpha-1{PARTIAL}0123456789ab/done/0.json",
        f".clock/0123{PARTIAL}4567",
        ".probe/0123",
    ]
    for path in litter:
        write_old(tmp_path / path)
    young = tmp_path / DATASET / f"current.json{PARTIAL}0123456789ab"
    young.write_bytes(b"12")
    found = collect(cache, delete=True)
    assert {item.path: item.reason for item in found.items} == {
        litter[0]: "half-written file, untouched for 8 days",
        litter[1]: "half-written file, untouched for 8 days",
        litter[2].removesuffix("/features/c/0/0"): "half-removed folder, untouched for 8 days",
        litter[3].removesuffix("/done/0.json"): "half-removed folder, untouched for 8 days",
        litter[4]: "probe of the storage, untouched for 8 days",
        litter[5]: "probe of the storage, untouched for 8 days",
    }
    assert found.n_bytes == 2 * len(litter)
    young.unlink()
    assert tree_bytes(tmp_path) == before


NAMES = ["my.partial-net", "net.partial", "a.partial-0123456789ab"]


@pytest.mark.parametrize("name", NAMES)
def test_a_store_whose_name_looks_half_written_stays(cache: Cache, pass_time: Callable[..., None], name: str) -> None:
    finish(open_attempt(cache.backend, name))
    before = files(cache)
    pass_time(cache, 400 * DAY)
    assert paths(collect(cache, delete=True)) == []
    assert files(cache) == before
    assert sorted(store.name for store in cache[DATASET].stores()) == sorted(["alpha", name])


@pytest.mark.parametrize("older", ["a.partial-0123456789ab", "a.partial-10"])
def test_stores_and_data_sets_that_were_called_so_stay(
    cache: Cache, pass_time: Callable[..., None], older: str
) -> None:
    """By a version that let them."""
    store = f"{DATASET}/{store_of(cache).folder}/"
    for file in list(cache.backend.walk(DATASET)):
        content = cache.backend.read(file.path) or b""
        cache.backend.write(file.path.replace(store, f"{older}/alpha-1/"), content)
        cache.backend.write(file.path.replace(store, f"{DATASET}/{older}/"), content)
    before = files(cache)
    pass_time(cache, 400 * DAY)
    assert paths(collect(cache, delete=True)) == []
    assert paths(collect(cache, [older], delete=True)) == []
    assert files(cache) == before


def write_old(path: Path, days: float = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"12")
    then = time.time() - days * DAY
    os.utime(path, (then, then))


def test_litter_of_a_living_writer_stays(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    attempt = open_attempt(cache.backend)
    write_old(tmp_path / attempt.folder / "parts" / f"1{PARTIAL}0123456789ab")
    assert paths(collect(cache)) == []
    attempt.close()


@pytest.mark.parametrize("minor", [0, 1])
def test_a_store_that_lost_its_manifest_stays(cache: Cache, pass_time: Callable[..., None], minor: int) -> None:
    store = store_of(cache)
    if minor == 0:  # there is no copy of it either
        as_format_1_0(store)
    cache.backend.remove_file(f"{DATASET}/{store.folder}/manifest.json")
    leave_attempt(cache)
    before = files(cache, f"{DATASET}/{store.folder}")
    pass_time(cache, 400 * DAY)
    collect(cache, delete=True)
    assert files(cache) == before
    if minor == 1:
        assert lost_manifests(cache[DATASET]) == [store.folder]


def test_an_announcement_that_is_left_costs_no_store(cache: Cache, pass_time: Callable[..., None]) -> None:
    """Its writer was killed between the manifest and the removal of the attempt; then the manifest was lost."""
    store = store_of(cache)
    attempt = leave_attempt(cache)
    Publication(cache.backend, DATASET, store.manifest).announce(attempt, "0123456789abcdef")
    cache.backend.remove_file(f"{DATASET}/{store.folder}/manifest.json")
    before = files(cache, f"{DATASET}/{store.folder}")
    pass_time(cache, 400 * DAY)
    assert paths(collect(cache, delete=True)) == [attempt]
    assert files(cache) == before
    assert restore_manifests(cache[DATASET]) == [f"{DATASET}/{store.folder}/manifest.json"]
    assert list(verify(store_of(cache))) == []


def test_a_copy_that_cannot_be_read_ends_it(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = leave_attempt(cache)
    copy = f"{leave_publication(cache, attempt)}.json"
    now, read = cache.backend.now(), cache.backend.read
    monkeypatch.setattr(cache.backend, "now", lambda: now + 8 * DAY)

    def refusing(path: str, at_most: int | None = None) -> bytes | None:
        if path == copy:
            raise StorageError("access denied")
        return read(path, at_most)

    monkeypatch.setattr(cache.backend, "read", refusing)
    before = files(cache)
    with pytest.raises(StorageError, match="access denied"):
        collect(cache, delete=True)
    assert files(cache) == before


def forge(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    def forged(content: bytes) -> bytes:
        fields = json.loads(content)
        change(fields)
        del fields["digest"]
        return canonical_json(fields)

    return forged


UNREADABLE = {
    "damaged": (lambda content: content[:-3], IntegrityError),
    "newer major": (forge(lambda fields: fields["format"].update(version="2.0")), FormatError),
    "needs more": (forge(lambda fields: fields["format"].update(required_features=["shards"])), FormatError),
    "hostile": (lambda _: b"[" * 100_000, RefusedError),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_an_unreadable_manifest_ends_it_before_anything_is_removed(
    cache: Cache, pass_time: Callable[..., None], case: str
) -> None:
    leave_attempt(cache)
    spoil, kind = UNREADABLE[case]
    path = f"{DATASET}/{store_of(cache).folder}/manifest.json"
    cache.backend.write(path, spoil(cache.backend.read(path) or b""))
    before = files(cache)
    pass_time(cache, 8 * DAY)
    with pytest.raises(FusionError, match=r"Nothing was removed: .*manifest\.json") as caught:
        collect(cache, delete=True)
    assert isinstance(caught.value, kind)
    assert files(cache) == before


def test_a_listing_that_fails_ends_it_before_anything_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other data set comes later than the garbage."""
    cache = Cache(tmp_path)
    write_old(tmp_path / "aaa" / "attempts" / "alpha-1" / "attempt.json")
    publish(tmp_path)
    before = tree_bytes(tmp_path)
    true_scandir = os.scandir

    def failing(path: Any) -> Any:
        if str(path).endswith("features"):
            raise PermissionError(13, "Permission denied")
        return true_scandir(path)

    monkeypatch.setattr(os, "scandir", failing)
    with pytest.raises(StorageError, match="features'"):
        collect(cache, delete=True)
    monkeypatch.undo()
    assert tree_bytes(tmp_path) == before


def test_the_clock_of_the_machine_decides_nothing(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_attempt(cache)
    now = time.time()
    for hours in (-2, 2, 24 * 365):
        monkeypatch.setattr(time, "time", lambda hours=hours: now + hours * 3600)
        assert paths(collect(cache, grace_seconds=3600)) == []


def test_what_is_another_users_is_told_and_stays(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, theirs = leave_attempt(cache, "mine"), leave_attempt(cache, "theirs")
    now = cache.backend.now()
    monkeypatch.setattr(cache.backend, "now", lambda: now + 8 * DAY)
    monkeypatch.setattr(cache.backend, "may_write", lambda path: not path.startswith(theirs))
    for delete in (False, True):
        found = collect(cache, delete=delete)
        assert paths(found) == [mine]
        assert [(item.path, why) for item, why in found.kept] == [(theirs, "It is another user's.")]
    assert files(cache, theirs)


def test_a_removal_that_is_refused_is_told(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a folder with the sticky bit, or for credentials that may write and not delete."""
    first, second = leave_attempt(cache, "first"), leave_attempt(cache, "second")
    group = leave_publication(cache, first)
    now, remove = cache.backend.now(), cache.backend.remove
    monkeypatch.setattr(cache.backend, "now", lambda: now + 8 * DAY)

    def refusing(path: str) -> None:
        if path == group:
            raise StorageError("access denied")
        remove(path)

    monkeypatch.setattr(cache.backend, "remove", refusing)
    done = collect(cache, delete=True)
    assert paths(done) == [second]
    assert [(item.path, why) for item, why in done.kept] == [
        (group, "access denied"), (first, "It tells of a group that stays."),
    ]  # fmt: skip


def test_a_storage_that_fails_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_old(tmp_path / DATASET / "attempts" / "alpha-1" / "attempt.json")
    cache = Cache(tmp_path)

    def down(*_: Any) -> Any:
        raise StorageError("the server cannot be reached")

    def going_down(_: str) -> None:
        monkeypatch.setattr(LocalBackend, "entries", down)
        down()

    monkeypatch.setattr(cache.backend, "remove", going_down)
    with pytest.raises(StorageError, match="cannot be reached"):
        collect(cache, delete=True)


def test_what_somebody_takes_up_again_meanwhile_stays(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the removal."""
    first, second = leave_attempt(cache, "first"), leave_attempt(cache, "second")
    now, remove, walk = cache.backend.now(), cache.backend.remove, cache.backend.walk
    monkeypatch.setattr(cache.backend, "now", lambda: now + 8 * DAY)
    resumed: list[str] = []

    def removing(path: str) -> None:
        resumed.append(second)
        remove(path)

    def walking(path: str) -> Any:
        later = 9 * DAY if path in resumed else 0.0
        return (StoredFile(file.path, file.length, file.modified + later) for file in walk(path))

    monkeypatch.setattr(cache.backend, "remove", removing)
    monkeypatch.setattr(cache.backend, "walk", walking)
    done = collect(cache, delete=True)
    assert paths(done) == [first]
    assert [(item.path, why) for item, why in done.kept] == [(second, "Somebody is at work on it again.")]


def test_a_group_that_is_published_meanwhile_stays(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """A publisher that slept for the whole grace, and wakes between the look and the removal."""
    attempt: Attempt = open_attempt(cache.backend, "beta")
    folder = attempt.folder
    now, map_ = cache.backend.now(), cache.backend.may_write
    monkeypatch.setattr(cache.backend, "now", lambda: now + 8 * DAY)
    asleep: list[Publication] = []
    monkeypatch.setattr(Publication, "finish", lambda publication, *_: asleep.append(publication) or stop())

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finish(attempt)
    monkeypatch.undo()
    attempt.close()
    monkeypatch.setattr(cache.backend, "now", lambda: now + 8 * DAY)

    def waking(path: str) -> bool:
        if asleep:
            asleep.pop().finish()
        return map_(path)

    monkeypatch.setattr(cache.backend, "may_write", waking)
    done = collect(cache, delete=True)
    assert [why for _, why in done.kept] == ["Somebody is at work on it again.", "It tells of a group that stays."]
    assert files(cache, folder)
    beta = next(store for store in cache[DATASET].stores() if store.name == "beta")
    assert list(verify(beta)) == []


def test_only_the_data_sets_that_are_named(tmp_path: Path) -> None:
    for place in ("flowers/attempts/a-1/attempt.json", "pets/attempts/a-1/attempt.json", ".probe/1"):
        write_old(tmp_path / place)
    cache = Cache(tmp_path)
    assert paths(collect(cache, ["pets"])) == ["pets/attempts/a-1"]
    assert paths(collect(cache)) == ["flowers/attempts/a-1", "pets/attempts/a-1", ".probe/1"]
    with pytest.raises(IncompleteError, match="no data set 'birds'"):
        collect(cache, ["birds"])


def test_who_may_only_read_can_look(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, _content: bytes) -> None:
        raise StorageError(f"no permission for {path}")

    finish(open_attempt(cache.backend))
    monkeypatch.setattr(cache.backend, "write", refuse)
    assert collect(cache) == Collection((), (), removed=False, own_clock=True)
    with pytest.raises(StorageError, match="no permission"):
        collect(cache, delete=True)


def test_a_misspelt_data_set_leaves_no_trace(cache: Cache) -> None:
    finish(open_attempt(cache.backend))
    before = files(cache)
    with pytest.raises(IncompleteError):
        collect(cache, ["misspelt"])
    assert files(cache) == before


def test_a_place_without_a_cache_stays_untouched(tmp_path: Path) -> None:
    assert collect(Cache(tmp_path / "misspelt"), delete=True) == Collection((), (), True)
    assert os.listdir(tmp_path) == []


def test_on_a_server(s3: str, pass_time: Callable[..., None]) -> None:
    cache = Cache(s3)
    finish(open_attempt(cache.backend))
    before = files(cache)
    attempt = leave_attempt(cache)
    group = leave_publication(cache, attempt)
    assert paths(collect(cache, grace_seconds=0, delete=True)) == []
    pass_time(cache, 8 * DAY)
    assert paths(collect(cache, delete=True)) == [group, attempt]
    assert files(cache) == before
