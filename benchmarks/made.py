"""Sizes become made-up features of low rank with classes in them, and a small cache that has all that rows need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fusion_pipeline.store import Cache
from fusion_pipeline.store.layout import (
    FEATURES,
    LABELS,
    PATH_BYTES,
    PATH_OFFSETS,
    PROBABILITIES,
    SHA256,
    STATUS,
    THUMBNAILS,
    GroupEncoder,
    backbone_arrays,
    index_arrays,
)
from fusion_pipeline.store.making.attempt import Attempt
from fusion_pipeline.train.labels.choice import IMAGENET_CLASSES
from fusion_pipeline.train.labels.names import imagenet_classes
from fusion_pipeline.train.labels.tokens import wanted_words

DATASET, VERSION = "made", f"sha256:{'1' * 64}"
SIZES = (32, 64)


def make_features(rows: int, widths: Sequence[int], classes: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Return features (rows, width), float16, of each backbone, and labels (rows,) that they tell apart in part."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(rows) % classes)
    rank = min(256, *widths)
    hidden = rng.standard_normal((classes, rank))[labels] + 1.5 * rng.standard_normal((rows, rank))
    return [_features(rng, hidden.astype(np.float32), width) for width in widths], labels


def _features(rng: np.random.Generator, hidden: np.ndarray, width: int) -> np.ndarray:
    found = np.empty((len(hidden), width), np.float16)
    for start in range(0, width, 256):  # the peak of making features must not hide that of solving
        columns = found[:, start : start + 256]
        mixing = rng.standard_normal((hidden.shape[1], columns.shape[1]), np.float32) / np.float32(
            hidden.shape[1] ** 0.5
        )
        noise = 0.3 * rng.standard_normal(columns.shape, np.float32)
        columns[...] = np.maximum(hidden @ mixing + noise, 0.0)
    return found


def make_cache(folder: Path, rows: int, widths: Sequence[int], classes: int) -> str:
    """Publish an index with thumbnails of noise, and one backbone for each width; return the folder."""
    blocks, labels = make_features(rows, widths, classes)
    rng = np.random.default_rng(1)
    paths = [f"{row:06}.jpg".encode() for row in range(rows)]
    whole = {
        PATH_BYTES: np.frombuffer(b"".join(paths), np.uint8),
        PATH_OFFSETS: np.concatenate([[0], np.cumsum([len(path) for path in paths])]),
        SHA256: np.ones((rows, 32), np.uint8),
        LABELS: labels.astype(np.int32),
    }
    names = {"class_names": [f"class {number}" for number in range(classes)]}
    index = GroupEncoder(index_arrays(rows, sum(map(len, paths)), SIZES), rows, attributes=names)
    pictures = {THUMBNAILS.format(size=size): rng.integers(0, 256, (rows, size, size, 3), np.uint8) for size in SIZES}
    _publish(folder, "index", index, pictures, whole)
    for number, features in enumerate(blocks, start=1):
        known = rng.random((rows, IMAGENET_CLASSES)) ** 40
        arrays = {FEATURES: features, PROBABILITIES: (known / known.sum(axis=1, keepdims=True)).astype(np.float16)}
        encoder = GroupEncoder(backbone_arrays(features.shape[1], IMAGENET_CLASSES, "float16", head=False), rows)
        _publish(folder, f"backbone{number}", encoder, arrays, {})
    return str(folder)


def _publish(
    folder: Path, name: str, encoder: GroupEncoder, arrays: Mapping[str, np.ndarray], whole: Mapping[str, np.ndarray]
) -> None:
    samples = [f"{row:064x}" for row in range(encoder.rows)]
    complete = {**arrays, STATUS: np.zeros(encoder.rows, np.uint8)}
    attempt = Attempt.open(Cache(folder).backend, DATASET, name, {"recipe": name}, encoder)
    for number in range(encoder.partitions):
        rows = slice(number * encoder.partition_rows, min((number + 1) * encoder.partition_rows, encoder.rows))
        attempt.write(number, {array: values[rows] for array, values in complete.items()}, samples[rows], {})
    kind = "index" if name == "index" else "backbone"
    attempt.publish(kind=kind, dataset_digest=VERSION, samples=samples, arrays=whole, made={})


def make_label_vectors(path: Path, dimension: int = 8) -> str:
    """Write made-up vectors of every word in the names of ImageNet's classes, in GloVe's format; return the path."""
    rng = np.random.default_rng(2)
    words = sorted(frozenset().union(*map(wanted_words, imagenet_classes())))
    lines = (f"{word} {' '.join(f'{number:.4f}' for number in rng.standard_normal(dimension))}\n" for word in words)
    path.write_text("".join(lines), encoding="utf-8")
    return str(path)
