"""What is left of a damaged store: its manifests from their copies, its good partitions into a new attempt."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusion_pipeline.errors import FormatError, IntegrityError, StorageError
from fusion_pipeline.store import Cache, DatasetStores, Store
from fusion_pipeline.store.care.mending import DamagedStore, restore_manifests
from fusion_pipeline.store.care.semantic import verify_all
from fusion_pipeline.store.care.verify import verify
from fusion_pipeline.store.layout import GroupEncoder, backbone_arrays
from fusion_pipeline.store.making.attempt import Attempt
from fusion_pipeline.store.making.publication import Publication
from fusion_pipeline.store.paths import manifest_copy
from fusion_pipeline.store.storage.local import LocalBackend
from tests.builders import tree_bytes
from tests.store.failpoints import fail_to_open
from tests.store.made import (
    DATASET,
    FEATURES,
    N_FEATURES,
    RECIPE,
    ROWS,
    SAMPLES,
    as_format_1_0,
    finish,
    make_encoder,
    missing_partitions,
    open_attempt,
    publish,
    publish_index,
    put_manifest,
    root_of,
    write_partition,
)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES: dict[str, Callable[[Path], object]] = {"flip": flip, "empty": empty, "delete": Path.unlink}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    publish_index(tmp_path)
    return publish(tmp_path)


@pytest.fixture
def stores(store: Store) -> DatasetStores:
    found = Cache(root_of(store))[DATASET]
    found.mark_current(store.index, [store])
    return found


def folder_of(store: Store) -> str:
    return f"{DATASET}/{store.folder}"


def manifest_of(store: Store) -> Path:
    return root_of(store) / folder_of(store) / "manifest.json"


def copy_of(store: Store) -> Path:
    return root_of(store) / manifest_copy(folder_of(store), store.manifest.attempt)


def is_whole(stores: DatasetStores) -> bool:
    reports = list(verify_all(stores))
    return len(reports) == 2 and not any(report.damage for report in reports)


def test_of_good_manifests_nothing_is_restored(stores: DatasetStores, store: Store) -> None:
    before = tree_bytes(root_of(store))
    assert restore_manifests(stores) == []
    assert tree_bytes(root_of(store)) == before


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", ["backbone", "index"])
def test_a_manifest_is_restored_from_its_copy(stores: DatasetStores, store: Store, damage: str, kind: str) -> None:
    damaged = store if kind == "backbone" else store.index
    before = tree_bytes(root_of(store))
    DAMAGES[damage](manifest_of(damaged))
    assert not is_whole(stores)
    assert restore_manifests(stores) == [f"{folder_of(damaged)}/manifest.json"]
    assert is_whole(stores)
    assert tree_bytes(root_of(store)) == before


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", ["backbone", "index"])
def test_a_copy_is_restored_from_its_manifest(stores: DatasetStores, store: Store, damage: str, kind: str) -> None:
    damaged = store if kind == "backbone" else store.index
    before = tree_bytes(root_of(store))
    DAMAGES[damage](copy_of(damaged))
    assert not is_whole(stores)
    assert restore_manifests(stores) == [manifest_copy(folder_of(damaged), damaged.manifest.attempt)]
    assert is_whole(stores)
    assert tree_bytes(root_of(store)) == before


@pytest.mark.parametrize("damage", DAMAGES)
def test_of_a_manifest_and_a_copy_that_are_both_damaged_nothing_is_restored(
    stores: DatasetStores, store: Store, damage: str
) -> None:
    DAMAGES[damage](manifest_of(store))
    flip(copy_of(store))
    before = tree_bytes(root_of(store) / folder_of(store))
    assert [item for item in restore_manifests(stores) if "current" not in item] == []
    assert tree_bytes(root_of(store) / folder_of(store)) == before
    assert not is_whole(stores)


def test_manifests_of_several_stores_are_restored_at_once(stores: DatasetStores, store: Store) -> None:
    before = tree_bytes(root_of(store))
    manifest_of(store).unlink()
    flip(manifest_of(store.index))
    restored = [f"{folder_of(found)}/manifest.json" for found in (store, store.index)]
    assert sorted(restore_manifests(stores)) == sorted(restored)
    assert tree_bytes(root_of(store)) == before


@pytest.mark.parametrize("content", [b"", b"{}", b'{"index": "index-gone", "stores": {}}'])
def test_a_damaged_list_of_current_stores_is_taken_away(stores: DatasetStores, store: Store, content: bytes) -> None:
    stores.cache.backend.write(f"{DATASET}/current.json", content)
    assert restore_manifests(stores) == [f"{DATASET}/current.json"]
    assert not stores.cache.backend.exists(f"{DATASET}/current.json")
    assert is_whole(stores)
    assert stores["alpha"].folder == store.folder


def test_a_list_that_names_a_store_without_a_manifest_stays(stores: DatasetStores, store: Store) -> None:
    manifest_of(store).unlink()
    restore_manifests(stores)
    assert stores.cache.backend.exists(f"{DATASET}/current.json")


def test_a_store_of_format_1_0_has_no_copy_to_restore(store: Store) -> None:
    older = as_format_1_0(store)
    before = tree_bytes(root_of(store))
    assert restore_manifests(Cache(root_of(store))[DATASET]) == []
    assert tree_bytes(root_of(store)) == before
    flip(manifest_of(older))
    assert restore_manifests(Cache(root_of(store))[DATASET]) == []


def test_of_several_copies_the_newest_good_one_counts(stores: DatasetStores, store: Store) -> None:
    """After a repair the copy of what it replaced lies there still."""
    attempt = open_attempt(stores.cache.backend)
    for number in range(3):
        write_partition(attempt, number)
    head = {"head_weight": np.ones((2, N_FEATURES), np.float32), "head_bias": np.zeros(2, np.float32)}
    newer, won = attempt.publish(
        kind="backbone",
        dataset_digest=store.manifest.dataset,
        samples=SAMPLES,
        arrays=head,
        made={},
        replaces=store.manifest_bytes,
    )
    assert won
    flip(manifest_of(store))
    restore_manifests(stores)
    assert manifest_of(store).read_bytes() == newer.to_bytes()
    flip(manifest_of(store))
    flip(root_of(store) / manifest_copy(folder_of(store), newer.attempt))
    restore_manifests(stores)
    assert manifest_of(store).read_bytes() == store.manifest_bytes


@pytest.mark.parametrize("older", ["0" * 32, "f" * 32])
def test_an_older_copy_is_not_restored_whatever_its_name(stores: DatasetStores, store: Store, older: str) -> None:
    backend = stores.cache.backend
    left = replace(store.manifest, attempt=older, made={"created": "1999"})
    backend.write(manifest_copy(folder_of(store), older), left.to_bytes())
    backend.write(f"{folder_of(store)}/attempts/{older}/zarr.json", b"{}")
    flip(manifest_of(store))
    restore_manifests(stores)
    assert manifest_of(store).read_bytes() == store.manifest_bytes


@pytest.mark.parametrize("why", ["no group", "another name", "no manifest"])
def test_a_copy_that_names_no_group_is_not_restored(stores: DatasetStores, store: Store, why: str) -> None:
    backend = stores.cache.backend
    newer = replace(store.manifest, attempt="0123", made={"created": "9999"})
    match why:
        case "no group":
            backend.write(manifest_copy(folder_of(store), "0123"), newer.to_bytes())
        case "another name":
            backend.write(manifest_copy(folder_of(store), "4567"), newer.to_bytes())
            backend.write(f"{folder_of(store)}/attempts/0123/zarr.json", b"{}")
        case "no manifest":
            backend.write(manifest_copy(folder_of(store), "0123"), b'{"created": "9999"}')
            backend.write(f"{folder_of(store)}/attempts/0123/zarr.json", b"{}")
    flip(manifest_of(store))
    restore_manifests(stores)
    assert manifest_of(store).read_bytes() == store.manifest_bytes


def test_what_is_being_published_is_not_restored(tmp_path: Path) -> None:
    """Its copy is there already, its manifest is not."""
    store = publish(tmp_path)
    attempt = open_attempt(LocalBackend(tmp_path))
    Publication(attempt._backend, DATASET, store.manifest).announce(attempt.folder, attempt._leases.nonce)
    manifest_of(store).unlink()
    assert restore_manifests(Cache(tmp_path)[DATASET]) == []
    assert not manifest_of(store).exists()
    attempt.close()


@pytest.mark.parametrize("look", ["lost", "damaged"])
def test_a_manifest_that_came_meanwhile_stays(
    stores: DatasetStores, store: Store, look: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody published or restored it after the look; the copy of a loser, newer than it, lies there still."""
    backend = stores.cache.backend
    loser = replace(store.manifest, attempt="0123", made={"created": "9999"})
    backend.write(manifest_copy(folder_of(store), "0123"), loser.to_bytes())
    backend.write(f"{folder_of(store)}/attempts/0123/zarr.json", b"{}")
    if look == "lost":
        monkeypatch.setattr("fusion_pipeline.store.care.mending.lost_manifests", lambda _: [store.folder])
    else:
        found = [(store.folder, IntegrityError("damaged when it was looked at"))]
        monkeypatch.setattr(DatasetStores, "survey", lambda _: found)
    assert restore_manifests(stores) == []
    assert manifest_of(store).read_bytes() == store.manifest_bytes


