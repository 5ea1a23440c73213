"""Metadata of arrays: what this format writes is read, anything that could harm a reader is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from fusion_pipeline.errors import FormatError, IntegrityError, RefusedError
from fusion_pipeline.store.layout import index_arrays
from fusion_pipeline.store.manifest import FileEntry
from fusion_pipeline.store.metadata import ArrayMetadata
from tests.store.made import FEATURES, N_FEATURES, PARTITION_ROWS, make_encoder

WHERE = "cache/made/alpha/features/zarr.json"
FILES = make_encoder().metadata()


def parse(change: Callable[[dict[str, Any]], object] = lambda _: None) -> ArrayMetadata:
    fields = json.loads(FILES["features/zarr.json"])
    change(fields)
    return ArrayMetadata.parse("features", json.dumps(fields).encode(), WHERE)


def test_every_array_that_is_written_is_read() -> None:
    for name in ("features", "imagenet_probabilities", "status", "head_weight", "head_bias"):
        ArrayMetadata.parse(name, FILES[f"{name}/zarr.json"], name)
    assert parse() == ArrayMetadata("features", FEATURES.shape, (PARTITION_ROWS, N_FEATURES), "float16")
    assert {spec.dtype for spec in index_arrays(3, 9, (32,))} <= {"uint8", "int32", "int64"}


def test_lengths_and_names_of_chunks_are_those_that_are_written() -> None:
    chunks = make_encoder().partition(
        2, {name: values[:1] for name, values in {"features": FEATURES, **others()}.items()}
    )
    assert len(chunks["features/c/2/0"]) == parse().chunk_bytes
    assert parse().chunk_files() == {"features/c/0/0", "features/c/1/0", "features/c/2/0"}


def others() -> dict[str, Any]:
    return {"imagenet_probabilities": FEATURES[:, :2], "status": FEATURES[:, 0].astype("uint8")}


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.update(data_type="object"),
        lambda fields: fields.update(data_type={"name": "null_terminated_bytes"}),
        lambda fields: fields.update(data_type="float64"),
        lambda fields: fields.update(codecs=[{"name": "bytes"}]),
        lambda fields: fields["codecs"].append({"name": "zstd", "configuration": {"level": 0, "checksum": False}}),
        lambda fields: fields["codecs"].__setitem__(0, {"name": "vlen-utf8"}),
        lambda fields: fields["codecs"][0].update(configuration={"endian": "big"}),
        lambda fields: fields["chunk_key_encoding"].update(configuration={"separator": "."}),
        lambda fields: fields.update(storage_transformers=[{"name": "evil"}]),
    ],
)
def test_what_no_array_of_this_format_has_is_refused(change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(RefusedError, match="Do not trust the store"):
        parse(change)


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.update(zarr_format=2),
        lambda fields: fields.update(node_type="group"),
        lambda fields: fields.update(shape=[5]),
        lambda fields: fields.update(shape=[5, 2.5]),
        lambda fields: fields.update(shape=[True, 3]),
        lambda fields: fields["chunk_grid"].update(name="rectangular"),
        lambda fields: fields["chunk_grid"]["configuration"].update(chunk_shape=[0, 3]),
        lambda fields: fields.update(codecs=[]),
        lambda fields: fields.update(codecs="bytes"),
        lambda fields: fields.pop("codecs"),
        lambda fields: fields.pop("chunk_grid"),
    ],
)
def test_what_is_no_array_is_another_format(change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(FormatError, match=WHERE):
        parse(change)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"a":' * 100_000, b"\xff"])
def test_bytes_that_are_no_metadata(content: bytes) -> None:
    with pytest.raises(FormatError, match=WHERE):
        ArrayMetadata.parse("features", content, WHERE)


def test_shapes_are_held_against_what_is_there() -> None:
    length = parse().chunk_bytes
    files = {name: FileEntry(length, "0" * 64) for name in parse().chunk_files()}
    parse().check(files, "alpha/features")
    with pytest.raises(RefusedError, match="far beyond"):
        parse(lambda fields: fields.update(shape=[10**12, N_FEATURES])).check(files, "alpha/features")
    with pytest.raises(RefusedError, match=f"has {length} bytes, but its shape and dtype need {length + 3 * 2}"):
        parse(lambda fields: fields["chunk_grid"]["configuration"].update(chunk_shape=[3, 3])).check(files, "x")
    del files["features/c/2/0"]
    with pytest.raises(IntegrityError, match="lacks chunk 'features/c/2/0'"):
        parse().check({**files, "zarr.json": FileEntry.of(b"")}, "alpha/features")
