"""Damage in every class of file, and the store that is whole again: byte by byte what it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fusion_pipeline.errors import IncompleteError, IntegrityError, StaleError
from fusion_pipeline.extract.options import Options
from fusion_pipeline.extract.repair import Repair, repair
from fusion_pipeline.images.index import list_image_folder
from fusion_pipeline.store import Cache, Store
from fusion_pipeline.store.care.verify import verify_dataset
from tests.builders import Tiny, write_picture, write_pictures, write_weights
from tests.extract.made import OPTIONS, contents, run
from tests.store.made import swap_features


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "flowers", per_class=4)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def mend(data: Path, cache: Path, *tinies: Tiny, semantic: bool = False, **options: object) -> Repair:
    known = {tiny.name: tiny.backbone for tiny in tinies}
    with_options = Options(**{**OPTIONS, "batch_size": 2, "partition_rows": 7, **options})  # type: ignore[arg-type]
    return repair(list_image_folder(data), Cache(cache), known.get, with_options, semantic=semantic)


def damaged_in(cache: Path) -> list[str]:
    """Return the folders of the stores that verifying names."""
    return [report.folder for report in verify_dataset(Cache(cache)["flowers"]) if report.damage]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def lose(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("harm", [flip, cut, lose])
@pytest.mark.parametrize(
    ("file", "computed"),
    [
        ("features/c/1/0", 4),
        ("imagenet_probabilities/c/0/0", 4),
        ("status/c/2", 4),
        ("features/zarr.json", 0),
        ("zarr.json", 0),
        ("head_weight/c/0/0", 0),
    ],
)
def test_only_what_is_damaged_is_computed(
    data: Path, cache: Path, tiny_resnet: Tiny, file: str, computed: int, harm: Callable[[Path], None]
) -> None:
    before = run(data, cache, tiny_resnet)
    store = before.backbones[0].store
    harm(store.path / file)
    result = mend(data, cache, tiny_resnet)
    (repaired,) = result.stores
    assert repaired.is_identical
    assert repaired.result.computed == computed
    assert damaged_in(cache) == []
    now = Cache(cache)["flowers"]["small_resnet"]
    assert now.manifest.content == store.manifest.content
    assert now.manifest.attempt != store.manifest.attempt
    assert now.features[:].tobytes() == repaired.result.store.features[:].tobytes()
    assert contents(run(data, cache, tiny_resnet)) == contents(before)


@pytest.mark.parametrize("file", ["thumbnails_32/c/0/0/0/0", "sha256/c/0/0", "label/c/0", "sample_path_bytes/c/0"])
def test_an_index_is_repaired_first(data: Path, cache: Path, tiny_resnet: Tiny, file: str) -> None:
    before = run(data, cache, tiny_resnet)
    flip(before.index.store.path / file)
    flip(before.backbones[0].store.path / "features/c/0/0")
    result = mend(data, cache, tiny_resnet)
    assert [item.before.name for item in result.stores] == ["index", "small_resnet"]
    assert all(item.is_identical for item in result.stores)
    assert result.stores[1].result.computed == 4
    assert damaged_in(cache) == []


def manifest_of(store: Store) -> Path:
    return store.path.parents[1] / "manifest.json"


@pytest.mark.parametrize("harm", [flip, cut, lose])
def test_a_manifest_is_restored_from_its_copy(
    data: Path, cache: Path, tiny_resnet: Tiny, harm: Callable[[Path], None]
) -> None:
    store = run(data, cache, tiny_resnet).backbones[0].store
    harm(manifest_of(store))
    assert damaged_in(cache) == [store.folder]
    result = mend(data, cache)
    assert result.restored == (f"flowers/{store.folder}/manifest.json",)
    assert result.stores == ()
    assert manifest_of(store).read_bytes() == store.manifest_bytes
    assert damaged_in(cache) == []


def test_a_store_without_a_good_manifest_says_so(data: Path, cache: Path, tiny_resnet: Tiny) -> None:
    store = run(data, cache, tiny_resnet).backbones[0].store
    flip(manifest_of(store))
    flip(store.path.with_name(f"{store.path.name}.json"))
    (unrepaired,) = mend(data, cache, tiny_resnet).failures
    assert isinstance(unrepaired.error, IncompleteError)
    assert "has lost both copies of its manifest" in str(unrepaired.error)


def test_other_images_cannot_repair(data: Path, cache: Path, tiny_resnet: Tiny) -> None:
    store = run(data, cache, tiny_resnet).backbones[0].store
    flip(store.path / "features/c/0/0")
    before = manifest_of(store).read_bytes()
    write_picture(data / "iris" / "000.png", seed=90)
    (unrepaired,) = mend(data, cache, tiny_resnet).failures
    assert isinstance(unrepaired.error, StaleError)
    assert "was made of other images" in str(unrepaired.error)
    assert manifest_of(store).read_bytes() == before


def test_other_weights_cannot_repair(data: Path, cache: Path, tmp_path: Path, tiny_resnet: Tiny) -> None:
    store = run(data, cache, tiny_resnet).backbones[0].store
    flip(store.path / "features/c/0/0")
    weights = write_weights(tmp_path / "other.safetensors", tiny_resnet.architecture, seed=5, num_classes=10)
    (unrepaired,) = mend(data, cache, replace(tiny_resnet, weights=weights)).failures
    assert isinstance(unrepaired.error, StaleError)
    assert "weights was 'sha256:" in str(unrepaired.error)


def test_an_unknown_backbone_cannot_be_repaired(data: Path, cache: Path, tiny_resnet: Tiny) -> None:
    store = run(data, cache, tiny_resnet).backbones[0].store
    flip(store.path / "features/c/0/0")
    (unrepaired,) = mend(data, cache).failures
    assert "Nothing here knows backbone 'small_resnet'" in str(unrepaired.error)


def test_bad_rows_stay_what_they_were(data: Path, cache: Path, tiny_resnet: Tiny) -> None:
    (data / "iris" / "002.png").write_bytes(b"no image")
    store = run(data, cache, tiny_resnet, on_bad="skip").backbones[0].store
    flip(store.path / "features/c/0/0")
    flip(store.path / "features/c/2/0")
    (repaired,) = mend(data, cache, tiny_resnet).stores
    assert repaired.is_identical
    assert repaired.result.computed == 8


def test_nothing_is_damaged(data: Path, cache: Path, tiny_resnet: Tiny) -> None:
    run(data, cache, tiny_resnet)
    assert mend(data, cache, tiny_resnet) == Repair(looked_at=2)


def test_the_current_version_stays_current(data: Path, cache: Path, tiny_resnet: Tiny) -> None:
    """An older version of the images is repaired while a newer one is current."""
    old = run(data, cache, tiny_resnet)
    content = (data / "iris" / "000.png").read_bytes()
    write_picture(data / "iris" / "000.png", seed=91)
    new = run(data, cache, tiny_resnet)
    (data / "iris" / "000.png").write_bytes(content)
    flip(old.backbones[0].store.path / "features/c/2/0")
    (repaired,) = mend(data, cache, tiny_resnet).stores
    assert repaired.is_identical
    assert Cache(cache)["flowers"].index().manifest == new.index.store.manifest


def test_wrong_rows_are_computed_anew(data: Path, cache: Path, tiny_resnet: Tiny) -> None:
    """Though every checksum is right, and though a store of other images has the same wrong rows."""
    store = run(data, cache, tiny_resnet).backbones[0].store
    before = store.features[:]
    write_picture(data / "tulip" / "zzz.png", seed=92)
    other = run(data, cache, tiny_resnet).backbones[0].store
    (data / "tulip" / "zzz.png").unlink()
    swap_features(store)
    swap_features(other)
    assert mend(data, cache, tiny_resnet) == Repair(looked_at=4)
    result = mend(data, cache, tiny_resnet, semantic=True)
    (repaired,) = result.stores
    assert (repaired.result.computed, repaired.had_wrong_rows) == (8, True)
    assert [item.folder for item in result.failures] == [other.folder]
    assert repaired.result.store.features[:].tobytes() == before.tobytes()


def test_wrong_rows_beside_damaged_files_take_two_repairs(data: Path, cache: Path, tiny_resnet: Tiny) -> None:
    store = run(data, cache, tiny_resnet).backbones[0].store
    before = store.features[:]
    flip(swap_features(store).path / "features/c/2/0")
    (unrepaired,) = mend(data, cache, tiny_resnet, semantic=True).failures
    assert isinstance(unrepaired.error, IntegrityError)
    assert "'fusion cache repair --semantic' goes on" in str(unrepaired.error)
    (repaired,) = mend(data, cache, tiny_resnet, semantic=True).stores
    assert repaired.result.store.features[:].tobytes() == before.tobytes()
