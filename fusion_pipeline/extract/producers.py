"""Decoded images into the rows of one store: a backbone's features, or the thumbnails of the index."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Protocol

import numpy as np

from fusion_pipeline.extract.engines.engine import Engine
from fusion_pipeline.extract.loading.preparation import NetworkInput, Preparation, Prepared, Squares
from fusion_pipeline.extract.networks.backbones import Backbone, Preprocessing
from fusion_pipeline.extract.networks.network import Network
from fusion_pipeline.extract.networks.taps import CLASSIFIER_INPUT
from fusion_pipeline.images.decode import DecodeBudget, decoder_identity
from fusion_pipeline.images.thumbnails import THUMBNAIL_SIZES, thumbnail_identity
from fusion_pipeline.store import layout
from fusion_pipeline.store.identity import Recipe
from fusion_pipeline.store.layout import ArraySpec


class Producer(Protocol):
    """Makes the rows of one store out of images that were prepared, in other threads, as it wants them."""

    @property
    def name(self) -> str:
        """What the seconds of its network are booked under."""
        ...

    @property
    def preparation(self) -> Preparation:
        """What prepares an image; equal for producers that can share the result."""
        ...

    @property
    def batch_size(self) -> int:
        """The number of images that it takes at a time; 0 for whatever there is."""
        ...

    @property
    def seconds(self) -> Mapping[str, float]:
        """What it has spent so far, by stage."""
        ...

    def launch(self, batch: Prepared) -> Callable[[], Mapping[str, np.ndarray]]:
        """Begin with a batch of prepared images, stacked; the result is called for the rows by array name."""
        ...


class ThumbnailProducer:
    """Makes the rows of an index store: square thumbnails."""

    name = "thumbnails"
    preparation: Preparation = Squares()
    batch_size = 0
    seconds: Mapping[str, float] = MappingProxyType({})

    def launch(self, batch: Prepared) -> Callable[[], Mapping[str, np.ndarray]]:
        """Return what returns the thumbnails by array name."""
        rows = {layout.THUMBNAILS.format(size=size): rows for size, rows in zip(THUMBNAIL_SIZES, batch, strict=True)}
        return lambda: rows


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
        self.preparation: Preparation = NetworkInput.of(preprocessing)
        self.engine = engine

    @property
    def batch_size(self) -> int:
        """The number of images that the engine takes at a time."""
        return self.engine.batch_size

    @property
    def seconds(self) -> Mapping[str, float]:
        """What the engine has spent so far, by stage."""
        return self.engine.seconds

    def launch(self, batch: Prepared) -> Callable[[], Mapping[str, np.ndarray]]:
        """Begin with a batch; the result is called for features and probabilities by array name, float32."""
        outputs = self.engine.launch(batch[0])

        def rows() -> Mapping[str, np.ndarray]:
            features, probabilities = outputs()
            found = {layout.FEATURES: features}
            return found if probabilities is None else {**found, layout.PROBABILITIES: probabilities}

        return rows


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
    backbone: Backbone,
    preprocessing: Preprocessing,
    weights: str,
    dtype: str,
    budget: DecodeBudget,
    precision: str = "float32",
    tap: str = CLASSIFIER_INPUT,
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
    precision : {"float32", "float16", "bfloat16"}
        What the network computes in.
    tap : str
        Where its features are taken: see `taps.tap_rule`.

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
            "tap": tap,
        },
        "weights": weights,
        "decoder": decoder_identity(),
        "preprocessing": preprocessing.to_json(),
        "dtype": dtype,
        "precision": precision if precision == "float32" else f"autocast {precision}",
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
    hashes = b"".join(bytes.fromhex(value) or bytes(32) for value in sha256)
    return {
        layout.PATH_BYTES: np.frombuffer(b"".join(paths), dtype=np.uint8),
        layout.PATH_OFFSETS: offsets,
        layout.SHA256: np.frombuffer(hashes, dtype=np.uint8).reshape(-1, 32),
        layout.LABELS: np.asarray(labels, dtype=np.int32),
    }
