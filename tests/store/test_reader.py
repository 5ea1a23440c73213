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

from fusion_pipeline.errors import FormatError, IncompleteError, IntegrityError, RefusedError, StaleError, StorageError
from fusion_pipeline.store import Cache, Store
from fusion_pipeline.store.manifest import FileEntry
from fusion_pipeline.store.verify import Damage, verify
from tests.builders import tree_bytes
from tests.store.made import DATASET, FEATURES, SAMPLES, publish, publish_index

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
        _ = Cache(store.backend.root)[DATASET]["alpha"].features[:]
    assert list(verify(store)) == [Damage(file, kind)]


@pytest.mark.parametrize("file", ["status/c/0", "head_weight/c/0/0", "imagenet_probabilities/c/2/0"])
def test_verify_reads_every_array(store: Store, file: str) -> None:
    flip(store.path / file)
    assert list(verify(store)) == [Damage(file, "content")]


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


@pytest.mark.parametrize("keep", [0, 3, 0.5, -1])
def test_a_truncated_manifest_is_no_store(store: Store, keep: float) -> None:
    manifest = store.path.parents[1] / "manifest.json"
    length = manifest.stat().st_size
    os.truncate(manifest, int(length * keep) if 0 < keep < 1 else int(keep) % length)
    with pytest.raises(IntegrityError, match=r"manifest\.json"):
        Cache(store.backend.root)[DATASET].stores()
    assert [type(found) for _, found in Cache(store.backend.root)[DATASET].survey()] == [Store, IntegrityError]


def test_an_edited_manifest_is_refused(store: Store) -> None:
    manifest = store.path.parents[1] / "manifest.json"
    content = manifest.read_bytes()
    assert content.count(b'"made":"for a test"') == 1
    manifest.write_bytes(content.replace(b'"made":"for a test"', b'"made":"for a rest"'))
    with pytest.raises(IntegrityError, match=r"manifest\.json.*damaged, or was edited"):
        Cache(store.backend.root)[DATASET].stores()


def test_a_store_is_immutable(store: Store) -> None:
    before = tree_bytes(store.backend.root)
    with pytest.raises((PermissionError, ValueError), match=r"immutable|read.only"):
        store.features[0] = 1
    assert tree_bytes(store.backend.root) == before


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


def test_what_a_cache_holds(store: Store) -> None:
    publish(store.backend.root, "beta")
    cache = Cache(store.backend.root)
    assert list(cache) == [DATASET]
    assert DATASET in cache
    assert cache[DATASET].backbones() == ("alpha", "beta")
    assert {found.name for found in cache[DATASET].stores()} == {"index", "alpha", "beta"}
    assert cache[DATASET][store.folder].manifest == store.manifest


def test_a_backbone_called_index_is_not_taken_for_the_index(tmp_path: Path) -> None:
    store = publish(tmp_path, "index")
    with pytest.raises(IncompleteError, match="has no index"):
        _ = store.index
    publish_index(tmp_path)
    assert store.class_names == ("a", "b")


def test_missing_stores_say_what_to_run(store: Store) -> None:
    cache = Cache(store.backend.root)
    with pytest.raises(IncompleteError, match=r"no data set 'pets' \(it has 'made'\)"):
        cache["pets"]
    with pytest.raises(IncompleteError, match=r"no finished store of backbone 'gamma'.*fusion extract"):
        cache[DATASET]["gamma"]
    with pytest.raises(IncompleteError, match="no finished index 'ffff'"):
        cache[DATASET].index("ffff")


def test_a_store_of_other_images_is_stale(store: Store) -> None:
    root = store.backend.root
    newer = publish_index(root, OTHER_VERSION)
    cache = Cache(root)
    assert cache[DATASET].index().manifest == newer.manifest
    with pytest.raises(StaleError, match="another version of the images") as caught:
        cache[DATASET]["alpha"]
    assert caught.value.exit_code == 14
    older = cache[DATASET].index(store.index.folder)
    assert cache[DATASET].store("alpha", older).manifest == store.manifest
    assert cache[DATASET].backbones(older) == ("alpha",)
    assert cache[DATASET].backbones() == ()


def test_an_unfinished_store_is_not_seen(tmp_path: Path, store: Store) -> None:
    (store.path.parents[1] / "manifest.json").unlink()
    with pytest.raises(IncompleteError, match="no finished store of backbone 'alpha'"):
        Cache(tmp_path)[DATASET]["alpha"]


def _a_file(root: Path) -> Path:
    root.write_bytes(b"\x89HDF\r\n\x1a\n")
    return root


def _zarr_v2(root: Path) -> Path:
    (root / "features").mkdir(parents=True)
    (root / ".zgroup").write_text('{"zarr_format": 2}')
    (root / "features" / ".zarray").write_text("{}")
    return root


def _photographs(root: Path) -> Path:
    (root / "roses").mkdir(parents=True)
    (root / "roses" / "1.jpg").write_bytes(b"")
    return root