NEWER = [
    b'{"format": {"name": "fusion-store", "version": "2.0"}}',
    b'{"format": {"name": "fusion-store", "version": "1.9", "required_features": ["sharding"]}}',
]


@pytest.mark.parametrize("content", NEWER)
def test_a_manifest_of_another_version_is_left_alone(stores: DatasetStores, store: Store, content: bytes) -> None:
    manifest_of(store).write_bytes(content)
    assert restore_manifests(stores) == []
    with pytest.raises(FormatError, match="Upgrade fusion-pipeline"):
        DamagedStore.find(Cache(root_of(store)), folder_of(store))
    assert manifest_of(store).read_bytes() == content
    assert [[item.kind for item in report.damage] for report in verify_all(stores)] == [[], ["newer"]]


def test_a_manifest_that_was_swapped_with_another_file_is_restored(stores: DatasetStores, store: Store) -> None:
    before = tree_bytes(root_of(store))
    other = store.path / "zarr.json"
    content = other.read_bytes()
    other.write_bytes(store.manifest_bytes)
    manifest_of(store).write_bytes(content)
    assert restore_manifests(stores) == [f"{folder_of(store)}/manifest.json"]
    other.write_bytes(content)
    assert tree_bytes(root_of(store)) == before


def test_a_good_store_is_not_damaged(store: Store) -> None:
    cache = Cache(root_of(store))
    assert DamagedStore.find(cache, folder_of(store)) is None
    assert DamagedStore.find(cache, f"{DATASET}/alpha-0123") is None


