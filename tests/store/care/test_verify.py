"""Damage of every kind to a file of every class: found, and the file named."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.store import MemoryStore

from fusion_pipeline.errors import StorageError, UsageError
from fusion_pipeline.store import Cache, DatasetStores, Store
from fusion_pipeline.store.care.mending import restore_manifests
from fusion_pipeline.store.care.verify import ALL, Damage, Subset, lost_manifests, verify, verify_dataset
from fusion_pipeline.store.making.publication import Publication
from fusion_pipeline.store.paths import MANIFEST, manifest_copy
from fusion_pipeline.store.storage.local import LocalBackend
from fusion_pipeline.store.storage.objects import ObjectBackend
from tests.store.failpoints import before_the_call, fail_to_open
from tests.store.made import (
    DATASET,
    as_format_1_0,
    finish,
    open_attempt,
    publish,
    publish_index,
    publish_on,
    put_manifest,
    root_of,
)

BACKBONE = ("features", "imagenet_probabilities", "status", "head_weight", "head_bias")
INDEX = ("thumbnails_32", "status", "sample_path_bytes", "sample_path_offsets", "sha256", "label")
CHUNKS = {"features": "c/1/0", "imagenet_probabilities": "c/1/0", "status": "c/1", "thumbnails_32": "c/1/0/0/0"}
CHUNKS |= {"head_weight": "c/0/0", "sha256": "c/0/0"}

CLASSES = {
    "current.json": "current.json",
    **{
        f"{kind} {name}": f"{kind}/{path}"
        for kind, arrays in (("alpha", BACKBONE), ("index", INDEX))
        for name, path in (
            ("manifest", "manifest.json"),
            ("manifest's copy", "attempts/ATTEMPT.json"),
            ("group", "attempts/ATTEMPT/zarr.json"),
            *((f"{array} metadata", f"attempts/ATTEMPT/{array}/zarr.json") for array in arrays),
            *((f"{array} chunk", f"attempts/ATTEMPT/{array}/{CHUNKS.get(array, 'c/0')}") for array in arrays),
        )
    },
}
"""One file of every class, by what it is: a store's folder begins with its name, and its attempt is named by chance."""


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def cut(keep: Callable[[int], int]) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, keep(path.stat().st_size))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "flip": flip,
    "to 0": cut(lambda _: 0),
    "to 3": cut(lambda _: 3),
    "half": cut(lambda n: n // 2),
    "one less": cut(lambda n: n - 1),
    "delete": Path.unlink,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with an index and a store; whoever damages a file puts it back."""
    root = tmp_path_factory.mktemp("whole") / "cache"
    index, store = publish_index(root), publish(root)
    Cache(root)[DATASET].mark_current(index, [store])
    return root


@pytest.fixture
def store(tmp_path: Path) -> Store:
    publish_index(tmp_path)
    return publish(tmp_path)


def find(root: Path, name: str) -> Path:
    """Return the file of a class."""
    path = CLASSES[name]
    if "/" not in path:
        return root / DATASET / path
    kind, _, rest = path.partition("/")
    (folder,) = (root / DATASET).glob(f"{kind}-*")
    (attempt,) = (found.name for found in (folder / "attempts").iterdir() if found.is_dir())
    return folder / rest.replace("ATTEMPT", attempt)


@contextmanager
def put_back(*paths: Path) -> Iterator[None]:
    """Put files back afterwards as they were."""
    before = {path: path.read_bytes() for path in paths}
    try:
        yield
    finally:
        for path, content in before.items():
            path.write_bytes(content)


def named_after_a_swap(root: Path, one: Path, other: Path) -> set[str]:
    """Return the files that verifying names while two files hold each other's content."""
    with put_back(one, other):
        content = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(content)
        return named(root)


def named(root: Path, **options: Any) -> set[str]:
    """Return the files that verifying names, relative to the cache."""
    return {report.where(item) for report in verify_dataset(Cache(root)[DATASET], **options) for item in report.damage}


def relative(root: Path, *paths: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in paths}


def test_every_array_has_a_class(whole: Path) -> None:
    stores = {store.manifest.kind: store for store in Cache(whole)[DATASET].stores()}
    for kind, arrays in (("backbone", BACKBONE), ("index", INDEX)):
        assert {name.partition("/")[0] for name in stores[kind].manifest.files} == {*arrays, "zarr.json"}


def test_nothing_is_named_where_nothing_is_damaged(whole: Path) -> None:
    reports = list(verify_dataset(Cache(whole)[DATASET]))
    assert [list(report.damage) for report in reports] == [[], []]
    assert {report.store.name for report in reports if report.store is not None} == {"index", "alpha"}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", CLASSES)
def test_damage_to_one_file(whole: Path, name: str, damage: str) -> None:
    path = find(whole, name)
    with put_back(path):
        DAMAGES[damage](path)
        found = named(whole)
    # Without the list of current stores the newest are current: it is a hint, and no store depends on it.
    assert found == (set() if (name, damage) == ("current.json", "delete") else relative(whole, path))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *pairwise([*CLASSES, "current.json"]),
        ("alpha manifest", "index manifest"),
        ("alpha manifest's copy", "index manifest's copy"),
        ("alpha manifest", "index manifest's copy"),
        ("alpha manifest", "index label chunk"),
        ("alpha group", "index group"),
        ("alpha status chunk", "index status chunk"),
        ("alpha features metadata", "alpha imagenet_probabilities metadata"),
    ],
)
def test_two_files_swapped(whole: Path, one: str, other: str) -> None:
    paths = [find(whole, name) for name in (one, other)]
    same = paths[0].read_bytes() == paths[1].read_bytes()
    assert named_after_a_swap(whole, *paths) == (set() if same else relative(whole, *paths))


