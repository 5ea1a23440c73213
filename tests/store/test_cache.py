"""Caches: what they hold, which store is the current one, and what is no cache."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fusion_pipeline.errors import FormatError, IncompleteError, IntegrityError, StaleError
from fusion_pipeline.store import Cache, Store
from fusion_pipeline.store.identity import canonical_json, digest
from tests.builders import tree_bytes
from tests.store.failpoints import before_the_call
from tests.store.made import DATASET, publish, publish_index, root_of

OTHER_VERSION = "sha256:" + "2" * 64


@pytest.fixture
def store(tmp_path: Path) -> Store:
    publish_index(tmp_path)
    return publish(tmp_path)


def test_what_a_cache_holds(store: Store) -> None:
    publish(root_of(store), "beta")
    cache = Cache(root_of(store))
    assert list(cache) == [DATASET]
    assert DATASET in cache
    assert cache[DATASET].backbones() == ("alpha", "beta")
    assert {found.name for found in cache[DATASET].stores()} == {"index", "alpha", "beta"}
    assert cache[DATASET][store.folder].manifest == store.manifest


def test_missing_stores_say_what_to_run(store: Store) -> None:
    cache = Cache(root_of(store))
    with pytest.raises(IncompleteError, match=r"no data set 'pets' \(it has 'made'\)"):
        cache["pets"]
    with pytest.raises(IncompleteError, match=r"no finished store of backbone 'gamma'.*fusion extract"):
        cache[DATASET]["gamma"]
    with pytest.raises(IncompleteError, match="no finished index 'ffff'"):
        cache[DATASET].index("ffff")


def test_a_store_of_other_images_is_stale(store: Store) -> None:
    root = root_of(store)
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


def test_of_several_indexes_of_the_same_images_the_newest_counts(store: Store) -> None:
    newest = [publish_index(root_of(store), made_by=decoder) for decoder in ("second", "third")][-1]
    assert len(Cache(root_of(store))[DATASET].indexes()) == 3
    assert Store.open(store.ref).index.manifest == newest.manifest
    assert Cache(root_of(store))[DATASET].index().manifest == newest.manifest


def test_current_stores_of_other_backbones_stay_current(store: Store) -> None:
    stores = Cache(root_of(store))[DATASET]
    beta = publish(root_of(store), "beta")
    stores.mark_current(stores.index(), [store])
    stores.mark_current(stores.index(), [beta])
    current = json.loads((root_of(store) / DATASET / "current.json").read_bytes())
    assert current.pop("digest") == digest(current)
    assert current == {"index": stores.index().folder, "stores": {"alpha": store.folder, "beta": beta.folder}}
    assert [found.folder for found in stores.current()] == [stores.index().folder, store.folder, beta.folder]
    assert stores.current_is_whole()


@pytest.mark.parametrize("first", [True, False])
def test_of_two_who_mark_at_once_both_are_heard(store: Store, first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    beta, gamma = publish(root_of(store), "beta"), publish(root_of(store), "gamma")
    one, other = Cache(root_of(store))[DATASET], Cache(root_of(store))[DATASET]
    if not first:
        one.mark_current(store.index, [gamma])
    before_the_call(
        monkeypatch, one.cache.backend, "swap", lambda: other.mark_current(store.index, [beta]), "/current.json"
    )
    one.mark_current(store.index, [store])
    stated = json.loads((root_of(store) / DATASET / "current.json").read_bytes())["stores"]
    marked = {"alpha": store.folder, "beta": beta.folder}
    assert stated == (marked if first else {**marked, "gamma": gamma.folder})


def test_who_always_comes_second_is_heard_in_the_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = Cache(root_of(store))[DATASET]
    monkeypatch.setattr(stores.cache.backend, "swap", lambda *_: False)
    stores.mark_current(store.index, [store])
    assert stores.current_is_whole()
    assert (root_of(store) / DATASET / "current.json").exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"stores": 3}', b'{"index": 3, "stores": {"alpha": [1]}}'])
def test_a_hint_that_makes_no_sense_is_no_hint(store: Store, content: bytes) -> None:
    (root_of(store) / DATASET / "current.json").write_bytes(content)
    assert Cache(root_of(store))[DATASET]["alpha"].folder == store.folder


def test_a_misspelt_backbone_gets_the_nearest_one(store: Store) -> None:
    with pytest.raises(
        IncompleteError, match=r"Did you mean 'alpha'\?.*'fusion extract --backbone alpah' with the same"
    ):
        Cache(root_of(store))[DATASET].store("alpah")


def test_an_unknown_index_says_where_keys_are_shown(store: Store) -> None:
    with pytest.raises(IncompleteError, match=r"has no finished index 'abc'.* 'fusion cache ls' shows the keys"):
        Cache(root_of(store))[DATASET].index("abc")


@pytest.mark.parametrize("keep", [0, 3, 0.5, -1])
def test_a_truncated_manifest_is_no_store(store: Store, keep: float) -> None:
    manifest = store.path.parents[1] / "manifest.json"
    length = manifest.stat().st_size
    os.truncate(manifest, int(length * keep) if 0 < keep < 1 else int(keep) % length)
    with pytest.raises(IntegrityError, match=r"manifest\.json"):
        Cache(root_of(store))[DATASET].stores()
    assert [type(found) for _, found in Cache(root_of(store))[DATASET].survey()] == [Store, IntegrityError]


def test_an_edited_manifest_is_refused(store: Store) -> None:
    manifest = store.path.parents[1] / "manifest.json"
    content = manifest.read_bytes()
    assert content.count(b'"made":"for a test"') == 1
    manifest.write_bytes(content.replace(b'"made":"for a test"', b'"made":"for a rest"'))
    with pytest.raises(IntegrityError, match=r"manifest\.json.*damaged, or was edited"):
        Cache(root_of(store))[DATASET].stores()


def test_current_is_what_was_marked(store: Store) -> None:
    """Of two stores of one backbone the one that was extracted last, or was found to be there."""
    stores = Cache(root_of(store))[DATASET]
    newer = publish(root_of(store), recipe={"kind": "backbone", "made": "otherwise"})
    assert stores["alpha"].folder == newer.folder
    assert [found.folder for found in stores.current()[1:]] == [newer.folder]
    stores.mark_current(stores.index(), [store])
    assert stores["alpha"].folder == store.folder
    assert [found.folder for found in stores.current()[1:]] == [store.folder]


def test_an_older_version_may_be_current(store: Store) -> None:
    newer = publish_index(root_of(store), OTHER_VERSION)
    stores = Cache(root_of(store))[DATASET]
    assert stores.index().folder == newer.folder
    stores.mark_current(store.index, [store])
    assert (stores.index().folder, stores["alpha"].folder) == (store.index.folder, store.folder)
    stores.forget_current()
    assert stores.index().folder == newer.folder


def test_a_list_of_format_1_0_has_no_digest(store: Store) -> None:
    stores = Cache(root_of(store))[DATASET]
    current = {"index": store.index.folder, "stores": {"alpha": store.folder}}
    store.backend.write(f"{DATASET}/current.json", canonical_json(current))
    assert stores.current_is_whole()
    assert stores.index().folder == store.index.folder
    stores.mark_current(store.index, [store])
    assert stores.current_is_whole()


@pytest.mark.parametrize("change", ["flip", "name", "empty", "list", "deep"])
def test_a_damaged_list_is_found_and_not_followed(store: Store, change: str) -> None:
    stores = Cache(root_of(store))[DATASET]
    older = publish(root_of(store), recipe={"kind": "backbone", "made": "otherwise"})
    stores.mark_current(store.index, [store])
    path = root_of(store) / DATASET / "current.json"
    content = path.read_bytes()
    damaged = {
        "flip": content.replace(store.folder.encode(), store.folder[:-1].encode() + b"x"),
        "name": canonical_json({"index": "index-gone", "stores": {}}),
        "empty": b"",
        "list": b"[]",
        "deep": b"[" * 100_000,
    }
    path.write_bytes(damaged[change])
    assert not stores.current_is_whole()
    assert stores.index().folder == store.index.folder
    assert stores["alpha"].folder == older.folder
    stores.mark_current(store.index, [store])
    assert path.read_bytes() == content


def test_the_damaged_name_of_its_digest_is_found(store: Store) -> None:
    stores = Cache(root_of(store))[DATASET]
    stores.mark_current(store.index, [store])
    path = root_of(store) / DATASET / "current.json"
    path.write_bytes(path.read_bytes().replace(b'"digest"', b'"eigest"'))
    assert not stores.current_is_whole()


def test_a_list_that_was_edited_is_not_followed(store: Store) -> None:
    newer = publish(root_of(store), recipe={"kind": "backbone", "made": "otherwise"})
    stores = Cache(root_of(store))[DATASET]
    stores.mark_current(store.index, [newer])
    path = root_of(store) / DATASET / "current.json"
    path.write_bytes(path.read_bytes().replace(newer.folder.encode(), store.folder.encode()))
    assert not stores.current_is_whole()
    assert stores["alpha"].folder == newer.folder


def test_a_store_that_is_gone_is_taken_off_the_list(store: Store) -> None:
    beta = publish(root_of(store), "beta")
    stores = Cache(root_of(store))[DATASET]
    stores.mark_current(store.index, [store, beta])
    shutil.rmtree(root_of(store) / DATASET / beta.folder)
    assert not stores.current_is_whole()
    stores.mark_current(store.index, [store])
    assert stores.current_is_whole()


def test_nothing_is_written_when_nothing_changes(store: Store) -> None:
    stores = Cache(root_of(store))[DATASET]
    stores.mark_current(store.index, [store])
    path = root_of(store) / DATASET / "current.json"
    path.chmod(0o400)
    before = path.stat().st_ino
    stores.mark_current(store.index, [store])
    assert path.stat().st_ino == before


def test_a_data_set_of_a_store_that_lost_its_manifest_is_still_one(tmp_path: Path) -> None:
    store = publish(tmp_path)
    (tmp_path / DATASET / "attempts").rmdir()
    (store.path.parents[1] / "manifest.json").unlink()
    assert list(Cache(tmp_path)) == [DATASET]