def test_damage_is_found_and_looked_for_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(root_of(store))
    flip(store.path / "features/c/1/0")
    (store.path / "status/c/0").unlink()
    found = DamagedStore.find(cache, folder_of(store))
    assert found is not None
    assert found.damaged == {"features/c/1/0", "status/c/0"}
    assert (found.manifest, found.digest) == (store.manifest_bytes, store.manifest_digest)
    with monkeypatch.context() as patch:
        patch.setattr("fusion_pipeline.store.care.mending.verify", lambda _: pytest.fail("read again"))
        assert DamagedStore.find(cache, folder_of(store), found) is found
    put_manifest(store, replace(store.manifest, made={}))
    again = DamagedStore.find(cache, folder_of(store), found)
    assert again is not None
    assert again.digest != found.digest


@pytest.mark.parametrize("content", [b"{", b"[]"])
def test_a_store_whose_manifest_cannot_be_read_is_damaged(store: Store, content: bytes) -> None:
    manifest_of(store).write_bytes(content)
    found = DamagedStore.find(Cache(root_of(store)), folder_of(store))
    assert found == DamagedStore(content, None, frozenset())


def mended(store: Store, encoder: GroupEncoder | None = None) -> Attempt:
    """Return an attempt that took over what is good of a damaged store."""
    damaged = DamagedStore.find(Cache(root_of(store)), folder_of(store))
    assert damaged is not None
    encoder = encoder or make_encoder()
    attempt = Attempt.open(store.backend, DATASET, "alpha", RECIPE, encoder)
    damaged.hand_over(attempt, encoder)
    return attempt


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["features/c/1/0", "imagenet_probabilities/c/1/0", "status/c/1"])
def test_only_the_damaged_partition_is_lacking(store: Store, file: str, damage: str) -> None:
    content = store.manifest.content
    DAMAGES[damage](store.path / file)
    attempt = mended(store)
    assert missing_partitions(attempt) == [1]
    record = attempt.record(2, SAMPLES[4:])
    assert record is not None
    assert np.array_equal(attempt.read(2, record, "features"), FEATURES[4:])
    write_partition(attempt, 0)  # whose image could not be read, says the index: here it can
    manifest, _ = finish(attempt, "sha256:" + "3" * 64)
    assert manifest.content == content


