"""Small attempts and published stores of known arrays, for the tests of the store."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fusion_pipeline.store import Cache, Store
from fusion_pipeline.store.identity import canonical_json, digest
from fusion_pipeline.store.layout import CLASS_NAMES, COLUMN_NAMES, SPLITS, GroupEncoder, backbone_arrays, index_arrays
from fusion_pipeline.store.making.attempt import Attempt
from fusion_pipeline.store.manifest import FileEntry, Manifest
from fusion_pipeline.store.paths import manifest_copy, store_folder
from fusion_pipeline.store.storage.backend import Backend

DATASET = "made"
ROWS = 5
PARTITION_ROWS = 2
PARTITIONS = 3
N_FEATURES = 3
RECIPE: Mapping[str, Any] = {"kind": "backbone", "made": "for a test"}
VERSION = "sha256:" + "1" * 64
FEATURES = np.arange(ROWS * N_FEATURES, dtype=np.float16).reshape(ROWS, N_FEATURES)
"""Row 0 begins with a zero, and no value repeats: swapped or missing chunks show."""

SAMPLES = [f"{row:02x}" * 32 for row in range(ROWS)]


@functools.cache
def make_encoder() -> GroupEncoder:
    specs = backbone_arrays(N_FEATURES, 2, "float16", head=True)
    return GroupEncoder(specs, ROWS, PARTITION_ROWS, {"made": "here"})


def rows_of(number: int) -> slice:
    """Return the rows of a partition."""
    return slice(number * PARTITION_ROWS, min((number + 1) * PARTITION_ROWS, ROWS))


def open_attempt(backend: Backend, name: str = "alpha", recipe: Mapping[str, Any] = RECIPE) -> Attempt:
    return Attempt.open(backend, DATASET, name, recipe, make_encoder())


def write_partition(attempt: Attempt, number: int) -> None:
    rows = rows_of(number)
    arrays: dict[str, np.ndarray] = {
        "features": FEATURES[rows],
        "imagenet_probabilities": np.full((len(FEATURES[rows]), 2), 0.5, np.float16),
        "status": np.zeros(len(FEATURES[rows]), np.uint8),
    }
    attempt.write(number, arrays, SAMPLES[rows], {})


def missing_partitions(attempt: Attempt) -> list[int]:
    return [number for number in range(PARTITIONS) if not attempt.has(number)]


def finish(attempt: Attempt, version: str = VERSION) -> tuple[Manifest, bool]:
    """Write what the attempt lacks and publish it."""
    for number in missing_partitions(attempt):
        write_partition(attempt, number)
    head = {"head_weight": np.ones((2, N_FEATURES), np.float32), "head_bias": np.zeros(2, np.float32)}
    return attempt.publish(kind="backbone", dataset_digest=version, samples=SAMPLES, arrays=head, made={"why": "test"})


def publish(root: Path | str, name: str = "alpha", version: str = VERSION, recipe: Mapping[str, Any] = RECIPE) -> Store:
    """Publish a store of `FEATURES` in the cache at a location."""
    return publish_on(Cache(root).backend, name, version, recipe)


def publish_on(
    backend: Backend, name: str = "alpha", version: str = VERSION, recipe: Mapping[str, Any] = RECIPE
) -> Store:
    """Publish a store of `FEATURES`."""
    manifest, won = finish(open_attempt(backend, name, recipe), version)
    assert won
    return open_store(backend, manifest)


def open_store(backend: Backend, manifest: Manifest) -> Store:
    """Return the store that a manifest published."""
    dataset, _, folder = store_folder(DATASET, manifest.name, manifest.key).partition("/")
    return Store(backend, dataset, folder)


def root_of(store: Store) -> Path:
    """Return the folder of the cache that a store lies in."""
    return Path(store.backend.location)


def publish_index(
    root: Path | str, version: str = VERSION, made_by: str = "test", *, split: Sequence[str] = ()
) -> Store:
    """Publish an index of `ROWS` samples in two classes, with splits if some are given."""
    backend = Cache(root).backend
    paths = [b"a/0.png", b"a/\xff.png", b"b/2.png", b"b/3.png", b"b/4.png"]
    specs = index_arrays(ROWS, sum(map(len, paths)), (32,), [SPLITS] if split else [])
    names = {CLASS_NAMES: ["a", "b"]} | ({COLUMN_NAMES[SPLITS]: sorted(set(split))} if split else {})
    encoder = GroupEncoder(specs, ROWS, PARTITION_ROWS, names)
    attempt = Attempt.open(backend, DATASET, "index", {"kind": "index", "decoder": made_by}, encoder)
    for number in range(encoder.partitions):
        samples = SAMPLES[number * PARTITION_ROWS : (number + 1) * PARTITION_ROWS]
        arrays: dict[str, np.ndarray] = {
            "status": np.zeros(len(samples), np.uint8),
            "thumbnails_32": np.full((len(samples), 32, 32, 3), number, np.uint8),
        }
        attempt.write(number, arrays, samples, {})
    whole = {
        "sample_path_bytes": np.frombuffer(b"".join(paths), np.uint8),
        "sample_path_offsets": np.cumsum([0, *map(len, paths)]),
        "sha256": np.array([list(bytes.fromhex(sample)) for sample in SAMPLES], np.uint8),
        "label": np.array([0, 0, 1, 1, 1], np.int32),
    }
    if split:
        whole[SPLITS] = np.array([sorted(set(split)).index(text) for text in split], np.int32)
    manifest, _ = attempt.publish(kind="index", dataset_digest=version, samples=SAMPLES, arrays=whole, made={})
    return open_store(backend, manifest)


def put_manifest(store: Store, manifest: Manifest) -> Store:
    """Put another manifest, and its copy, in place of a store's; return the store as it is now."""
    folder = f"{store.dataset}/{store.folder}"
    store.backend.write(f"{folder}/manifest.json", manifest.to_bytes())
    store.backend.write(manifest_copy(folder, manifest.attempt), manifest.to_bytes())
    return Store(store.backend, store.dataset, store.folder)


def as_format_1_0(store: Store) -> Store:
    """Make a store what format 1.0 had: no CRC-32C in its manifest, and no copy of that."""
    files = {name: FileEntry(entry.length, entry.sha256) for name, entry in store.manifest.files.items()}
    older = put_manifest(store, replace(store.manifest, files=files, minor=0))
    store.backend.remove_file(manifest_copy(f"{store.dataset}/{store.folder}", store.manifest.attempt))
    return older


def swap_features(store: Store) -> Store:
    """Swap a store's first two chunks of features, and make its manifest consistent; return the store as it is now."""
    first, second = (f"features/c/{number}/0" for number in range(2))
    contents = {first: store.content(second), second: store.content(first)}
    for name, content in contents.items():
        store.backend.write(store.file(name), content)
    files = {**store.manifest.files, **{name: FileEntry.of(content) for name, content in contents.items()}}
    return put_manifest(store, replace(store.manifest, files=files))


def unreadable(store: Store, newer: bool = False) -> Store:
    """Damage a store's manifest, or make it one that a later version of the format wrote."""
    fields = json.loads(store.manifest_bytes)
    del fields["digest"]
    fields["format"]["version"] = "2.0"
    content = canonical_json({**fields, "digest": digest(fields)}) if newer else store.manifest_bytes[:-5]
    store.backend.write(f"{store.dataset}/{store.folder}/manifest.json", content)
    return store
