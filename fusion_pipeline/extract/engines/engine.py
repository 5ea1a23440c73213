"""A batch of images into features and probabilities: what every engine does, whatever the device."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from fusion_pipeline.errors import ClusterError, printable
from fusion_pipeline.extract.networks.backbones import Preprocessing
from fusion_pipeline.extract.networks.network import Network

Result = TypeVar("Result")
Outputs = tuple[np.ndarray, np.ndarray | None]
"""Features, (n, n_features) float32, and probabilities, (n, n_classes) float32, or None without a head."""

# What has no class of its own: of processors, of memory that a GPU copies from, of the libraries that compute on it.
_LACK_OF_MEMORY = (
    "not enough memory",
    "can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


class Engine(ABC):
    """Runs a network on uint8 images.

    An engine takes as many images at a time as its batch size says. Where they do not fit into the device's memory it
    halves that number, says so, and goes on.

    Parameters
    ----------
    network : Network
        The network; the engine may move it to another device.
    preprocessing : Preprocessing
        Its normalisation.
    batch_size : int
        Images in a forward pass.
    precision : {"float32", "float16", "bfloat16"}
        What the network computes in; other than float32, layers choose between it and float32 (autocast).
    tell : callable
        Takes a line for people.

    Attributes
    ----------
    name : str
        What a store calls it.
    seconds : dict of str to float
        Spent so far: ``"forward"`` and, on a GPU, ``"transfer"``.
    """

    name = "engine"

    def __init__(
        self,
        network: Network,
        preprocessing: Preprocessing,
        *,
        batch_size: int = 32,
        precision: str = "float32",
        tell: Callable[[str], object] = lambda _line: None,
    ) -> None:
        self.batch_size = batch_size
        self.seconds: dict[str, float] = {"forward": 0.0}
        self._network = network
        self._preprocessing = preprocessing
        self._precision = precision
        self._tell = tell

    @abstractmethod
    def _launch(self, images: np.ndarray) -> Callable[[], Outputs]:
        """Begin with at most `batch_size` images; the result is called for what they give."""

    def launch(self, images: np.ndarray) -> Callable[[], Outputs]:
        """Begin to run the network.

        Parameters
        ----------
        images : ndarray
            (n, 3, input_size, input_size), uint8, n at least 1.

        Returns
        -------
        callable
            Waits for the features and probabilities, and returns them.

        Raises
        ------
        ClusterError
            If not even one image fits into the device's memory.
        """
        parts: list[Callable[[], Outputs]] = []
        start = 0
        while start < len(images):
            part = images[start : start + self.batch_size]
            outputs = despite_lack_of_memory(partial(self._launch, part))
            if outputs is None:
                self._halve(len(part))
            else:
                parts.append(outputs)
                start += len(part)
        return parts[0] if len(parts) == 1 else lambda: _joined([part() for part in parts])

    def made_with(self) -> dict[str, str | int]:
        """Return what a store tells of an engine: with the same on such a device, others make the same bytes."""
        return {"engine": self.name, "batch_size": self.batch_size}

    def forward(self, images: np.ndarray) -> Outputs:
        """Run the network and wait for it; see `launch`."""
        return self.launch(images)()

    def _halve(self, images: int) -> None:
        if images == 1:
            raise ClusterError(
                f"No memory left on the device for one image of {self._preprocessing.input_size} pixels squared. "
                "Close what else runs there, or use --device cpu."
            )
        self.batch_size = images // 2
        self._tell(f"{printable(self.name)}: {images} images do not fit into memory; going on with {self.batch_size}.")

    def _normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn uint8 pixels into what the network takes in, float32, channels last."""
        mean = torch.tensor(self._preprocessing.mean, device=pixels.device).mul(255).view(3, 1, 1)
        std = torch.tensor(self._preprocessing.std, device=pixels.device).mul(255).view(3, 1, 1)
        return ((pixels.float() - mean) / std).contiguous(memory_format=torch.channels_last)

    def _book(self, since: float) -> None:
        self.seconds["forward"] += time.perf_counter() - since


def _joined(parts: list[Outputs]) -> Outputs:
    probabilities = [part[1] for part in parts if part[1] is not None]
    return np.concatenate([part[0] for part in parts]), np.concatenate(probabilities) if probabilities else None


def despite_lack_of_memory(function: Callable[[], Result]) -> Result | None:
    """Return what a function returns; None where a device has not enough memory for it, once what it took is free.

    Raises
    ------
    Exception
        Whatever else it raises.
    """
    try:
        return function()
    except (MemoryError, RuntimeError) as error:  # torch's own is a RuntimeError
        if not _is_lack_of_memory(error):
            raise
    # Only now: the error holds the frames, and with them the tensors, of whoever raised it.
    torch.cuda.empty_cache()  # nothing where there is no GPU
    return None


def _is_lack_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(phrase in str(error) for phrase in _LACK_OF_MEMORY)
