"""Decoded images into the rows of one store: a backbone's features, or the thumbnails of the index."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np
from PIL import Image

from fusion_pipeline.extract.backbones import Backbone, Preprocessing
from fusion_pipeline.extract.engine import Engine
from fusion_pipeline.extract.network import Network
from fusion_pipeline.images.decode import DecodeBudget, decoder_identity
from fusion_pipeline.images.thumbnails import THUMBNAIL_SIZES, thumbnail_identity, thumbnails
from fusion_pipeline.store import layout
from fusion_pipeline.store.identity import Recipe
from fusion_pipeline.store.layout import ArraySpec

Prepared = tuple[np.ndarray, ...]


class Producer(Protocol):
    """Makes the rows of one store.

    `prepare` runs in the decoding threads, once per image for all producers with the same `preparation`; `compute`
    runs in the main thread, on a batch.
    """

    @property
    def name(self) -> str:
        """What the seconds of `compute` are booked under."""
        ...

    @property
    def preparation(self) -> Hashable:
        """Equal for producers that can share what `prepare` gives."""
        ...

    def prepare(self, image: Image.Image) -> Prepared:
        """Turn one RGB image into the arrays that `compute` takes in batches."""
        ...

    def compute(self, batch: Prepared) -> Mapping[str, np.ndarray]:
        """Turn a batch of prepared images, stacked, into rows by array name."""
        ...


class ThumbnailProducer:
    """Makes the rows of an index store: square thumbnails."""

    name = "thumbnails"
    preparation: Hashable = "thumbnails"

    def prepare(self, image: Image.Image) -> Prepared:
        """Return the image's thumbnails, (size, size, 3) uint8 each."""
        return tuple(thumbnails(image).values())

    def compute(self, batch: Prepared) -> Mapping[str, np.ndarray]:
        """Return the thumbnails by array name."""
        return {layout.THUMBNAILS.format(size=size): rows for size, rows in zip(THUMBNAIL_SIZES, batch, strict=True)}


class BackboneProducer:
    """Makes the rows of a backbone store: features and probabilities.

    Parameters
    ----------
    name : str
        The backbone's name.
    preprocessing : Preprocessing
        How an image becomes its input.
    engine : Engine
        Runs the network.
    """

    def __init__(self, name: str, preprocessing: Preprocessing, engine: Engine) -> None:
        self.name = name
        self.preparation: Hashable = preprocessing.geometry
        self._transform = _transform(preprocessing)
        self.engine = engine

    def prepare(self, image: Image.Image) -> Prepared:
        """Return the resized and cropped image, (3, y, x) uint8."""
        return (np.asarray(self._transform(image), dtype=np.uint8),)

    def compute(self, batch: Prepared) -> Mapping[str, np.ndarray]:
        """Return features and probabilities by array name, float32."""
        features, probabilities = self.engine.forward(batch[0])
        rows = {layout.FEATURES: features}
        return rows if probabilities is None else {**rows, layout.PROBABILITIES: probabilities}


def index_recipe(budget: DecodeBudget) -> Recipe:
    """Return how the index store is made, whatever the images.

    Examples
    --------
    >>> sorted(index_recipe(DecodeBudget()))
    ['decoder', 'kind', 'thumbnails']
    >>> index_recipe(DecodeBudget(max_pixels=1000))["budget"]["max_pixels"]
    1000
    """
    return {
        "kind": "index",
        "decoder": decoder_identity(),
        "thumbnails": thumbnail_identity(),
        **_unusual_budget(budget),
    }


def backbone_recipe(
    backbone: Backbone, preprocessing: Preprocessing, weights: str, dtype: str, budget: DecodeBudget
) -> Recipe:
    """Return how a backbone store is made, whatever the images.

    Parameters
    ----------
    backbone : Backbone
        The network.
    preprocessing : Preprocessing
        How an image becomes its input.
    weights : str
        sha256 of the weights file.
    dtype : {"float16", "float32"}
        How features are stored.
    budget : DecodeBudget
        What an image may cost: it decides which rows are NaN.

    Returns
    -------
    mapping
        With the digest of the data set it becomes the store's identity.
    """
    return {
        "kind": "backbone",
        "backbone": {
            "library": backbone.library,
            "architecture": backbone.architecture,
            "arguments": dict(backbone.arguments),
            "tap": "input of the classifier, averaged over positions",
        },
        "weights": weights,
        "decoder": decoder_identity(),
        "preprocessing": preprocessing.to_json(),
        "dtype": dtype,
        "precision": "float32",
        **_unusual_budget(budget),
    }


def _unusual_budget(budget: DecodeBudget) -> dict[str, dict[str, int]]:
    """Return the budget's part of a recipe: nothing for the usual one, as the format says."""
    return {} if budget == DecodeBudget() else {"budget": asdict(budget)}


def backbone_specs(network: Network, dtype: str) -> tuple[ArraySpec, ...]:
    """Return the arrays that a network's store has."""
    return layout.backbone_arrays(network.n_features, network.n_classes, dtype, head=network.head is not None)


def head_arrays(network: Network) -> dict[str, np.ndarray]:
    """Return the network's linear head by array name; nothing where it has none."""
    if network.head is None:
        return {}
    return {
        layout.HEAD_WEIGHT: network.head.weight.cpu().numpy(),
        layout.HEAD_BIAS: network.head.bias.cpu().numpy(),
    }


def path_arrays(paths: Sequence[bytes], sha256: Sequence[str], labels: Sequence[int]) -> dict[str, np.ndarray]:
    """Return the arrays of an index store that say which image each row is.

    Parameters
    ----------
    paths : sequence of bytes
        Relative path of each sample.
    sha256 : sequence of str
        Of each file, hexadecimal; empty for an unreadable one.
    labels : sequence of int
        Label of each sample.

    Returns
    -------
    dict of str to ndarray

    Examples
    --------
    >>> path_arrays([b"a/x.png", b"b/y.png"], ["", ""], [0, 1])["sample_path_offsets"].tolist()
    [0, 7, 14]
    """
    offsets = np.cumsum([0, *(len(path) for path in paths)], dtype=np.int64)
    return {
        layout.PATH_BYTES: np.frombuffer(b"".join(paths), dtype=np.uint8),
        layout.PATH_OFFSETS: offsets,
        layout.SHA256: np.array([list(bytes.fromhex(value or "00" * 32)) for value in sha256], dtype=np.uint8),
        layout.LABELS: np.asarray(labels, dtype=np.int32),
    }


def _transform(preprocessing: Preprocessing) -> Callable[[Image.Image], Any]:
    from timm.data.transforms_factory import create_transform  # noqa: PLC0415 - takes seconds

    # use_prefetcher leaves the pixels uint8 and the normalisation to the engine: a quarter of the bytes to move.
    transform: Callable[[Image.Image], Any] = create_transform(
        (3, preprocessing.input_size, preprocessing.input_size),
        is_training=False,
        use_prefetcher=True,
        interpolation=preprocessing.interpolation,
        crop_pct=preprocessing.crop_pct,
        crop_mode=preprocessing.crop_mode,
        mean=preprocessing.mean,
        std=preprocessing.std,
    )
    return transform
