"""Readers: every damage is found before a value is used, any other Zarr reader works, other folders are refused."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from fusion_pipeline.errors import FormatError, IncompleteError, IntegrityError, RefusedError, StorageError
from fusion_pipeline.store import Cache, Store
from fusion_pipeline.store.bulk import Check
from fusion_pipeline.store.care.verify import Damage, verify
from fusion_pipeline.store.manifest import FileEntry
from tests.builders import tree_bytes
from tests.store.made import DATASET, FEATURES, SAMPLES, publish, publish_index, put_manifest, root_of

OTHER_VERSION = "sha256:" + "2" * 64
CHUNK = "features/c/0/0"
OTHER_CHUNK = "features/c/1/0"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    publish_index(tmp_path)
    return publish(tmp_path)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def cut(keep: Callable[[int], int]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        os.truncate(path, keep(path.stat().st_size))

    return damage


DAMAGES = {
    "flip": (flip, "content"),
    "to 0": (cut(lambda _: 0), "length"),
    "to 3": (cut(lambda _: 3), "length"),
    "half": (cut(lambda n: n // 2), "length"),
    "one less": (cut(lambda n: n - 1), "length"),
    "delete": (Path.unlink, "missing"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", [CHUNK, "features/zarr.json", "zarr.json"])
def test_damage_is_found_before_it_is_used(store: Store, damage: str, file: str) -> None:
    make, kind = DAMAGES[damage]
    make(store.path / file)
    with pytest.raises(IntegrityError, match=file):
        _ = Cache(root_of(store))[DATASET]["alpha"].features[:]
    checks: tuple[Check, ...] = ("sha256", "crc32c")
    for check in checks:
        with pytest.raises(IntegrityError, match=file):
            Cache(root_of(store))[DATASET]["alpha"].read("features", check)
    assert list(verify(store)) == [Damage(file, kind)]


def test_swapped_chunks(store: Store) -> None:
    one, two = store.path / CHUNK, store.path / OTHER_CHUNK
    one_content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(one_content)
    with pytest.raises(IntegrityError, match=CHUNK):
        _ = store.features[:2]
    assert list(verify(store)) == [Damage(CHUNK, "content"), Damage(OTHER_CHUNK, "content")]


def test_rows_of_whole_chunks_can_still_be_read(store: Store) -> None:
    flip(store.path / CHUNK)
    assert np.array_equal(store.features[2:4], FEATURES[2:4])


def test_a_store_is_immutable(store: Store) -> None:
    before = tree_bytes(root_of(store))
    with pytest.raises((PermissionError, ValueError), match=r"immutable|read.only"):
        store.features[0] = 1
    assert tree_bytes(root_of(store)) == before


def test_values_and_index(store: Store) -> None:
    assert np.array_equal(store.features[:], FEATURES)
    assert np.asarray(store.probabilities[:]).tolist() == [[0.5, 0.5]] * 5
    assert store.status.tolist() == [0] * 5
    assert store.labels.tolist() == [0, 0, 1, 1, 1]
    assert store.class_names == ("a", "b")
    assert store.sample_paths == (b"a/0.png", b"a/\xff.png", b"b/2.png", b"b/3.png", b"b/4.png")
    assert store.sample_ids[1] == "a/\udcff.png"
    assert store.sample_sha256 == ("", *SAMPLES[1:])  # the first one's digest is all zeros: it could not be read
    assert np.asarray(store.thumbnails(32)[:, 0, 0, 0]).tolist() == [0, 0, 1, 1, 2]
    assert store.n_bytes == sum((store.path / name).stat().st_size for name in store.manifest.files)
    with pytest.raises(IncompleteError, match="no array 'embedding'"):
        store.array("embedding")


def test_plain_zarr_reads_a_store(store: Store) -> None:
    group = zarr.open_group(store.path, mode="r")
    features = group["features"]
    assert isinstance(features, zarr.Array)
    assert np.array_equal(features[:], FEATURES)
    assert group.attrs["made"] == "here"


def test_xarray_reads_a_store(store: Store) -> None:
    xarray = pytest.importorskip("xarray")
    with xarray.open_zarr(store.path, consolidated=False) as dataset:
        assert dataset["features"].dims == ("sample", "feature")
        assert np.array_equal(dataset["features"].values, FEATURES)


def test_a_reference_is_held_to_its_manifest(store: Store) -> None:
    assert np.array_equal(Store.open(store.ref).features[:], FEATURES)
    manifest = store.path.parents[1] / "manifest.json"
    manifest.write_bytes(replace(store.manifest, made={"why": "rest"}).to_bytes())
    with pytest.raises(IntegrityError, match="changed while it was in use"):
        Store.open(store.ref)


def test_a_backbone_called_index_is_not_taken_for_the_index(tmp_path: Path) -> None:
    store = publish(tmp_path, "index")
    with pytest.raises(IncompleteError, match="has no index"):
        _ = store.index
    publish_index(tmp_path)
    assert store.class_names == ("a", "b")


def test_a_failing_disk_is_not_a_missing_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    true_open = os.open

    def broken(path: Any, *arguments: Any, **options: Any) -> int:
        if str(path).endswith(CHUNK):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return true_open(path, *arguments, **options)

    monkeypatch.setattr(os, "open", broken)
    with pytest.raises(StorageError, match="Input/output error"):
        _ = store.features[:]


def test_a_chunk_that_the_manifest_does_not_name_is_damage(store: Store) -> None:
    files = {name: entry for name, entry in store.manifest.files.items() if name != OTHER_CHUNK}
    again = put_manifest(store, replace(store.manifest, files=files))
    with pytest.raises(IntegrityError, match=f"lacks chunk '{OTHER_CHUNK}'"):
        _ = again.features[:]
    assert list(verify(again)) == [Damage(OTHER_CHUNK, "missing")]


@pytest.mark.parametrize("change", [{"shape": [10**12, 3]}, {"shape": "many"}, {"chunk_grid": {}}, {"shape": [-4, 3]}])
def test_a_forged_shape_fills_no_memory(store: Store, change: dict[str, Any]) -> None:
    path = store.path / "features/zarr.json"
    content = json.dumps({**json.loads(path.read_bytes()), **change}).encode()
    path.write_bytes(content)
    files = {**store.manifest.files, "features/zarr.json": FileEntry.of(content)}
    forged = put_manifest(store, replace(store.manifest, files=files))
    assert list(verify(forged)) == [Damage("features/zarr.json", "content")]
    with pytest.raises((RefusedError, FormatError), match="features"):
        _ = forged.features


@pytest.mark.parametrize(("rows", "chunk_rows"), [(10**14, 10**14), (10**30, 10**30), (5, 10**14)])
def test_a_forged_chunk_fills_no_memory(store: Store, rows: int, chunk_rows: int) -> None:
    """All that a manifest says agrees, but for the files."""
    path = store.path / "features/zarr.json"
    stated = json.loads(path.read_bytes())
    stated["shape"][0] = rows
    stated["chunk_grid"]["configuration"]["chunk_shape"][0] = chunk_rows
    content = json.dumps(stated).encode()
    path.write_bytes(content)
    files = {name: entry for name, entry in store.manifest.files.items() if not name.startswith("features/")}
    files["features/zarr.json"] = FileEntry.of(content)
    files[CHUNK] = FileEntry(chunk_rows * 6 + 4, "0" * 64)
    forged = put_manifest(store, replace(store.manifest, files=files, rows=rows))
    with pytest.raises(IntegrityError, match=rf"{CHUNK}' is missing or damaged"):
        forged.read("features")
    with pytest.raises(IntegrityError, match=rf"{CHUNK}' is missing or damaged"):
        _ = forged.features


def test_rows_that_the_manifest_does_not_have_are_refused(store: Store) -> None:
    forged = put_manifest(store, replace(store.manifest, rows=4))
    with pytest.raises(RefusedError, match="but its store has 4 rows"):
        _ = forged.features
    assert forged.array("head_weight").shape == (2, 3)


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_chunk_that_is_no_file_is_refused_and_never_waited_for(store: Store, kind: str, tmp_path: Path) -> None:
    chunk = store.path / CHUNK
    if kind == "link":
        chunk.rename(tmp_path / "elsewhere")
        chunk.symlink_to(tmp_path / "elsewhere")
    else:
        chunk.unlink()
        os.mkfifo(chunk)
    with pytest.raises(RefusedError, match=f"{CHUNK}' is a link, a pipe or a device"):
        _ = store.features[:]
    assert [damage.file for damage in verify(store)] == [CHUNK]


def test_metadata_that_the_group_holds_for_its_arrays_is_not_used(store: Store) -> None:
    path = store.path / "zarr.json"
    features = json.loads((store.path / "features/zarr.json").read_bytes())
    forged = {"kind": "inline", "must_understand": False, "metadata": {"features": {**features, "shape": [10**12, 3]}}}
    content = json.dumps({**json.loads(path.read_bytes()), "consolidated_metadata": forged}).encode()
    path.write_bytes(content)
    files = {**store.manifest.files, "zarr.json": FileEntry.of(content)}
    again = put_manifest(store, replace(store.manifest, files=files))
    assert again.features.shape == FEATURES.shape
