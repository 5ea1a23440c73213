"""A small network, its preprocessing, images for it, and a GPU that is none."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fusion_pipeline.extract.engines import choice, cuda
from fusion_pipeline.extract.engines.cuda import CudaEngine
from fusion_pipeline.extract.engines.eager import autocast
from fusion_pipeline.extract.networks.backbones import Preprocessing
from fusion_pipeline.extract.networks.network import Network, build_network, find_preprocessing
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


def pretend_gpu(patch: pytest.MonkeyPatch, name: str = "Pretended GPU") -> None:
    """Let the processor pass for a GPU."""
    event = SimpleNamespace(record=lambda _stream: None, synchronize=lambda: None, elapsed_time=lambda _other: 1.0)
    stream = SimpleNamespace(wait_event=lambda _event: None)
    for thing, value in {
        "Event": lambda **_: event,
        "Stream": lambda: stream,
        "current_stream": lambda: stream,
        "stream": lambda _stream: nullcontext(),
        "device": lambda _device: nullcontext(),
        "synchronize": lambda: None,
        "is_available": lambda: True,
        "get_device_name": lambda _device: name,
    }.items():
        patch.setattr(torch.cuda, thing, value)
    patch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    patch.setattr(torch.Tensor, "is_pinned", lambda _self: True)
    patch.setattr(torch.Tensor, "record_stream", lambda _self, _stream: None)
    patch.setattr(cuda, "autocast", lambda _device, precision: autocast("cpu", precision))
    patch.setattr(choice, "CudaEngine", _OnProcessor)


class _OnProcessor(CudaEngine):
    def __init__(self, network: Network, preprocessing: Preprocessing, _device: str, **options: Any) -> None:
        super().__init__(network, preprocessing, "cpu", **options)
