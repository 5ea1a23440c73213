"""A small network, its preprocessing, and images for it."""

from __future__ import annotations

from typing import Any

import numpy as np

from fusion_pipeline.extract.backbones import Preprocessing
from fusion_pipeline.extract.network import Network, build_network, find_preprocessing
from tests.builders import Tiny


def built(tiny: Tiny) -> tuple[Network, Preprocessing]:
    """Return a network of its own, as an engine may move it."""
    preprocessing = find_preprocessing(tiny.backbone)
    return build_network(tiny.backbone, tiny.weights, preprocessing.input_size), preprocessing


def some_images(preprocessing: Preprocessing, number: int, seed: int = 0) -> np.ndarray:
    """Return random uint8 images."""
    size = preprocessing.input_size
    return np.random.default_rng(seed).integers(0, 256, (number, 3, size, size), dtype=np.uint8)


def difference(found: Any, expected: Any) -> float:
    """Return the greatest difference over the greatest expected value."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())
