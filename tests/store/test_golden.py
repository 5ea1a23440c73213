"""The stores that earlier versions wrote: read, found whole, and damage in them found, by this version."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from fusion_pipeline.errors import IntegrityError
from fusion_pipeline.store import Cache, Store
from fusion_pipeline.store.care.semantic import verify_all

STORES = Path(__file__).parents[1] / "data" / "stores" / "v1"
VERSIONS = sorted(folder.name for folder in STORES.iterdir())

# sha256 of the arrays' bytes, as the version that wrote them had them in memory.
FEATURES = "23a0fa4f98e349cc"
PROBABILITIES = "6077417bf8947fa5"
THUMBNAILS_64 = "31298874b62d6f47"


@pytest.fixture(params=VERSIONS)
def golden(request: pytest.FixtureRequest) -> Path:
    return STORES / str(request.param)


def short_sha256(values: np.ndarray) -> str:
    return hashlib.sha256(values.tobytes()).hexdigest()[:16]


def test_both_minor_versions_are_there() -> None:
    assert VERSIONS == ["1.0", "1.1"]


def test_every_array_is_read(golden: Path) -> None:
    store = Cache(golden)["flowers"]["small_resnet"]
    assert f"1.{store.manifest.minor}" == golden.name
    assert store.sample_paths == (b"iris/000.png", b"iris/001.png", b"rose/000.png", b"rose/\xff.png")
    assert store.class_names == ("iris", "rose")
    assert (store.labels.tolist(), store.status.tolist()) == ([0, 0, 1, 1], [0, 2, 0, 0])
    for name, expected in (("features", FEATURES), ("imagenet_probabilities", PROBABILITIES)):
        assert short_sha256(store.read(name)) == expected
        assert short_sha256(np.asarray(store.array(name)[:])) == expected
    assert short_sha256(np.asarray(store.thumbnails(64)[:])) == THUMBNAILS_64
    assert store.sample_sha256[0] == "".join(f"{byte:02x}" for byte in store.index.read("sha256")[0])


def test_it_is_whole_and_its_rows_agree(golden: Path) -> None:
    reports = list(verify_all(Cache(golden)["flowers"], semantic=True))
    assert len(reports) == 2
    assert [report.damage for report in reports] == [[], []]


def files_of(store: Store) -> list[str]:
    return sorted(store.manifest.files)


def test_damage_is_found(golden: Path, tmp_path: Path) -> None:
    root = shutil.copytree(golden, tmp_path / "cache")
    store = Cache(root)["flowers"]["small_resnet"]
    for name in files_of(store):
        path = store.path / name
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        damaged = [item.file for report in verify_all(Cache(root)["flowers"]) for item in report.damage]
        path.write_bytes(content)
        assert damaged == [name]
    chunk = store.path / "features/c/1/0"
    chunk.write_bytes(chunk.read_bytes()[::-1])
    with pytest.raises(IntegrityError, match="features/c/1/0"):
        Cache(root)["flowers"]["small_resnet"].read("features")
