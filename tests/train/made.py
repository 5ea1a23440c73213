"""Made-up features, and published stores of them, for the tests of stage two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fusion_pipeline.store import Cache, Store
from fusion_pipeline.store.layout import GroupEncoder, backbone_arrays, index_arrays
from fusion_pipeline.store.making.attempt import Attempt
from fusion_pipeline.train.aligned import Aligned

SIZES = {"alpha": 12, "beta": 20}
DATASET = "made"


def make_features(
    labels: np.ndarray, n_features: int, seed: int, strength: float = 1.0, dtype: str = "float16"
) -> np.ndarray:
    """Return features (n, n_features) whose class means stand `strength` apart in unit noise."""
    generator = np.random.default_rng(seed)
    means = strength * generator.normal(size=(int(labels.max()) + 1, n_features))
    return (means[labels] + generator.normal(size=(len(labels), n_features))).astype(dtype)


def make_labels(per_class: int, n_classes: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(n_classes), per_class))


def make_thumbnails(n: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size=(n, size, size, 3), dtype=np.uint8)


def publish(
    cache: Path,
    features: Mapping[str, np.ndarray],
    labels: np.ndarray,
    *,
    bad: Mapping[str, Sequence[int]] | None = None,
    version: str = "sha256:" + "0" * 64,
    thumbnail_sizes: Sequence[int] = (32,),
    thumbnails: np.ndarray | None = None,
    imagenet: Mapping[str, np.ndarray] | None = None,
    class_names: Sequence[str] | None = None,
    paths: Sequence[bytes] | None = None,
) -> list[Store]:
    """Publish an index and one store per backbone; `bad` names the rows that each backbone could not compute.

    Thumbnails are noise, but for those that `thumbnails` gives. A backbone has ImageNet
    probabilities where `imagenet` gives them. Classes and images are numbered, unless they are given names.
    """
    home = Cache(cache)
    n, bad = len(labels), bad or {}
    paths = paths or [f"{row:03}.jpg".encode() for row in range(n)]
    names = class_names or [f"class {label}" for label in range(int(labels.max()) + 1)]
    index = GroupEncoder(
        index_arrays(n, sum(map(len, paths)), thumbnail_sizes),
        n,
        attributes={"class_names": list(names)},
    )
    pictures = {f"thumbnails_{size}": make_thumbnails(n, size) for size in thumbnail_sizes}
    if thumbnails is not None:
        pictures[f"thumbnails_{thumbnails.shape[1]}"] = thumbnails
    whole = {
        "sample_path_bytes": np.frombuffer(b"".join(paths), np.uint8),
        "sample_path_offsets": np.concatenate([[0], np.cumsum([len(path) for path in paths])]),
        "sha256": np.ones((n, 32), np.uint8),
        "label": labels.astype(np.int32),
    }
    _publish(home, "index", index, pictures, bad.get("index", ()), version, whole)
    for name, matrix in features.items():
        known = {"imagenet_probabilities": imagenet[name]} if imagenet and name in imagenet else {}
        n_classes = sum(probabilities.shape[1] for probabilities in known.values())
        encoder = GroupEncoder(backbone_arrays(matrix.shape[1], n_classes, str(matrix.dtype), head=False), n)
        _publish(home, name, encoder, {"features": matrix, **known}, bad.get(name, ()), version, {})
    found = {store.name: store for store in home[DATASET].stores() if store.manifest.dataset == version}
    return [found[name] for name in features]


def _publish(
    home: Cache,
    name: str,
    encoder: GroupEncoder,
    arrays: Mapping[str, np.ndarray],
    bad: Sequence[int],
    version: str,
    whole: Mapping[str, np.ndarray],
) -> None:
    status = np.zeros(encoder.rows, np.uint8)
    status[list(bad)] = 1
    attempt = Attempt.open(home.backend, DATASET, name, {"recipe": name}, encoder)
    for number in range(encoder.partitions):
        rows = slice(number * encoder.partition_rows, min((number + 1) * encoder.partition_rows, encoder.rows))
        part = {array: values[rows] for array, values in {**arrays, "status": status}.items()}
        attempt.write(number, part, ["00"] * (rows.stop - rows.start), {})
    kind = "index" if name == "index" else "backbone"
    attempt.publish(kind=kind, dataset_digest=version, samples=["00"] * encoder.rows, arrays=whole, made={})


def make_aligned(cache: Path, per_class: int = 20, n_classes: int = 3, **options: object) -> Aligned:
    """Return the record of two made backbones, each of which sees a part of what tells the classes apart."""
    labels = make_labels(per_class, n_classes)
    features = {
        name: make_features(labels, size, seed, 0.5) for seed, (name, size) in enumerate(SIZES.items(), start=1)
    }
    return Aligned.of(publish(cache, features, labels, **options))  # type: ignore[arg-type]


def telling_data(n: int = 150, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Return features of two backbones, thumbnails and labels that teach every gate whom to trust.

    Of 15 images, alpha's features show the wrong class in 6, beta's in 4; one of alpha's columns and the thumbnail's
    brightness say which of the two is right. No linear expert can make use of that column.
    """
    generator = np.random.default_rng(seed)
    labels, kinds = np.arange(n) % 3, np.arange(n) // 3 % 15
    misled = {"alpha": kinds < 6, "beta": kinds >= 11}
    features = {}
    for name, wrong in misled.items():
        shown = np.where(wrong, (labels + generator.integers(1, 3, n)) % 3, labels)
        features[name] = 3 * np.eye(3)[shown] + 0.3 * generator.normal(size=(n, 3))
    tells = np.where(misled["alpha"], -1.0, 1.0) + 0.1 * generator.normal(size=n)
    features["alpha"] = np.column_stack([features["alpha"], tells])
    thumbnails = generator.integers(0, 40, size=(n, 32, 32, 3), dtype=np.uint8)
    thumbnails[~misled["alpha"]] += 200
    return {name: matrix.astype("float16") for name, matrix in features.items()}, thumbnails, labels
