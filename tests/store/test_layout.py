"""What the encoder writes: every chunk, checksummed, named, with NaN where nothing was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.core.buffer import Buffer as AnyBuffer
from zarr.core.buffer.cpu import Buffer
from zarr.storage import MemoryStore

from fusion_pipeline.store import layout
from fusion_pipeline.store.layout import GroupEncoder, backbone_arrays, index_arrays
from tests.store.made import make_encoder

Rows = dict[str, np.ndarray]

SPECIFICATION = Path(__file__).parents[2] / "cache" / "README.md"


def metadata(encoder: GroupEncoder, array: str) -> dict[str, Any]:
    return dict(json.loads(encoder.metadata()[f"{array}/zarr.json"]))


def test_all_zero_chunks_are_written() -> None:
    encoder = GroupEncoder(backbone_arrays(4, 0, "float16", head=False), rows=4, partition_rows=2)
    zeros: Rows = {"features": np.zeros((2, 4), np.float16), "status": np.zeros(2, np.uint8)}
    files = {**encoder.partition(0, zeros), **encoder.partition(1, zeros)}
    assert {name: len(content) for name, content in files.items()} == {
        "features/c/0/0": 2 * 4 * 2 + 4,  # raw bytes and a crc32c
        "features/c/1/0": 2 * 4 * 2 + 4,
        "status/c/0": 2 + 4,
        "status/c/1": 2 + 4,
    }


def test_features_are_raw_little_endian_bytes_with_a_crc() -> None:
    encoder = GroupEncoder(backbone_arrays(2, 0, "float16", head=False), rows=2, partition_rows=2)
    values = np.array([[1, 2], [3, 4]], "<f2")
    chunk = encoder.partition(0, {"features": values, "status": np.zeros(2, np.uint8)})["features/c/0/0"]
    assert chunk[:-4] == values.tobytes()
    described = metadata(encoder, "features")
    assert [codec["name"] for codec in described["codecs"]] == ["bytes", "crc32c"]
    assert (described["fill_value"], described["dimension_names"]) == ("NaN", ["sample", "feature"])
    assert described["shape"] == [2, 2]
    assert described["zarr_format"] == 3


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_chunks_are_the_bytes_that_zarr_writes(dtype: str) -> None:
    encoder = GroupEncoder(backbone_arrays(5, 3, dtype, head=True), rows=7, partition_rows=4)
    values = {
        spec.name: np.arange(7 * 5).reshape(7, 5)[: spec.rows or 7, *map(slice, spec.item_shape)].astype(spec.dtype)
        for spec in encoder.specs.values()
        if spec.item_shape
    }
    values |= {"status": np.arange(7, dtype=np.uint8), "head_bias": np.ones(3, np.float32)}
    per_sample = [spec.name for spec in encoder.specs.values() if spec.per_sample]
    files = {**encoder.whole("head_weight", values["head_weight"]), **encoder.whole("head_bias", values["head_bias"])}
    for number, rows in enumerate((slice(0, 4), slice(4, 7))):
        files |= encoder.partition(number, {name: values[name][rows] for name in per_sample})
    assert files == written_by_zarr(encoder, values)


def written_by_zarr(encoder: GroupEncoder, values: Rows) -> dict[str, bytes]:
    """Return the chunk files that Zarr writes into arrays with an encoder's metadata."""
    store: dict[str, AnyBuffer] = {name: Buffer.from_bytes(content) for name, content in encoder.metadata().items()}
    with zarr.config.set({"array.write_empty_chunks": True}):
        group = zarr.open_group(MemoryStore(store), mode="r+")
        for name, rows in values.items():
            group[name][...] = rows  # type: ignore[index]
    return {name: content.to_bytes() for name, content in store.items() if "/c/" in name}


def test_last_partition_may_be_short() -> None:
    encoder = make_encoder()
    assert encoder.partitions == 3
    part: Rows = {
        "features": np.ones((1, 3), np.float16),
        "imagenet_probabilities": np.ones((1, 2), np.float16),
        "status": np.zeros(1, np.uint8),
    }
    assert sorted(encoder.partition(2, part)) == ["features/c/2/0", "imagenet_probabilities/c/2/0", "status/c/2"]
    with pytest.raises(ValueError, match="cannot take values of shape"):
        encoder.partition(1, part)
    with pytest.raises(ValueError, match="a partition needs the arrays"):
        encoder.partition(2, {"features": part["features"]})


def test_encoding_is_the_same_whatever_was_encoded_before() -> None:
    part: Rows = {
        "features": np.full((2, 3), 7, np.float16),
        "imagenet_probabilities": np.ones((2, 2), np.float16),
        "status": np.zeros(2, np.uint8),
    }
    fresh, used = make_encoder.__wrapped__(), make_encoder.__wrapped__()
    used.partition(0, {**part, "features": -part["features"]})
    assert used.partition(1, part) == fresh.partition(1, part)
    assert used.metadata() == fresh.metadata()


def test_large_arrays_are_cut_into_chunks_of_megabytes() -> None:
    encoder = GroupEncoder(backbone_arrays(4096, 1000, "float16", head=True), rows=3)
    grid = metadata(encoder, "head_weight")["chunk_grid"]
    assert grid == {"name": "regular", "configuration": {"chunk_shape": [256, 4096]}}
    assert len(encoder.whole("head_weight", np.zeros((1000, 4096), np.float32))) == 4


def test_arrays_of_both_kinds() -> None:
    names = [spec.name for spec in backbone_arrays(8, 5, "float32", head=True)]
    assert names == ["features", "status", "imagenet_probabilities", "head_weight", "head_bias"]
    assert [spec.dtype for spec in index_arrays(2, 9, (32, 64))] == [
        "uint8", "uint8", "uint8", "uint8", "int64", "uint8", "int32",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        spec.name
        for spec in (*backbone_arrays(1, 1, "float16", head=True), *index_arrays(1, 1, (32, 64), layout.COLUMN_NAMES))
    ]
    + [layout.CLASS_NAMES, *layout.COLUMN_NAMES.values()],
)
def test_every_name_stands_in_the_specification(name: str) -> None:
    assert name in SPECIFICATION.read_text(encoding="utf-8")
