"""Exports: the very values in files that need none of our code, whole or not there at all."""

from __future__ import annotations

import csv
import errno
import json
import os
import sys
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from obstore.store import MemoryStore
from pyarrow import parquet

from fusion_pipeline.errors import IncompleteError, IntegrityError, StorageError, UsageError
from fusion_pipeline.store import Cache, Store
from fusion_pipeline.store.care.export import Format, export
from fusion_pipeline.store.layout import CLASS_NAMES, ArraySpec, GroupEncoder, backbone_arrays, index_arrays
from fusion_pipeline.store.making.attempt import Attempt
from fusion_pipeline.store.storage.backend import Backend
from fusion_pipeline.store.storage.local import LocalBackend
from fusion_pipeline.store.storage.objects import ObjectBackend
from tests.store.made import DATASET, FEATURES, SAMPLES, VERSION, publish, publish_index

PATHS = ["a/0.png", "a/%FF.png", "b/2.png", "b/3.png", "b/4.png"]
FORMATS: list[Format] = ["npy", "parquet"]


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A backbone's store with its index, in storages of both kinds."""
    root = tmp_path / "cache"
    publish_index(root)
    made = publish(root)
    if request.param == "folder":
        return made
    backend = ObjectBackend("s3://team/features", store=MemoryStore())
    copy_cache(LocalBackend(root), backend)
    return Store(backend, DATASET, made.folder)


def copy_cache(source: Backend, target: Backend) -> None:
    for file in source.walk(""):
        target.write(file.path, source.read(file.path) or b"")


