"""How far what an engine gives is from what the plain network gives, on images that are the same everywhere."""

from __future__ import annotations

import numpy as np

from fusion_pipeline.extract.engines.eager import EagerEngine
from fusion_pipeline.extract.engines.engine import Engine
from fusion_pipeline.extract.networks.backbones import Preprocessing
from fusion_pipeline.extract.networks.network import Network

_IMAGES = 2


def probe_deviation(network: Network, preprocessing: Preprocessing, engine: Engine, dtype: str) -> float:
    """Return how far features, as an engine makes them and a store keeps them, are from plain float32 ones.

    Parameters
    ----------
    network : Network
        What the engine runs.
    preprocessing : Preprocessing
        Its input.
    engine : Engine
        What made the features.
    dtype : {"float16", "float32"}
        How they are stored.

    Returns
    -------
    float
        The greatest difference on two random images, over the greatest feature of the float32 network on the CPU.
    """
    images = _images(preprocessing)
    stored = engine.forward(images)[0].astype(dtype).astype(np.float32)
    plain = EagerEngine(network.on_cpu(), preprocessing, "cpu").forward(images)[0]
    return _difference(stored, plain)


def batch_drift(preprocessing: Preprocessing, engine: Engine) -> float:
    """Return how far an image's features depend on how many others are in its batch.

    Returns
    -------
    float
        The greatest difference between two random images in a batch and one after the other, over the greatest
        feature.
    """
    images = _images(preprocessing)
    together = engine.forward(images)[0]
    return _difference(np.concatenate([engine.forward(images[i : i + 1])[0] for i in range(_IMAGES)]), together)


def _images(preprocessing: Preprocessing) -> np.ndarray:
    size = preprocessing.input_size
    return np.random.default_rng(0).integers(0, 256, (_IMAGES, 3, size, size), dtype=np.uint8)


def _difference(values: np.ndarray, plain: np.ndarray) -> float:
    return float(np.abs(values - plain).max() / max(float(np.abs(plain).max()), 1e-30))
