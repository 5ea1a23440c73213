"""The network as it stands, layer by layer, on any device."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from fusion_pipeline.extract.engines.engine import Engine, Outputs
from fusion_pipeline.extract.networks.backbones import Preprocessing
from fusion_pipeline.extract.networks.network import Network


class EagerEngine(Engine):
    """Runs a network as it stands, channels last.

    Parameters
    ----------
    network, preprocessing, **options
        As `Engine` has them.
    device : str
        ``"cpu"``, ``"cuda"``, ``"cuda:1"`` and so on.
    """

    name = "eager"

    def __init__(self, network: Network, preprocessing: Preprocessing, device: str = "cpu", **options: Any) -> None:
        super().__init__(network, preprocessing, **options)
        self._device = torch.device(device)
        # Convolutions on the CPU run up to twice as fast on channels-last tensors; values change within rounding.
        network.module.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _launch(self, images: np.ndarray) -> Callable[[], Outputs]:
        started = time.perf_counter()
        pixels = torch.from_numpy(images).to(self._device)
        with exact(), autocast(self._device.type, self._precision), torch.inference_mode():
            features, probabilities = self._network(self._normalise(pixels))
        outputs = features.cpu().numpy(), None if probabilities is None else probabilities.cpu().numpy()
        self._book(started)
        return lambda: outputs


def autocast(device: str, precision: str) -> torch.autocast:
    """Return the context in which layers choose between `precision` and float32; one without effect for float32."""
    return torch.autocast(device, getattr(torch, precision), enabled=precision != "float32")


def exact() -> Any:
    """Return the context in which cuDNN computes in float32 what is to be float32, and does so the same way each time.

    TF32, its default for convolutions, keeps 10 bits of a mantissa. Of algorithms none is chosen by timing.
    """
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
