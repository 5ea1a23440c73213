"""Rows by the sha256 of their image: from published stores, other attempts and the attempt at hand."""

from __future__ import annotations

import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusion_pipeline.store import Cache, Store
from fusion_pipeline.store.identity import canonical_json
from fusion_pipeline.store.layout import GroupEncoder, backbone_arrays
from fusion_pipeline.store.making.attempt import Attempt
from fusion_pipeline.store.making.known import (
    KnownRows,
    PublishedRows,
    add_published,
    add_record,
    add_unfinished,
    made_alike,
    readable_stores,
)
from fusion_pipeline.store.making.record import PartitionRecord, parse_record
from fusion_pipeline.store.storage.backend import Backend
from fusion_pipeline.store.storage.local import LocalBackend
from tests.store.made import (
    DATASET,
    FEATURES,
    N_FEATURES,
    PARTITION_ROWS,
    RECIPE,
    SAMPLES,
    make_encoder,
    open_attempt,
    publish,
    publish_index,
    put_manifest,
    root_of,
    write_partition,
)

ARRAYS = ("features", "imagenet_probabilities", "status")
OTHER_RECIPE = {"kind": "backbone", "made": "otherwise"}
UNKNOWN = "ee" * 32


@pytest.fixture
def known() -> KnownRows:
    return KnownRows(ARRAYS)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A published store whose first image could not be read."""
    publish_index(tmp_path)
    return publish(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> LocalBackend:
    return LocalBackend(tmp_path)


def features(known: KnownRows, sha256: str) -> list[float] | None:
    found = known.take(sha256)
    return None if found is None else found[1]["features"].tolist()


def expected(row: int) -> list[float]:
    return [float(value) for value in FEATURES[row]]


def test_rows_of_a_published_store(known: KnownRows, store: Store) -> None:
    add_published(known, store)
    assert len(known) == 4
    for row in (1, 2, 3, 4):
        found = known.take(SAMPLES[row])
        assert found is not None
        name, arrays = found
        assert name == store.manifest_digest
        assert set(arrays) == set(ARRAYS)
        assert arrays["features"].tolist() == expected(row)
        assert arrays["features"].dtype == np.float16
        assert arrays["imagenet_probabilities"].tolist() == [0.5, 0.5]
    assert known.take(UNKNOWN) is None


def test_a_file_that_could_not_be_read_is_no_image(known: KnownRows, store: Store) -> None:
    """The fixture's first sample has a sha256 of zeros only, which stands for that."""
    add_published(known, store)
    assert known.take("") is None
    assert known.take(SAMPLES[0]) is None


def test_a_row_that_could_not_be_decoded_is_not_known(known: KnownRows, folder: LocalBackend) -> None:
    publish_index(folder.root)
    attempt = open_attempt(folder)
    write_partition(attempt, 0)
    write_partition(attempt, 2)
    nothing: dict[str, Any] = {
        name: np.full((2, n), np.nan, np.float16) for name, n in zip(ARRAYS, (3, 2), strict=False)
    }
    attempt.write(1, {**nothing, "status": np.array([0, 6], np.uint8)}, SAMPLES[2:4], {3: 6})
    for partition, record in attempt.records():
        add_record(known, attempt, partition, record, partition * PARTITION_ROWS)
    assert [known.take(sha256) is None for sha256 in SAMPLES] == [False, False, False, True, False]
    head = {"head_weight": np.ones((2, N_FEATURES), np.float32), "head_bias": np.zeros(2, np.float32)}
    version = Cache(folder.root)[DATASET].index().manifest.dataset
    attempt.publish(kind="backbone", dataset_digest=version, samples=SAMPLES, arrays=head, made={})
    published = KnownRows(ARRAYS)
    add_published(published, Cache(folder.root)[DATASET]["alpha"])
    assert [published.take(sha256) is None for sha256 in SAMPLES] == [True, False, False, True, False]


def test_rows_of_the_attempt_at_hand(known: KnownRows, backend: Backend) -> None:
    attempt = open_attempt(backend)
    write_partition(attempt, 1)
    ((partition, record),) = attempt.records()
    add_record(known, attempt, partition, record, 2)
    assert features(known, SAMPLES[3]) == expected(3)
    assert (known.take(SAMPLES[2]) or ("",))[0] == "this store"
    assert known.take(SAMPLES[0]) is None
    attempt.close()


