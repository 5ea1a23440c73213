"""Manifests and tar shards through a whole extraction: the same stores as of the folder, and splits in the index."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest

from fusion_pipeline.extract.options import Options
from fusion_pipeline.extract.repair import repair
from fusion_pipeline.extract.run import Extraction, extract
from fusion_pipeline.extract.source import compare_with_source
from fusion_pipeline.images.inputs import list_images
from fusion_pipeline.store import Cache
from tests.builders import Tiny, count_opens, write_picture, write_pictures
from tests.extract.made import OPTIONS, computed


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "flowers")


def run(place: Path, cache: Path, *backbones: Tiny) -> Extraction:
    return extract(list_images(place), [tiny.backbone for tiny in backbones], Cache(cache), Options(**OPTIONS))  # type: ignore[arg-type]


def pack(data: Path, file: Path) -> Path:
    with tarfile.open(file, "w") as archive:
        archive.add(data, "flowers")
    return file


def write_table(data: Path, split: str = "") -> Path:
    paths = sorted(path.relative_to(data) for path in data.rglob("*.png"))
    table = data / "flowers.csv"
    lines = [f"{path},{path.parent},{split and f'{split}{i % 2}'}" for i, path in enumerate(paths)]
    table.write_text("\n".join(["path,label,split", *lines]) + "\n")
    return table


def test_a_tar_file_and_a_table_are_the_folders_data_set(data: Path, tmp_path: Path, tiny_resnet: Tiny) -> None:
    shard = pack(data, tmp_path / "flowers.tar")
    first = run(shard, tmp_path / "cache", tiny_resnet)
    assert (first.opens, first.bad, computed(first)) == (9, {}, [9, 9])
    for place in (data, write_table(data), shard):
        again = run(place, tmp_path / "cache", tiny_resnet)
        assert computed(again) == [0, 0]
        assert again.index.store.folder == first.index.store.folder
    assert (first.index.store.splits, first.index.store.groups) == (None, None)


def test_splits_are_in_the_index_and_cost_no_forward_pass(data: Path, tmp_path: Path, tiny_resnet: Tiny) -> None:
    plain = run(data, tmp_path / "cache", tiny_resnet)
    table = write_table(data, "part")
    with_splits = run(table, tmp_path / "cache", tiny_resnet)
    assert computed(with_splits) == [0, 0]
    store = with_splits.backbones[0].store
    assert store.splits == tuple(f"part{i % 2}" for i in range(9))
    assert store.groups is None
    assert store.manifest.key != plain.backbones[0].store.manifest.key
    np.testing.assert_array_equal(store.read("features"), plain.backbones[0].store.read("features"))
    write_table(data, "other")
    found = compare_with_source(with_splits.index.store, list_images(table))
    assert {item.kind for item in found} == {"relabelled"}
    assert len(found) == 9


def test_each_image_of_a_shard_is_read_once(
    data: Path, tmp_path: Path, tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shards").mkdir()
    listing = list_images(pack(data, tmp_path / "shards" / "0.tar"))
    opened = count_opens(monkeypatch, tmp_path / "shards")
    extract(listing, [tiny_resnet.backbone], Cache(tmp_path / "cache"), Options(**OPTIONS))  # type: ignore[arg-type]
    assert len(opened()) == 9


def test_repair_from_a_shard(data: Path, tmp_path: Path, tiny_resnet: Tiny) -> None:
    shard = pack(data, tmp_path / "flowers.tar")
    store = run(shard, tmp_path / "cache", tiny_resnet).backbones[0].store
    (store.path / "features" / "c" / "1" / "0").write_bytes(b"damaged")
    find = {tiny_resnet.name: tiny_resnet.backbone}.get
    result = repair(list_images(shard), Cache(tmp_path / "cache"), find, Options(**OPTIONS))  # type: ignore[arg-type]
    assert [item.is_identical for item in result.stores] == [True]
    assert result.failures == ()


def test_a_changed_shard_is_found(data: Path, tmp_path: Path, tiny_resnet: Tiny) -> None:
    shard = pack(data, tmp_path / "flowers.tar")
    index = run(shard, tmp_path / "cache").index.store
    assert compare_with_source(index, list_images(shard)) == ()
    write_picture(data / "iris" / "000.png", seed=77)
    (found,) = compare_with_source(index, list_images(pack(data, shard)))
    assert (found.kind, found.sample) == ("edited", "iris/000.png")
