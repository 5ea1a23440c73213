"""Rows held against each other: what is wrong though every checksum is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fusion_pipeline.store import Cache, Store
from fusion_pipeline.store.care.semantic import (
    deviations,
    softmax_deviation,
    tolerance,
    verify_all,
    verify_semantic,
)
from fusion_pipeline.store.care.verify import Damage, Subset, verify
from fusion_pipeline.store.layout import GroupEncoder, backbone_arrays
from fusion_pipeline.store.making.attempt import Attempt
from fusion_pipeline.store.storage.local import LocalBackend
from tests.store.made import DATASET, RECIPE, VERSION, as_format_1_0, open_store, publish, publish_index, put_manifest

ROWS, PARTITION_ROWS, N_FEATURES, N_CLASSES = 20, 8, 64, 10
SAMPLES = [f"{row:064x}" for row in range(ROWS)]


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def make_arrays(seed: int = 0, dtype: str = "float16") -> dict[str, np.ndarray]:
    """Return the arrays of a backbone that is as sure of itself as real ones are."""
    generator = np.random.default_rng(seed)
    features = generator.gamma(1.0, 1.0, (ROWS, N_FEATURES))
    weight, bias = generator.normal(size=(N_CLASSES, N_FEATURES)) / 2, generator.normal(size=N_CLASSES)
    return {
        "features": features.astype(dtype),
        "imagenet_probabilities": softmax(features @ weight.T + bias).astype(dtype),
        "status": np.zeros(ROWS, np.uint8),
        "head_weight": weight.astype(np.float32),
        "head_bias": bias.astype(np.float32),
    }


def publish_arrays(root: Path, arrays: Mapping[str, np.ndarray], told: float | None = None) -> Store:
    """Publish a store of arrays, told to deviate so much, or as much as they do."""
    dtype = str(arrays["features"].dtype)
    specs = backbone_arrays(N_FEATURES, N_CLASSES, dtype, head="head_weight" in arrays)
    attempt = Attempt.open(LocalBackend(root), DATASET, "alpha", RECIPE, GroupEncoder(specs, ROWS, PARTITION_ROWS))
    per_sample = {spec.name for spec in specs if spec.per_sample}
    deviation = softmax_deviation(arrays) if told is None else told
    for number, start in enumerate(range(0, ROWS, PARTITION_ROWS)):
        part = slice(start, start + PARTITION_ROWS)
        rows = {name: arrays[name][part] for name in per_sample}
        bad = {start + int(row): int(rows["status"][row]) for row in np.flatnonzero(rows["status"])}
        measured = {} if deviation is None else {"softmax_deviation": deviation}
        attempt.write(number, rows, SAMPLES[part], bad, {}, measured)
    whole = {name: values for name, values in arrays.items() if name not in per_sample}
    manifest, won = attempt.publish(kind="backbone", dataset_digest=VERSION, samples=SAMPLES, arrays=whole, made={})
    assert won
    return open_store(LocalBackend(root), manifest)


def shifted_rows(arrays: dict[str, np.ndarray]) -> None:
    arrays["features"] = np.roll(arrays["features"], 1, axis=0)


def other_weights(arrays: dict[str, np.ndarray]) -> None:
    arrays["head_weight"] = make_arrays(seed=1)["head_weight"]


def other_bias(arrays: dict[str, np.ndarray]) -> None:
    arrays["head_bias"] = arrays["head_bias"][::-1].copy()


def another_layer(arrays: dict[str, np.ndarray]) -> None:
    arrays["features"] = np.maximum(arrays["features"] - 1, 0)


def shuffled_features(arrays: dict[str, np.ndarray]) -> None:
    arrays["features"] = arrays["features"][:, ::-1].copy()


def not_a_number(arrays: dict[str, np.ndarray]) -> None:
    arrays["features"][:] = np.nan


FAULTS: list[Callable[[dict[str, np.ndarray]], None]] = [
    shifted_rows,
    other_weights,
    other_bias,
    another_layer,
    shuffled_features,
    not_a_number,
]
EVERYWHERE = [Damage(f"features/c/{number}/0", "rows") for number in range(3)]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("seed", range(3))
def test_good_rows_agree(tmp_path: Path, seed: int, dtype: str) -> None:
    store = publish_arrays(tmp_path, make_arrays(seed, dtype))
    assert list(verify_semantic(store)) == []
    assert 0 < store.manifest.made["softmax_deviation"] < (0.01 if dtype == "float16" else 1e-5)


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_show_though_every_checksum_is_right(
    tmp_path: Path, fault: Callable[[dict[str, np.ndarray]], None]
) -> None:
    told = softmax_deviation(make_arrays())
    arrays = make_arrays()
    fault(arrays)
    store = publish_arrays(tmp_path, arrays, told)
    assert list(verify(store)) == []
    assert list(verify_semantic(store)) == EVERYWHERE


@pytest.mark.parametrize("fault", FAULTS[:-1])
def test_a_writer_who_was_wrong_himself_is_not_believed(
    tmp_path: Path, fault: Callable[[dict[str, np.ndarray]], None]
) -> None:
    """He measured how wrong he was, and wrote that down."""
    arrays = make_arrays()
    fault(arrays)
    store = publish_arrays(tmp_path, arrays)
    assert store.manifest.made["softmax_deviation"] > 0.1
    assert list(verify_semantic(store)) == EVERYWHERE


def test_the_chunk_with_the_wrong_rows_is_named(tmp_path: Path) -> None:
    arrays = make_arrays()
    arrays["features"][[9, 10]] = arrays["features"][[10, 9]]
    store = publish_arrays(tmp_path, arrays, told=softmax_deviation(make_arrays()))
    assert list(verify_semantic(store)) == [Damage("features/c/1/0", "rows")]


def test_bad_rows_are_not_looked_at(tmp_path: Path) -> None:
    arrays = make_arrays()
    for row in (3, *range(8, 16)):
        arrays["status"][row] = 6
        arrays["features"][row] = arrays["imagenet_probabilities"][row] = np.nan
    assert softmax_deviation(arrays) == pytest.approx(softmax_deviation(make_arrays()), abs=0.002)
    assert list(verify_semantic(publish_arrays(tmp_path, arrays))) == []


def test_of_bad_rows_alone_nothing_is_measured() -> None:
    arrays = {**make_arrays(), "status": np.ones(ROWS, np.uint8)}
    assert softmax_deviation(arrays) is None


def test_without_a_head_nothing_can_be_said(tmp_path: Path) -> None:
    arrays = {name: values for name, values in make_arrays().items() if not name.startswith("head")}
    assert softmax_deviation(arrays) is None
    shifted_rows(arrays)
    store = publish_arrays(tmp_path, arrays)
    assert "softmax_deviation" not in store.manifest.made
    assert list(verify_semantic(store)) == []


def test_of_an_index_nothing_can_be_said(tmp_path: Path) -> None:
    assert list(verify_semantic(publish_index(tmp_path))) == []


def test_a_store_of_format_1_0_says_nothing_of_its_deviation(tmp_path: Path) -> None:
    made = {"device": "cpu"}
    good = as_format_1_0(publish_arrays(tmp_path / "good", make_arrays()))
    good = put_manifest(good, replace(good.manifest, made=made))
    assert list(verify_semantic(good)) == []
    arrays = make_arrays()
    shifted_rows(arrays)
    wrong = as_format_1_0(publish_arrays(tmp_path / "wrong", arrays))
    wrong = put_manifest(wrong, replace(wrong.manifest, made=made))
    assert list(verify_semantic(wrong)) == EVERYWHERE


@pytest.mark.parametrize(
    ("made", "limit"),
    [
        ({}, 0.02),
        ({"softmax_deviation": 0.0}, 0),
        ({"softmax_deviation": 0.01}, 0.02),
        ({"softmax_deviation": 0.25}, 0.1),
        ({"softmax_deviation": "x"}, 0.02),
    ],
)
def test_what_is_tolerated(made: dict[str, object], limit: float) -> None:
    assert tolerance(made) == pytest.approx(limit, abs=1.1e-5)


def test_deviations_worked_by_hand() -> None:
    features, weight, bias = np.array([[1.0, 0.0], [0.0, 2.0]]), np.eye(2), np.array([0.0, np.log(3.0)])
    probabilities = np.array([[np.e / (np.e + 3), 3 / (np.e + 3)], [0.5, 0.5]])
    expected = 3 * np.e**2 / (1 + 3 * np.e**2) - 0.5
    assert deviations(features, probabilities, weight, bias) == pytest.approx([0.0, expected], abs=1e-6)


def test_large_logits_do_not_overflow() -> None:
    features, weight, bias = np.full((1, 2), 6e4, np.float16), np.full((2, 2), 100.0), np.zeros(2)
    assert deviations(features, np.full((1, 2), 0.5), weight, bias).tolist() == [0.0]


def test_reports_on_all_stores_tell_rows_only_where_files_are_whole(tmp_path: Path) -> None:
    publish_index(tmp_path)
    arrays = make_arrays()
    shifted_rows(arrays)
    store = publish_arrays(tmp_path, arrays, told=0.001)
    stores = Cache(tmp_path)[DATASET]

    def damage(semantic: bool) -> list[Damage]:
        return [item for report in verify_all(stores, semantic=semantic) for item in report.damage]

    assert (damage(semantic=False), damage(semantic=True)) == ([], EVERYWHERE)
    (store.path / "features/c/1/0").write_bytes(b"")
    assert damage(semantic=True) == [Damage("features/c/1/0", "length")]


def test_a_part_of_the_files_is_a_part_of_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = make_arrays()
    shifted_rows(arrays)
    store = publish_arrays(tmp_path, arrays, told=0.001)
    read: list[str] = []
    content = Store.content
    monkeypatch.setattr(Store, "content", lambda self, name: (read.append(name), content(self, name))[1])
    for part in (Subset(1, 2), Subset(2, 2)):
        read.clear()
        chunks = [item for item in EVERYWHERE if part.has(item.file)]
        assert list(verify_semantic(store, part)) == chunks
        assert {name for name in read if name.startswith("features/c/")} <= {item.file for item in chunks}
        reports = verify_all(Cache(tmp_path)[DATASET], subset=part, semantic=True)
        assert [item for report in reports for item in report.damage] == chunks


def test_damage_where_nobody_looked_is_named_all_the_same(tmp_path: Path) -> None:
    publish_arrays(tmp_path, make_arrays())
    store = publish(tmp_path, "beta", recipe={"kind": "backbone", "made": "otherwise"})
    chunk = store.path / "head_weight/c/0/0"
    chunk.write_bytes(bytes(chunk.stat().st_size))
    stores = Cache(tmp_path)[DATASET]
    elsewhere = next(part for part in (Subset(1, 2), Subset(2, 2)) if not part.has("head_weight/c/0/0"))
    for reports in (verify_all(stores, subset=elsewhere, semantic=True), verify_all(stores, read=False, semantic=True)):
        found = {report.folder: list(report.damage) for report in reports if report.damage}
        assert found == {store.folder: [Damage("head_weight/c/0/0", "content")]}
