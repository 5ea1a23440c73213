"""A batch of uint8 images into features and probabilities, on one device."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from fusion_pipeline.errors import UsageError, printable
from fusion_pipeline.extract.backbones import Preprocessing
from fusion_pipeline.extract.network import Network


class Engine(Protocol):
    """Runs a network as fast as the device at hand allows."""

    def forward(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Turn images, (n, 3, y, x) uint8, into features, (n, n_features), and probabilities, (n, n_classes)."""
        ...


class EagerEngine:
    """Runs a network in float32 as it stands, channels last.

    Parameters
    ----------
    network : Network
        The network.
    preprocessing : Preprocessing
        Its normalisation.
    device : str
        ``"cpu"``, ``"cuda"``, ``"cuda:1"`` and so on.
    """

    def __init__(self, network: Network, preprocessing: Preprocessing, device: str = "cpu") -> None:
        self._network = network
        self._device = torch.device(device)
        # Convolutions on the CPU run up to twice as fast on channels-last tensors; values change within rounding.
        network.module.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._mean = torch.tensor(preprocessing.mean, device=self._device).mul(255).view(3, 1, 1)
        self._std = torch.tensor(preprocessing.std, device=self._device).mul(255).view(3, 1, 1)

    def forward(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Run the network.

        Parameters
        ----------
        images : ndarray
            (n, 3, input_size, input_size), uint8.

        Returns
        -------
        features : ndarray
            (n, n_features), float32.
        probabilities : ndarray or None
            (n, n_classes), float32.
        """
        pixels = torch.from_numpy(images).to(self._device).float()
        normalised = pixels.sub_(self._mean).div_(self._std).contiguous(memory_format=torch.channels_last)
        # TF32, cuDNN's default for convolutions, keeps 10 bits of a mantissa: the identity says float32.
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            features, probabilities = self._network(normalised)
        return features.cpu().numpy(), None if probabilities is None else probabilities.cpu().numpy()


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
    size = preprocessing.input_size
    images = np.random.default_rng(0).integers(0, 256, (2, 3, size, size), dtype=np.uint8)
    stored = engine.forward(images)[0].astype(dtype).astype(np.float32)
    plain = EagerEngine(network.on_cpu(), preprocessing, "cpu").forward(images)[0]
    return float(np.abs(stored - plain).max() / max(float(np.abs(plain).max()), 1e-30))


def find_device(name: str) -> str:
    """Return the device that `name` stands for.

    Parameters
    ----------
    name : str
        ``"auto"`` (the GPU where there is one), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.

    Raises
    ------
    UsageError
        If this machine does not have it.

    Examples
    --------
    >>> find_device("cpu")
    'cpu'
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError):
        raise UsageError(f"Device '{printable(name)}' is not on this machine. Use --device cpu or auto.") from None
    return name


def describe_device(device: str) -> dict[str, str | int]:
    """Return what a store tells about the device it was made on."""
    if device.startswith("cuda"):
        return {"device": torch.cuda.get_device_name(device)}
    return {"device": "cpu", "threads": torch.get_num_threads()}