def test_npy(store: Store, tmp_path: Path) -> None:
    written = export([store], tmp_path / "out", "npy")
    assert written == {"alpha": tmp_path / "out" / "alpha"}
    loaded = {path.stem: np.load(path) for path in written["alpha"].glob("*.npy")}
    assert set(loaded) == {"features", "imagenet_probabilities", "status", "label"}
    assert loaded["features"].dtype == np.float16
    assert np.array_equal(loaded["features"], FEATURES)
    assert np.array_equal(loaded["imagenet_probabilities"], np.full((5, 2), 0.5))
    assert loaded["label"].tolist() == [0, 0, 1, 1, 1]
    assert loaded["status"].tolist() == [0] * 5
    with (written["alpha"] / "samples.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["row", "path", "sha256", "label", "class_name"]
    assert rows == [
        [str(row), PATHS[row], SAMPLES[row] if row else "", str(int(row > 1)), "ab"[row > 1]] for row in range(5)
    ]
    assert tuple(unquote_to_bytes(row[1]) for row in rows) == store.sample_paths


def test_parquet(store: Store, tmp_path: Path) -> None:
    written = export([store], tmp_path / "out", "parquet")
    assert written == {"alpha": tmp_path / "out" / "alpha.parquet"}
    file = parquet.ParquetFile(written["alpha"])
    assert file.schema_arrow.names == [
        "sample_path", "sha256", "label", "class_name", "status", "features", "imagenet_probabilities",
    ]  # fmt: skip
    assert str(file.schema_arrow.field("features").type) == "fixed_size_list<element: halffloat>[3]"
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [2, 2, 1]
    columns = file.read().to_pydict()
    assert np.array_equal(np.array(columns["features"], np.float16), FEATURES)
    assert columns["imagenet_probabilities"] == [[0.5, 0.5]] * 5
    assert columns["sample_path"] == PATHS
    assert columns["sha256"] == [None, *SAMPLES[1:]]  # made.SAMPLES has zeros for the first: a file not read
    assert columns["class_name"] == ["a", "a", "b", "b", "b"]
    assert (columns["label"], columns["status"]) == ([0, 0, 1, 1, 1], [0] * 5)
    described = json.loads(file.schema_arrow.metadata[b"fusion"])
    assert (described["manifest"], described["index_manifest"]) == (store.manifest_digest, store.index.manifest_digest)


def test_splits_are_written_where_there_are_some(tmp_path: Path) -> None:
    splits = ["train", "", "test", "train\n", "test"]
    publish_index(tmp_path / "cache", split=splits)
    store, as_written = publish(tmp_path / "cache"), ["train", "", "test", "train%0A", "test"]
    assert store.splits == tuple(splits)
    folder = export([store], tmp_path / "npy", "npy")["alpha"]
    with (folder / "samples.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["row", "path", "sha256", "label", "class_name", "split"]
    assert [row[-1] for row in rows] == as_written
    table = parquet.ParquetFile(export([store], tmp_path / "parquet", "parquet")["alpha"]).read()
    assert table.column_names[3:6] == ["class_name", "split", "status"]
    assert table["split"].to_pylist() == as_written


@pytest.mark.parametrize("file_format", FORMATS)
def test_several_stores_say_what_they_were(tmp_path: Path, file_format: Format) -> None:
    publish_index(tmp_path / "cache")
    stores = [publish(tmp_path / "cache", name) for name in ("alpha", "timm:beta")]
    written = export(stores, tmp_path / "deep" / "out", file_format)
    assert list(written) == ["alpha", "timm-beta"]
    assert all(path.exists() for path in written.values())
    described = json.loads((tmp_path / "deep" / "out" / "export.json").read_text())
    assert described["format"] == file_format
    assert {name: item["manifest"] for name, item in described["stores"].items()} == {
        "alpha": stores[0].manifest_digest, "timm-beta": stores[1].manifest_digest,
    }  # fmt: skip
    assert described["stores"]["alpha"]["class_names"] == ["a", "b"]


def publish_wide(root: Path, partitions: int) -> Store:
    """Publish a store without probabilities, one MiB a partition of one row, and its index; return it."""
    backend, features = LocalBackend(root), 1 << 19
    samples = [f"{row + 1:064x}" for row in range(partitions)]
    status = np.zeros(1, np.uint8)

    def finish(name: str, specs: Sequence[ArraySpec], arrays: Mapping[str, np.ndarray], row: dict[str, int]) -> None:
        encoder = GroupEncoder(specs, partitions, 1, {CLASS_NAMES: ["a"]})
        attempt = Attempt.open(backend, DATASET, name, {"kind": name}, encoder)
        for number in range(partitions):
            values = {array: np.full((1, length), number, np.float16) for array, length in row.items()}
            attempt.write(number, {"status": status, **values}, samples[number : number + 1], {})
        kind = "index" if name == "index" else "backbone"
        attempt.publish(kind=kind, dataset_digest=VERSION, samples=samples, arrays=arrays, made={})

    whole = {
        "sample_path_bytes": np.zeros(partitions, np.uint8) + ord("a"),
        "sample_path_offsets": np.arange(partitions + 1),
        "sha256": np.array([list(bytes.fromhex(sample)) for sample in samples], np.uint8),
        "label": np.zeros(partitions, np.int32),
    }
    finish("index", index_arrays(partitions, partitions, ()), whole, {})
    finish("wide", backbone_arrays(features, 0, "float16", head=False), {}, {"features": features})
    return Cache(root)[DATASET]["wide"]


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_network_without_a_head_has_no_probabilities(tmp_path: Path, file_format: Format) -> None:
    written = export([publish_wide(tmp_path / "cache", 2)], tmp_path / "out", file_format)["wide"]
    if file_format == "npy":
        assert sorted(path.stem for path in written.iterdir()) == ["features", "label", "samples", "status"]
    else:
        assert "imagenet_probabilities" not in parquet.read_schema(written).names


@pytest.mark.parametrize("file_format", FORMATS)
def test_memory_holds_a_few_partitions_only(tmp_path: Path, file_format: Format) -> None:
    store = publish_wide(tmp_path / "cache", 40)
    tracemalloc.start()
    written = export([store], tmp_path / "out", file_format)["wide"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20
    if file_format == "npy":
        assert np.array_equal(np.load(written / "features.npy", mmap_mode="r")[:, 0], np.arange(40))
    else:
        assert parquet.ParquetFile(written).num_row_groups == 40


def publish_long(root: Path, rows: int) -> tuple[Store, list[str]]:
    """Publish a store of one feature for many images with long names, and its index; return it, and the names."""
    backend, length, samples = LocalBackend(root), 2_000, [f"{row + 1:064x}" for row in range(rows)]
    paths = [f"a/{row:0600}.png" for row in range(rows)]
    whole = {
        "sample_path_bytes": np.frombuffer("".join(paths).encode(), np.uint8),
        "sample_path_offsets": np.cumsum([0, *map(len, paths)]),
        "sha256": np.frombuffer(bytes.fromhex("".join(samples)), np.uint8).reshape(rows, 32),
        "label": np.arange(rows, dtype=np.int32) % 2,
    }
    specs = {
        "index": index_arrays(rows, sum(map(len, paths)), ()),
        "long": backbone_arrays(1, 0, "float16", head=False),
    }
    for name, kind in (("index", "index"), ("long", "backbone")):
        encoder = GroupEncoder(specs[name], rows, length, {CLASS_NAMES: ["a", "b"]})
        attempt = Attempt.open(backend, DATASET, name, {"kind": name}, encoder)
        for number, start in enumerate(range(0, rows, length)):
            arrays: dict[str, np.ndarray] = {"status": np.zeros(len(samples[start : start + length]), np.uint8)}
            features = {"features": np.zeros((len(arrays["status"]), 1), np.float16)} if kind == "backbone" else {}
            attempt.write(number, {**arrays, **features}, samples[start : start + length], {})
        values = whole if kind == "index" else {}
        attempt.publish(kind=kind, dataset_digest=VERSION, samples=samples, arrays=values, made={})
    return Cache(root)[DATASET]["long"], paths


@pytest.mark.parametrize("file_format", FORMATS)
def test_memory_holds_what_the_index_says_of_a_few_partitions_only(tmp_path: Path, file_format: Format) -> None:
    rows = 45_001
    store, paths = publish_long(tmp_path / "cache", rows)
    tracemalloc.start()
    written = export([store], tmp_path / "out", file_format)["long"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < sum(map(len, paths))
    labels = [row % 2 for row in range(rows)]
    if file_format == "npy":
        assert np.load(written / "label.npy").tolist() == labels
        with (written / "samples.csv").open(encoding="utf-8", newline="") as file:
            table = list(csv.reader(file))[1:]
        assert [row[1] for row in table] == paths
        assert [int(row[2], 16) for row in table] == list(range(1, rows + 1))
    else:
        columns = parquet.read_table(written).to_pydict()
        assert (columns["sample_path"], columns["label"]) == (paths, labels)
        assert [int(digest, 16) for digest in columns["sha256"]] == list(range(1, rows + 1))


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("place", ["folder", "file", "dangling link"])
def test_what_is_there_is_never_touched(tmp_path: Path, file_format: Format, place: str) -> None:
    publish_index(tmp_path / "cache")
    store, target = publish(tmp_path / "cache"), tmp_path / "out"
    {"folder": target.mkdir, "file": target.touch, "dangling link": lambda: target.symlink_to("nowhere")}[place]()
    with pytest.raises(UsageError, match=r"There is something at '.*out' already"):
        export([store], target, file_format)
    assert sorted(os.listdir(tmp_path)) == ["cache", "out"]


def test_wrong_calls(tmp_path: Path) -> None:
    index, store = publish_index(tmp_path), publish(tmp_path)
    with pytest.raises(UsageError, match="no features to export"):
        export([store, index], tmp_path / "out", "npy")
    with pytest.raises(UsageError, match="Two of the stores are called 'alpha'"):
        export([store, store], tmp_path / "out", "npy")
    with pytest.raises(UsageError, match="no folder"):
        export([store], "s3://team/out", "npy")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("file_format", FORMATS)
def test_damage_is_found_and_nothing_left(tmp_path: Path, file_format: Format) -> None:
    publish_index(tmp_path / "cache")
    good, bad = publish(tmp_path / "cache", "good"), publish(tmp_path / "cache", "bad")
    (bad.path / "features/c/2/0").write_bytes(b"\0" * 16)
    with pytest.raises(IntegrityError, match="features/c/2/0"):
        export([good, bad], tmp_path / "out", file_format)
    assert os.listdir(tmp_path) == ["cache"]


def test_an_index_that_is_missing(tmp_path: Path) -> None:
    store = publish(tmp_path / "cache")
    with pytest.raises(IncompleteError, match="has no index"):
        export([store], tmp_path / "out", "npy")
    assert os.listdir(tmp_path) == ["cache"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    publish_index(tmp_path / "cache")
    store = publish(tmp_path / "cache")

    def failing(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(StorageError, match=f"out' cannot be written: {os.strerror(number)}. Make room"):
        export([store], tmp_path / "out", "npy")
    assert os.listdir(tmp_path) == ["cache"]


def test_without_the_library_for_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_index(tmp_path / "cache")
    store = publish(tmp_path / "cache")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(IncompleteError, match=r"pip install 'fusion-pipeline\[parquet\]'"):
        export([store], tmp_path / "out", "parquet")
    assert os.listdir(tmp_path) == ["cache"]