def test_chunks_of_one_array_swapped(whole: Path) -> None:
    chunk = find(whole, "alpha features chunk")
    other = chunk.parents[1] / "0" / "0"
    assert named_after_a_swap(whole, chunk, other) == relative(whole, chunk, other)


def test_a_manifest_swapped_with_a_file_of_its_own_store(whole: Path) -> None:
    """What the files must be is known again once the manifest is restored."""
    manifest, group = find(whole, "alpha manifest"), find(whole, "alpha group")
    assert named_after_a_swap(whole, manifest, group) == relative(whole, manifest)
    with put_back(group):
        flip(group)
        assert named(whole) == relative(whole, group)


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "folder"])
@pytest.mark.parametrize("name", ["alpha manifest's copy", "alpha features chunk", "alpha group"])
def test_what_is_no_file_is_named_and_never_waited_for(store: Store, name: str, kind: str, tmp_path: Path) -> None:
    path = find(root_of(store), name)
    aside = tmp_path.with_name(f"{tmp_path.name}-aside")
    path.rename(aside)
    match kind:
        case "link":
            path.symlink_to(aside)
        case "dangling link":
            path.symlink_to("nothing")
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
    assert named(root_of(store)) == relative(root_of(store), path)


@pytest.mark.parametrize("number", [errno.EIO, errno.EBADMSG])
def test_a_file_that_the_disk_fails_to_give_is_named(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fail_to_open(monkeypatch, "features/c/0/0", number)
    assert list(verify(store)) == [Damage("features/c/0/0", "missing")]


@pytest.mark.parametrize("number", [errno.EACCES, errno.ESTALE, errno.ETIMEDOUT])
@pytest.mark.parametrize("name", ["features/c/0/0", "ATTEMPT.json", "manifest.json"])
def test_what_cannot_be_seen_is_not_damaged(
    store: Store, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    fail_to_open(monkeypatch, name.replace("ATTEMPT", store.manifest.attempt), number)
    with pytest.raises(StorageError, match=os.strerror(number)) as caught:
        list(verify_dataset(Cache(root_of(store))[DATASET]))
    assert caught.value.exit_code == 15


def test_a_server_that_denies_access_has_lost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    store = publish_on(ObjectBackend("s3://team/features", store=MemoryStore()))

    def denied(*_: Any, **__: Any) -> Any:
        raise PermissionError("403")

    monkeypatch.setattr(obstore, "get", denied)
    with pytest.raises(StorageError, match="access denied"):
        list(verify(store))


def with_other_sums(store: Store, *names: str) -> Store:
    """Put a consistent manifest in place whose CRC-32C of some files is not theirs."""
    wrong = {name: replace(store.manifest.files[name], crc32c="00000000") for name in names}
    return put_manifest(store, replace(store.manifest, files={**store.manifest.files, **wrong}))


def test_a_manifest_whose_sums_contradict_each_other_is_damaged(store: Store) -> None:
    again = with_other_sums(store, "features/c/0/0", "features/c/1/0", "zarr.json")
    assert list(verify(again)) == [Damage("manifest.json", "content")]
    assert named(root_of(store)) == {f"{DATASET}/{store.folder}/manifest.json"}
    flip(store.path / "features/c/0/0")
    assert list(verify(again)) == [Damage("features/c/0/0", "content"), Damage("manifest.json", "content")]


def test_every_array_is_read(store: Store) -> None:
    for array in BACKBONE:
        for chunk in sorted((store.path / array / "c").rglob("*")):
            if chunk.is_file():
                before = chunk.read_bytes()
                flip(chunk)
                assert list(verify(store)) == [Damage(str(chunk.relative_to(store.path)), "content")]
                chunk.write_bytes(before)


def test_presence_and_length_are_seen_without_reading(store: Store) -> None:
    flip(store.path / "features/c/0/0")
    assert list(verify(store, read=False)) == []
    (store.path / "features/c/0/0").unlink()
    os.truncate(store.path / "features/c/1/0", 3)
    assert list(verify(store, read=False)) == [
        Damage("features/c/0/0", "missing"),
        Damage("features/c/1/0", "length"),
    ]


def test_a_group_that_is_gone_is_damage_to_each_of_its_files(store: Store) -> None:
    store.path.rename(store.path.with_name("elsewhere"))
    assert {item.file for item in verify(store)} == set(store.manifest.files)
    assert {item.kind for item in verify(store)} == {"missing"}


def test_strangers_are_no_damage(store: Store) -> None:
    (store.path / "stranger").write_bytes(b"1")
    (store.path.parent / "left-by-somebody").mkdir()
    assert list(verify(store)) == []


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 100])
def test_the_parts_of_all_files_have_each_file_once(store: Store, parts: int) -> None:
    for path in root_of(store).rglob("*"):
        if path.is_file() and path.name != "manifest.json":
            flip(path)
    expected = sorted(named(root_of(store)))
    assert len(expected) == len(store.manifest.files) + len(store.index.manifest.files) + 2
    found = [name for part in range(1, parts + 1) for name in named(root_of(store), subset=Subset(part, parts))]
    assert sorted(found) == expected


