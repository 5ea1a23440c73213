"""Which stores are meant: the current ones, those that are named, or all; never a backbone without its index."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusion_pipeline.errors import IncompleteError, IntegrityError, StaleError
from fusion_pipeline.store import Cache
from fusion_pipeline.store.care.selection import select_stores
from tests.store.made import DATASET, publish, publish_index

OLD, NEW = "sha256:" + "1" * 64, "sha256:" + "2" * 64


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """Two versions of the images: ``alpha`` for both, ``beta`` for the old one, ``gamma`` for the new one."""
    publish_index(tmp_path, OLD)
    for name, version in [("alpha", OLD), ("beta", OLD), ("gamma", NEW), ("alpha", NEW)]:
        publish(tmp_path, name, version)
    index = publish_index(tmp_path, NEW)
    cache = Cache(tmp_path)
    cache[DATASET].mark_current(index)
    return cache


def selected(cache: Cache, *backbones: str, all_versions: bool = False, dataset: str | None = None) -> list[str]:
    """Return name and version of what is selected."""
    stores = select_stores(cache, dataset, backbones, all_versions=all_versions)
    return [f"{store.name} {'new' if store.manifest.dataset == NEW else 'old'}" for store in stores]


def test_the_current_version(cache: Cache) -> None:
    assert selected(cache) == ["index new", "alpha new", "gamma new"]


def test_one_backbone_goes_with_its_index(cache: Cache) -> None:
    assert selected(cache, "gamma") == ["index new", "gamma new"]


def test_a_backbone_may_be_named_by_its_folder(cache: Cache) -> None:
    assert selected(cache, cache[DATASET]["gamma"].folder) == ["index new", "gamma new"]


def test_all_versions(cache: Cache) -> None:
    everything = selected(cache, all_versions=True)
    assert sorted(everything[:2]) == ["index new", "index old"]
    assert sorted(everything[2:]) == ["alpha new", "alpha old", "beta old", "gamma new"]


def test_all_versions_of_one_backbone(cache: Cache) -> None:
    assert sorted(selected(cache, "alpha", all_versions=True)) == ["alpha new", "alpha old", "index new", "index old"]
    assert selected(cache, "beta", all_versions=True) == ["index old", "beta old"]


def test_a_backbone_of_another_version_is_not_passed_over(cache: Cache) -> None:
    with pytest.raises(StaleError, match="beta"):
        selected(cache, "gamma", "beta")


def test_a_backbone_that_is_not_there(cache: Cache) -> None:
    with pytest.raises(IncompleteError, match=r"no store of backbone 'delta' \(it has 'alpha', 'beta', 'gamma'\)"):
        selected(cache, "gamma", "delta")


def test_every_data_set_that_has_the_backbone(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / DATASET).rename(tmp_path / "first")
    publish_index(tmp_path)
    publish(tmp_path, "gamma")
    second = Cache(tmp_path)
    assert selected(second, "gamma") == ["index new", "gamma new", "index old", "gamma old"]
    assert selected(second, "beta", all_versions=True) == ["index old", "beta old"]
    assert selected(second, dataset=DATASET) == ["index old", "gamma old"]


def test_a_data_set_whose_first_extraction_is_at_work_is_passed_over(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "other" / "attempts").mkdir(parents=True)
    assert selected(Cache(tmp_path)) == ["index new", "alpha new", "gamma new"]


def test_nothing_at_all(tmp_path: Path) -> None:
    with pytest.raises(IncompleteError, match="no store in"):
        selected(Cache(tmp_path))
    with pytest.raises(IncompleteError, match="no data set 'other'"):
        selected(Cache(tmp_path), dataset="other")


def test_stores_without_an_index(tmp_path: Path) -> None:
    publish(tmp_path)
    with pytest.raises(IncompleteError, match="index"):
        selected(Cache(tmp_path))


def test_a_manifest_that_cannot_be_read_is_told(cache: Cache, tmp_path: Path) -> None:
    manifest = next((tmp_path / DATASET).glob("beta-*/manifest.json"))
    manifest.write_bytes(b"{")
    with pytest.raises(IntegrityError, match="beta"):
        selected(cache)