@pytest.mark.parametrize("file", ["head_weight/c/0/0", "features/zarr.json", "zarr.json"])
def test_what_is_not_per_sample_costs_no_partition(store: Store, file: str) -> None:
    flip(store.path / file)
    attempt = mended(store)
    assert missing_partitions(attempt) == []
    attempt.close()


def test_what_was_told_of_the_store_is_told_of_its_partitions(store: Store) -> None:
    put_manifest(store, replace(store.manifest, made={**store.manifest.made, "softmax_deviation": 0.25}))
    flip(store.path / "features/c/1/0")
    digest = Cache(root_of(store))[DATASET]["alpha"].manifest_digest
    attempt = mended(store)
    assert [record.told for _, record in attempt.records()] == [
        {"softmax_deviation": 0.25, "reused": {digest: rows}} for rows in (2, 1)
    ]
    attempt.close()


def mend(store: Store, made: Mapping[str, Any]) -> Store:
    """Mend a store whose partition 1 is damaged, on another machine."""
    flip(store.path / "features/c/1/0")
    damaged = DamagedStore.find(Cache(root_of(store)), folder_of(store))
    assert damaged is not None
    attempt = mended(store)
    write_partition(attempt, 1)
    head = {"head_weight": np.ones((2, N_FEATURES), np.float32), "head_bias": np.zeros(2, np.float32)}
    _, won = attempt.publish(
        kind="backbone",
        dataset_digest=store.manifest.dataset,
        samples=["", *SAMPLES[1:]],
        arrays=head,
        made=made,
        replaces=damaged.manifest,
    )
    assert won
    return Cache(root_of(store))[DATASET]["alpha"]


def test_a_mended_store_says_what_made_the_rows_that_stayed(store: Store) -> None:
    gpu, old = {"device": "H100", "batch_size": 64, "versions": {"torch": "2"}}, {"device": "older"}
    made = {**gpu, "also_made_with": [old], "reused_from": {"sha256:another": 4}, "migrated_from": "sha256:first"}
    damaged = put_manifest(store, replace(store.manifest, made={**made, "created": "2020", "user": "ada"}))
    again = mend(damaged, {"device": "cpu", "threads": 8})
    told = again.manifest.made
    assert (told["device"], told["threads"], "batch_size" in told) == ("cpu", 8, False)
    assert told["also_made_with"] == [gpu, old]
    assert told["reused_from"] == {damaged.manifest_digest: 3, "sha256:another": 4}
    assert told["migrated_from"] == "sha256:first"
    third = mend(again, gpu)
    assert third.manifest.made["also_made_with"] == [{"device": "cpu", "threads": 8}, old]
    assert third.manifest.made["reused_from"] == {again.manifest_digest: 3, **told["reused_from"]}
    assert third.manifest.made["migrated_from"] == "sha256:first"