def attempt_at_more(backend: Backend, listing: str = "more", partition_rows: int = 4) -> tuple[Attempt, GroupEncoder]:
    """Return another attempt at such a store: of other images, and in larger partitions."""
    encoder = GroupEncoder(backbone_arrays(N_FEATURES, 2, "float16", head=True), 9, partition_rows)
    return Attempt.open(backend, DATASET, "alpha", RECIPE, encoder, listing=listing), encoder


def test_rows_of_attempts_that_were_left(known: KnownRows, backend: Backend) -> None:
    left = open_attempt(backend)
    write_partition(left, 0)
    write_partition(left, 2)
    left.close()
    attempt, encoder = attempt_at_more(backend)
    add_unfinished(known, backend, attempt, encoder)
    assert [features(known, sha256) for sha256 in SAMPLES] == [expected(0), expected(1), None, None, expected(4)]
    assert (known.take(SAMPLES[4]) or ("",))[0] == "an unfinished store"
    attempt.close()


def test_an_attempt_made_otherwise_is_passed_over(known: KnownRows, backend: Backend) -> None:
    left = open_attempt(backend, recipe=OTHER_RECIPE)
    write_partition(left, 0)
    left.close()
    attempt, encoder = attempt_at_more(backend)
    add_unfinished(known, backend, attempt, encoder)
    assert len(known) == 0
    attempt.close()


def test_the_attempt_at_hand_is_not_another_one(known: KnownRows, backend: Backend) -> None:
    attempt = open_attempt(backend)
    write_partition(attempt, 0)
    add_unfinished(known, backend, attempt, make_encoder())
    assert len(known) == 0
    attempt.close()


@pytest.mark.parametrize("change", ["description", "rows", "negative", "record", "number", "samples"])
def test_what_an_attempt_tells_wrongly_is_passed_over(known: KnownRows, folder: LocalBackend, change: str) -> None:
    left = open_attempt(folder)
    write_partition(left, 0)
    left.close()
    description = folder.path(f"{left.folder}/attempt.json")
    (done,) = folder.path(f"{left.folder}/done").iterdir()
    record = parse_record(done.read_bytes())
    assert record is not None
    stated = {"recipe": dict(RECIPE), "rows": 5, "partition_rows": 2}
    match change:
        case "description":
            description.write_bytes(b"{")
        case "rows":
            description.write_bytes(canonical_json({**stated, "rows": "many"}))
        case "negative":
            description.write_bytes(canonical_json({**stated, "rows": -5}))
        case "record":
            done.write_bytes(done.read_bytes()[:-2])
        case "number":
            done.rename(done.with_name("7-0123.json"))
        case "samples":
            longer = PartitionRecord((*record.samples, UNKNOWN), {}, record.files, record.part)
            done.write_bytes(longer.to_bytes())
    attempt, encoder = attempt_at_more(folder)
    add_unfinished(known, folder, attempt, encoder)
    assert len(known) == 0
    assert known.take(UNKNOWN) is None
    attempt.close()


@pytest.mark.parametrize("where", ["published", "left", "at hand"])
def test_a_damaged_row_is_not_known(known: KnownRows, folder: LocalBackend, where: str) -> None:
    """It is computed instead, and so are the other rows of its chunk."""
    if where == "published":
        publish_index(folder.root)
        published = publish(folder.root)
        add_published(known, published)
        (damaged,) = published.path.glob("features/c/1/0")
    else:
        attempt = open_attempt(folder)
        for number in range(3):
            write_partition(attempt, number)
        if where == "at hand":
            for partition, record in attempt.records():
                add_record(known, attempt, partition, record, 2 * partition)
        else:
            add_unfinished(known, folder, *attempt_at_more(folder))
        (damaged,) = folder.root.rglob("1-*features*")
        attempt.close()
    damaged.write_bytes(bytes(len(damaged.read_bytes())))
    assert [known.take(sha256) is None for sha256 in SAMPLES[1:]] == [False, True, True, False]
    assert known.take(SAMPLES[2]) is None


def test_a_store_without_an_index_knows_nothing(known: KnownRows, tmp_path: Path) -> None:
    add_published(known, publish(tmp_path))
    assert len(known) == 0


def test_a_damaged_status_or_index_knows_nothing(known: KnownRows, store: Store) -> None:
    chunk = store.path / "status/c/0"
    chunk.write_bytes(b"")
    add_published(known, Store(store.backend, DATASET, store.folder))
    assert len(known) == 0
    (store.index.path / "sha256/c/0/0").unlink()
    add_published(known, Store(store.backend, DATASET, store.folder))
    assert len(known) == 0