def test_a_part_reads_no_other_files(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    true_read = LocalBackend.read

    def recording(self: LocalBackend, path: str, at_most: int | None = None) -> bytes | None:
        read.append(path)
        return true_read(self, path, at_most)

    monkeypatch.setattr(LocalBackend, "read", recording)
    part = Subset(2, 3)
    assert list(verify(store, subset=part)) == []
    assert read
    own = {store.file(name): name for name in store.manifest.files}
    assert all(part.has(own.get(path, f"attempts/{store.manifest.attempt}.json")) for path in read)


@pytest.mark.parametrize("text", ["", "3", "0/3", "4/3", "1/0", "-1/3", "a/b", "1/2/3", "1.0/2", "²/3"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a part such as 2/7") as caught:
        Subset.parse(text)
    assert caught.value.exit_code == 2


def test_a_part_is_parsed() -> None:
    assert (Subset.parse("2/7"), Subset.parse("1/1")) == (Subset(2, 7), ALL)


def test_reports_say_where_files_lie(store: Store) -> None:
    flip(store.path / "features/c/0/0")
    (store.path.with_name(f"{store.manifest.attempt}.json")).unlink()
    (root_of(store) / DATASET / store.index.folder / "manifest.json").write_bytes(b"{")
    (root_of(store) / DATASET / "current.json").write_bytes(b"{")
    reports = list(verify_dataset(Cache(root_of(store))[DATASET]))
    assert [report.where(item) for report in reports for item in report.damage] == [
        f"{DATASET}/{store.folder}/attempts/{store.manifest.attempt}.json",
        f"{DATASET}/{store.folder}/attempts/{store.manifest.attempt}/features/c/0/0",
        f"{DATASET}/{store.index.folder}/manifest.json",
        f"{DATASET}/current.json",
    ]
    assert [bool(report.reason) for report in reports] == [False, True, True]
    assert "damaged, or was edited" in reports[1].reason


def test_a_store_of_format_1_0_has_no_copy(store: Store) -> None:
    older = as_format_1_0(store)
    assert named(root_of(store)) == set()
    flip(older.path / "features/c/0/0")
    assert list(verify(older)) == [Damage("features/c/0/0", "content")]


@pytest.mark.parametrize("minor", [0, 1])
def test_a_store_that_lost_all_it_had_of_its_manifest_is_named(store: Store, minor: int) -> None:
    store = store if minor else as_format_1_0(store)
    folder = f"{DATASET}/{store.folder}"
    for path in (f"{folder}/{MANIFEST}", manifest_copy(folder, store.manifest.attempt)):
        store.backend.remove_file(path)
    (found,) = [item for item in verify_dataset(Cache(store.backend)[DATASET]) if item.folder == store.folder]
    assert list(found.damage) == [Damage(MANIFEST, "missing")]
    assert restore_manifests(Cache(store.backend)[DATASET]) == []


def test_a_manifest_between_copy_and_publication_is_not_lost(store: Store) -> None:
    """Its writer is at it: his attempt says so."""
    stores = Cache(root_of(store))[DATASET]
    attempt = open_attempt(store.backend, "beta")
    Publication(store.backend, DATASET, store.manifest).announce(attempt.folder, attempt._leases.nonce)
    (root_of(store) / DATASET / store.folder / "manifest.json").unlink()
    assert lost_manifests(stores) == []
    attempt.discard()
    assert lost_manifests(stores) == [store.folder]


def test_what_the_dead_announced_hides_no_lost_manifest(store: Store) -> None:
    """He was killed between the manifest and the removal of his attempt; the attempt has another writer by now."""
    attempt = open_attempt(store.backend, "beta")
    Publication(store.backend, DATASET, store.manifest).announce(attempt.folder, "0123")
    (root_of(store) / DATASET / store.folder / "manifest.json").unlink()
    (report,) = (found for found in verify_dataset(Cache(root_of(store))[DATASET]) if found.damage)
    assert (report.folder, report.damage) == (store.folder, [Damage("manifest.json", "missing")])
    assert "'fusion cache repair' restores it" in report.reason
    attempt.close()


def test_a_store_that_is_published_while_it_is_looked_for_is_not_lost(
    backend: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the first look there is the copy and no manifest; at the second one the attempt is gone as well."""
    cache, found = Cache(tmp_path), list[list[str]]()
    cache.backend = backend
    attempt, true_swap = open_attempt(backend), backend.swap

    def swap(*arguments: Any) -> bool:
        def go_on() -> None:
            assert true_swap(*arguments)
            attempt.discard()

        with monkeypatch.context() as patch:
            before_the_call(patch, backend, "entries", go_on, f"{DATASET}/attempts")
            found.append(lost_manifests(DatasetStores(cache, DATASET)))
        return backend.length(arguments[0]) is not None

    monkeypatch.setattr(backend, "swap", swap)
    assert finish(attempt)[1]
    assert found == [[]]


def test_a_store_on_any_storage(backend: Any) -> None:
    published = publish_on(backend)
    backend.write(published.file("features/c/0/0"), b"1")
    backend.remove_file(published.file("status/c/1"))
    content = backend.read(published.file("features/c/1/0"))
    backend.write(published.file("features/c/1/0"), content[:-1] + b"x")
    assert list(verify(published)) == [
        Damage("features/c/0/0", "length"),
        Damage("features/c/1/0", "content"),
        Damage("status/c/1", "missing"),
    ]