def test_what_an_attempt_has_already_is_not_taken_over(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    flip(store.path / "features/c/1/0")
    mended(store).close()
    monkeypatch.setattr(Attempt, "adopt", lambda *_: pytest.fail("taken over again"))
    again = mended(store)
    assert missing_partitions(again) == [1]
    again.close()


def test_bad_rows_stay_bad(tmp_path: Path) -> None:
    publish_index(tmp_path)
    attempt = open_attempt(LocalBackend(tmp_path))
    write_partition(attempt, 0)
    write_partition(attempt, 2)
    rows = {"features": FEATURES[2:4], "imagenet_probabilities": np.full((2, 2), np.nan, np.float16)}
    attempt.write(1, {**rows, "status": np.array([0, 6], np.uint8)}, SAMPLES[2:4], {3: 6})
    finish(attempt)
    store = Cache(tmp_path)[DATASET]["alpha"]
    flip(store.path / "features/c/0/0")
    again = mended(store)
    (bad,) = (record.bad for partition, record in again.records() if partition == 1)
    assert bad == {3: 6}
    again.close()


@pytest.mark.parametrize("why", ["no index", "damaged index", "other partitions", "no manifest"])
def test_without_knowing_whose_rows_they_are_nothing_is_taken_over(store: Store, why: str) -> None:
    flip(store.path / "features/c/1/0")
    encoder = make_encoder()
    match why:
        case "no index":
            manifest_of(store.index).unlink()
        case "damaged index":
            flip(store.index.path / "sha256/c/0/0")
        case "other partitions":
            encoder = GroupEncoder(backbone_arrays(N_FEATURES, 2, "float16", head=True), ROWS, 4)
        case "no manifest":
            flip(manifest_of(store))
    attempt = mended(store, encoder)
    assert list(attempt.records()) == []
    attempt.close()


def test_sums_that_contradict_each_other_are_reckoned_anew(store: Store) -> None:
    wrong = {"features/c/1/0": replace(store.manifest.files["features/c/1/0"], crc32c="00000000")}
    damaged = put_manifest(store, replace(store.manifest, files={**store.manifest.files, **wrong}))
    found = DamagedStore.find(Cache(root_of(store)), folder_of(store))
    assert found is not None
    assert found.damaged == {"manifest.json"}
    attempt = mended(damaged)
    assert missing_partitions(attempt) == []
    (entry,) = (record.files["features/c/1/0"] for partition, record in attempt.records() if partition == 1)
    assert entry.crc32c == store.manifest.files["features/c/1/0"].crc32c
    attempt.close()


@pytest.mark.parametrize(("number", "raises"), [(errno.EACCES, True), (errno.ETIMEDOUT, True), (errno.EIO, False)])
def test_an_index_that_cannot_be_seen_costs_no_computation(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: int, raises: bool
) -> None:
    flip(store.path / "features/c/1/0")
    damaged = DamagedStore.find(Cache(root_of(store)), folder_of(store))
    assert damaged is not None
    attempt = open_attempt(store.backend)
    fail_to_open(monkeypatch, "sha256/c/0/0", number)
    with pytest.raises(StorageError) if raises else nullcontext():
        damaged.hand_over(attempt, make_encoder())
    assert list(attempt.records()) == []
    attempt.close()


def test_a_mended_store_replaces_the_damaged_one(store: Store) -> None:
    manifest = mend(store, {}).manifest
    (found,) = (found for found in Cache(root_of(store))[DATASET].stores() if found.is_backbone)
    assert (found.manifest, found.folder) == (manifest, store.folder)
    assert found.manifest.content == store.manifest.content
    assert list(verify(found)) == []
    assert np.array_equal(found.features[:], FEATURES)


def test_good_chunks_of_a_store_of_format_1_0_are_taken_over(store: Store) -> None:
    older = as_format_1_0(store)
    flip(older.path / "features/c/1/0")
    attempt = mended(older)
    assert missing_partitions(attempt) == [1]
    attempt.close()