def test_who_is_known_first_stays(known: KnownRows, store: Store, folder: LocalBackend) -> None:
    attempt = open_attempt(folder)
    write_partition(attempt, 0)
    ((partition, record),) = attempt.records()
    add_record(known, attempt, partition, record, 0)
    add_published(known, store)
    assert [(known.take(sha256) or ("",))[0] for sha256 in SAMPLES[:3]] == [*["this store"] * 2, store.manifest_digest]
    attempt.close()


class Counting:
    """A source that counts how often each of its chunks is read."""

    name = "counting"

    def __init__(self) -> None:
        self.reads: list[tuple[int, str]] = []

    def read(self, partition: int, array: str) -> np.ndarray:
        self.reads.append((partition, array))
        time.sleep(0.001)  # as a disk would: other threads come in between
        return np.full((2, 1), partition)


def test_a_chunk_is_read_once_for_all_its_rows_and_threads(known: KnownRows) -> None:
    source = Counting()
    samples = [f"{number:064x}" for number in range(16)]
    for partition in range(8):
        known.add(source, partition, samples[2 * partition : 2 * partition + 2], lambda _: True)
    threads = [threading.Thread(target=lambda: [known.take(sha256) for sha256 in samples]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(source.reads) == sorted((partition, array) for partition in range(8) for array in ARRAYS)


def test_only_few_chunks_are_kept(known: KnownRows) -> None:
    source = Counting()
    samples = [f"{number:064x}" for number in range(40)]
    for partition in range(20):
        known.add(source, partition, samples[2 * partition : 2 * partition + 2], lambda _: True)
    for number, sha256 in enumerate(samples):
        found = known.take(sha256)
        assert found is not None
        assert found[1]["features"].tolist() == [number // 2]
    assert len(source.reads) == 20 * len(ARRAYS)
    known.take(samples[0])
    assert len(source.reads) == 21 * len(ARRAYS)


def test_an_image_that_is_bad_in_one_row_is_known_from_another(known: KnownRows) -> None:
    class Rows(Counting):
        def read(self, partition: int, array: str) -> np.ndarray:
            return np.arange(3)

    known.add(Rows(), 0, (UNKNOWN, SAMPLES[1], UNKNOWN), lambda offset: offset > 0)
    found = known.take(UNKNOWN)
    assert found is not None
    assert found[1]["features"] == 2


def test_an_image_costs_one_entry(known: KnownRows) -> None:
    samples = [tuple(f"{row:064x}" for row in range(512 * number, 512 * (number + 1))) for number in range(32)]
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number, part in enumerate(samples):
            known.add(Counting(), number, part, lambda _: True)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / len(known) < 60


def test_an_array_is_opened_once_for_all_partitions(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """To open it takes a look at all of its partitions."""
    opened: list[str] = []
    monkeypatch.setattr(Store, "_check", lambda _self, name: opened.append(name))
    rows = PublishedRows(store)
    assert [rows.read(partition, "features").tolist()[0] for partition in range(3)] == [
        expected(row) for row in (0, 2, 4)
    ]
    assert opened == ["features"]


def test_stores_made_alike_are_found_in_every_data_set(store: Store) -> None:
    root = root_of(store)
    publish(root, "beta", recipe=OTHER_RECIPE)
    newer = publish(root, version="sha256:" + "2" * 64)
    (root / DATASET).rename(root / "elsewhere")
    publish_index(root)
    stores = readable_stores(Cache(root))
    assert {(found.dataset, found.name) for found in stores} == {
        ("elsewhere", "alpha"),
        ("elsewhere", "beta"),
        ("elsewhere", "index"),
        (DATASET, "index"),
    }
    assert [found.manifest for found in made_alike(stores, RECIPE)] == [newer.manifest, store.manifest]
    assert made_alike(stores, {"kind": "backbone"}) == []


def test_stores_that_cannot_be_read_are_passed_over(store: Store) -> None:
    other = publish(root_of(store), "beta", recipe=OTHER_RECIPE)
    put_manifest(other, other.manifest)
    (other.path.parents[1] / "manifest.json").write_bytes(b"{")
    assert [found.name for found in made_alike(readable_stores(Cache(root_of(store))), RECIPE)] == ["alpha"]
    assert made_alike(readable_stores(Cache(root_of(store))), OTHER_RECIPE) == []
