"""What reading from an object store asks for: what is needed, and with a local copy every file once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fusion_pipeline.errors import IntegrityError
from fusion_pipeline.store import Cache, Store
from fusion_pipeline.store.bulk import Check
from fusion_pipeline.store.storage.objects import ObjectBackend
from tests.store.made import DATASET, FEATURES, PARTITIONS, publish, publish_index

CHUNK = "features/c/1/0"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the objects whose content was asked for, so far."""
    asked: list[str] = []
    true_read = ObjectBackend.read

    def read(self: ObjectBackend, path: str, at_most: int | None = None) -> bytes | None:
        asked.append(path)
        return true_read(self, path, at_most)

    monkeypatch.setattr(ObjectBackend, "read", read)
    return asked


@pytest.fixture
def remote(s3: str, reads: list[str]) -> str:
    """Location of a cache with an index and a backbone."""
    publish_index(s3)
    publish(s3)
    reads.clear()
    return s3


def of_groups(reads: list[str]) -> list[str]:
    """Return what was asked for of the Zarr groups, without the folders above."""
    return [path.split("/", 4)[4] for path in reads if path.count("/") > 3]


def opened(remote: str, copy: Path | None = None) -> Store:
    return Cache(remote, copy=copy)[DATASET]["alpha"]


def test_stores_are_found_without_reading_their_groups(remote: str, reads: list[str]) -> None:
    assert list(Cache(remote)) == [DATASET]
    assert [store.name for store in Cache(remote)[DATASET].current()] == ["index", "alpha"]
    assert of_groups(reads) == []


def test_reading_as_in_a_notebook(remote: str) -> None:
    store = opened(remote)
    np.testing.assert_array_equal(store.features[...], FEATURES)
    np.testing.assert_array_equal(store.read("features"), FEATURES)
    assert store.labels.tolist() == [0, 0, 1, 1, 1]
    assert store.sample_ids[0] == "a/0.png"
    assert store.location.startswith(remote)


def test_rows_of_one_chunk_need_that_chunk(remote: str, reads: list[str]) -> None:
    features = opened(remote).features
    reads.clear()
    np.testing.assert_array_equal(features[2:4], FEATURES[2:4])
    assert of_groups(reads) == [CHUNK]


def test_one_array_needs_its_own_files(remote: str, reads: list[str]) -> None:
    store = opened(remote)
    store.read("features")
    chunks = [f"features/c/{number}/0" for number in range(PARTITIONS)]
    assert sorted(set(of_groups(reads))) == [*chunks, "features/zarr.json", "zarr.json"]
    assert [path for path in sorted(of_groups(reads)) if "/c/" in path] == chunks


def test_with_a_local_copy_every_file_is_fetched_once(remote: str, reads: list[str], tmp_path: Path) -> None:
    for _ in range(2):
        store = opened(remote, tmp_path)
        np.testing.assert_array_equal(store.read("features"), FEATURES)
        np.testing.assert_array_equal(store.features[1:], FEATURES[1:])
        assert store.labels.tolist() == [0, 0, 1, 1, 1]
    fetched = [path for path in reads if path.count("/") > 3]
    assert len(fetched) == len(set(fetched)) > PARTITIONS
    reads.clear()
    Store.open(opened(remote, tmp_path).ref).read("features")
    assert of_groups(reads) == []


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "flipped": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "cut": lambda content: content[:-1],
    "longer": lambda content: content + b"?",
    "empty": lambda _: b"",
}


@pytest.mark.parametrize("file", [CHUNK, "features/zarr.json"])
@pytest.mark.parametrize("check", ["sha256", "crc32c"])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_copy_is_fetched_anew(
    remote: str, reads: list[str], tmp_path: Path, damage: Callable[[bytes], bytes], check: Check, file: str
) -> None:
    store = opened(remote, tmp_path)
    store.read("features")
    kept = tmp_path / store.file(file)
    whole = kept.read_bytes()
    kept.write_bytes(damage(whole))
    reads.clear()
    np.testing.assert_array_equal(opened(remote, tmp_path).read("features", check), FEATURES)
    assert of_groups(reads) == [file]
    assert kept.read_bytes() == whole


def test_a_damaged_object_is_not_kept(remote: str, tmp_path: Path) -> None:
    store = opened(remote, tmp_path)
    store.backend.write(store.file(CHUNK), b"?" * store.manifest.files[CHUNK].length)
    with pytest.raises(IntegrityError, match=CHUNK):
        store.read("features")
    assert not (tmp_path / store.file(CHUNK)).exists()


def test_fetching_reads_an_array_ahead(remote: str, reads: list[str], tmp_path: Path) -> None:
    store = opened(remote, tmp_path)
    store.fetch("features")
    assert {path for path in of_groups(reads) if "/c/" in path} == {f"features/c/{i}/0" for i in range(PARTITIONS)}
    reads.clear()
    store.fetch("features")
    np.testing.assert_array_equal(store.read("features"), FEATURES)
    assert of_groups(reads) == []


def test_fetching_without_a_place_for_copies_reads_nothing(remote: str, reads: list[str]) -> None:
    store = opened(remote)
    reads.clear()
    store.fetch("features")
    assert reads == []