def _hdf5_inside(root: Path) -> Path:
    root.mkdir()
    (root / "features.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    return root


def _inside(*parts: str) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        store = publish(root)
        return {"data set": root / DATASET, "store": store.path.parents[1], "group": store.path}[parts[0]]

    return make


def _data_set_without_attempts(root: Path) -> Path:
    folder = _inside("data set")(root)
    (folder / "attempts").rmdir()
    return folder


@pytest.mark.parametrize(
    "make",
    [
        _a_file,
        _zarr_v2,
        _photographs,
        _hdf5_inside,
        _inside("data set"),
        _inside("store"),
        _inside("group"),
        _data_set_without_attempts,
    ],
)
def test_other_places_are_refused_untouched(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    place = make(tmp_path / "place")
    before = tree_bytes(tmp_path)
    with pytest.raises(FormatError, match="--cache"):
        Cache(place)
    assert tree_bytes(tmp_path) == before


def test_what_a_cache_may_be(tmp_path: Path) -> None:
    """Nothing, an empty folder, the specification alone, or what a run left that was killed at its first steps."""
    assert list(Cache(tmp_path / "nothing")) == []
    assert not (tmp_path / "nothing").exists()
    (tmp_path / "README.md").write_text("the format")
    (tmp_path / ".gitignore").write_text("*")
    (tmp_path / "flowers17").mkdir()
    assert list(Cache(tmp_path)) == []


def test_a_failing_disk_is_not_a_missing_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    true_open = os.open

    def broken(path: Any, *arguments: Any, **options: Any) -> int:
        if str(path).endswith(CHUNK):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return true_open(path, *arguments, **options)

    monkeypatch.setattr(os, "open", broken)
    with pytest.raises(StorageError, match="Input/output error"):
        _ = store.features[:]


def test_of_several_indexes_of_the_same_images_the_newest_counts(store: Store) -> None:
    newest = [publish_index(store.backend.root, made_by=decoder) for decoder in ("second", "third")][-1]
    assert len(Cache(store.backend.root)[DATASET].indexes()) == 3
    assert Store.open(store.ref).index.manifest == newest.manifest
    assert Cache(store.backend.root)[DATASET].index().manifest == newest.manifest


def test_a_chunk_that_the_manifest_does_not_name_is_damage(store: Store) -> None:
    files = {name: entry for name, entry in store.manifest.files.items() if name != OTHER_CHUNK}
    shortened = replace(store.manifest, files=files)
    (store.backend.root / DATASET / store.folder / "manifest.json").write_bytes(shortened.to_bytes())
    again = Cache(store.backend.root)[DATASET]["alpha"]
    with pytest.raises(IntegrityError, match=f"lacks chunk '{OTHER_CHUNK}'"):
        _ = again.features[:]
    assert list(verify(again)) == [Damage(OTHER_CHUNK, "missing")]


def test_current_stores_of_other_backbones_stay_current(store: Store) -> None:
    stores = Cache(store.backend.root)[DATASET]
    beta = publish(store.backend.root, "beta")
    stores.mark_current(stores.index(), [store])
    stores.mark_current(stores.index(), [beta])
    current = json.loads((store.backend.root / DATASET / "current.json").read_bytes())
    assert current == {"index": stores.index().folder, "stores": {"alpha": store.folder, "beta": beta.folder}}


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"stores": 3}', b'{"index": 3, "stores": {"alpha": [1]}}'])
def test_a_hint_that_makes_no_sense_is_no_hint(store: Store, content: bytes) -> None:
    (store.backend.root / DATASET / "current.json").write_bytes(content)
    assert Cache(store.backend.root)[DATASET]["alpha"].folder == store.folder


def test_a_misspelt_backbone_gets_the_nearest_one(store: Store) -> None:
    with pytest.raises(
        IncompleteError, match=r"Did you mean 'alpha'\?.*'fusion extract --backbone alpah' with the same"
    ):
        Cache(store.backend.root)[DATASET].store("alpah")


def test_an_unknown_index_says_where_keys_are_shown(store: Store) -> None:
    with pytest.raises(IncompleteError, match=r"has no finished index 'abc'.* 'fusion cache ls' shows the keys"):
        Cache(store.backend.root)[DATASET].index("abc")


@pytest.mark.parametrize("change", [{"shape": [10**12, 3]}, {"shape": "many"}, {"chunk_grid": {}}, {"shape": [-4, 3]}])
def test_a_forged_shape_fills_no_memory(store: Store, change: dict[str, Any]) -> None:
    path = store.path / "features/zarr.json"
    content = json.dumps({**json.loads(path.read_bytes()), **change}).encode()
    path.write_bytes(content)
    files = {**store.manifest.files, "features/zarr.json": FileEntry.of(content)}
    (store.path.parents[1] / "manifest.json").write_bytes(replace(store.manifest, files=files).to_bytes())
    (forged,) = (found for found in Cache(store.backend.root)[DATASET].stores() if found.is_backbone)
    assert list(verify(forged)) == [Damage("features/zarr.json", "content")]
    with pytest.raises((RefusedError, FormatError), match="features"):
        _ = forged.features


def test_presence_and_length_are_seen_without_reading(store: Store) -> None:
    flip(store.path / CHUNK)
    assert list(verify(store, read=False)) == []
    (store.path / CHUNK).unlink()
    os.truncate(store.path / OTHER_CHUNK, 3)
    assert list(verify(store, read=False)) == [Damage(CHUNK, "missing"), Damage(OTHER_CHUNK, "length")]


def test_rows_that_the_manifest_does_not_have_are_refused(store: Store) -> None:
    manifest = replace(store.manifest, rows=4)
    (store.path.parents[1] / "manifest.json").write_bytes(manifest.to_bytes())
    (forged,) = (found for found in Cache(store.backend.root)[DATASET].stores() if found.is_backbone)
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
    (store.path.parents[1] / "manifest.json").write_bytes(replace(store.manifest, files=files).to_bytes())
    (again,) = (found for found in Cache(store.backend.root)[DATASET].stores() if found.is_backbone)
    assert again.features.shape == FEATURES.shape
