"""A thumbnail becomes gate weights through a miniature CNN (Eq. 5): the gates called cnn32 and cnn64."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fusion_pipeline.train.gates.gate import Arrays, FloatArray, GateInputs, IntArray
from fusion_pipeline.train.gates.network import NetworkGate
from fusion_pipeline.train.gates.training import GateNetwork, Inputs, Recipe

_FILTERS = (32, 64)  # Section 5: "two layers (32/64 filters, of size 3X3)"


def colour_statistics(thumbnails: NDArray[np.uint8]) -> tuple[FloatArray, FloatArray]:
    """Return the mean and the standard deviation of each colour, (3,) float64; a deviation of 0 becomes 1.

    Counted by value, since a float copy of all pixels takes many times their memory.

    Parameters
    ----------
    thumbnails : ndarray (n, size, size, 3), uint8

    Examples
    --------
    >>> colour_statistics(np.array([[[[0, 7, 255]], [[2, 7, 255]]]], np.uint8))
    (array([  1.,   7., 255.]), array([1., 1., 1.]))
    """
    values = np.arange(256.0)
    shares = np.stack([np.bincount(thumbnails[..., colour].ravel(), minlength=256) for colour in range(3)])
    shares = shares / shares.sum(axis=1, keepdims=True)
    mean = shares @ values
    deviation = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(axis=1))
    return mean, np.where(deviation > 0, deviation, 1.0)


class ThumbnailNetwork(GateNetwork):
    """Twice 3x3 convolution, ReLU and 2x2 max pooling, then the mean over the picture and one logit per expert.

    Pooling comes before ReLU, which gives the same numbers and gradients for a quarter of the work.

    Parameters
    ----------
    n_experts : int
    """

    # What so few pictures of 64 pixels become in the first layer stays in a core's share of the cache.
    rows_at_once = 8

    def __init__(self, n_experts: int) -> None:
        super().__init__()
        first, second = _FILTERS
        self.layers = nn.Sequential(
            nn.Conv2d(3, first, 3, padding=1),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, padding=1),
            nn.MaxPool2d(2),
            nn.ReLU(),
        )
        self.head = nn.Linear(second, n_experts)
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("scale", torch.ones(3))
        self.to(memory_format=torch.channels_last)  # as thumbnails are stored

    def forward(self, thumbnails: Tensor) -> Tensor:
        """Return the logits (n, K) of thumbnails (n, size, size, 3), uint8."""
        pixels = (thumbnails.float() - self.get_buffer("mean")) / self.get_buffer("scale")
        return self.head(self.layers(pixels.permute(0, 3, 1, 2)).mean(dim=(2, 3)))  # type: ignore[no-any-return]


class ThumbnailGate(NetworkGate):
    """The gate of Eq. 5; it looks at nothing but the thumbnail.

    cnn32 and cnn64 are this one class: the mean over the picture leaves no weight whose shape depends on its size.

    Parameters
    ----------
    name : str
    thumbnail_size : int
        Side of the thumbnails in pixels.

    Examples
    --------
    >>> ThumbnailGate("cnn32", 32).thumbnail_size
    32
    """

    # Three folds, since a CNN's epoch costs a hundred times that of the other gates' whole training.
    cross_fit_folds = 3
    recipe = Recipe(epochs=12, patience=3, batch_size=32, learning_rate=2e-3)

    def __init__(self, name: str, thumbnail_size: int) -> None:
        super().__init__(name)
        self.thumbnail_size = thumbnail_size

    def tensors(self, inputs: GateInputs) -> Inputs:
        """Return the thumbnails (n, size, size, 3), uint8."""
        if inputs.thumbnails is None:
            raise ValueError(f"Gate '{self.name}' needs thumbnails.")
        return (torch.from_numpy(inputs.thumbnails.copy()),)

    def build(self, inputs: Inputs, rows: IntArray) -> GateNetwork:
        """Return an untrained network that standardises each colour with the statistics of `rows`."""
        network = ThumbnailNetwork(self.n_experts)
        mean, scale = colour_statistics(inputs[0][torch.from_numpy(rows)].numpy())
        network.get_buffer("mean").copy_(torch.from_numpy(mean))
        network.get_buffer("scale").copy_(torch.from_numpy(scale))
        return network

    def shell(self, arrays: Arrays) -> GateNetwork:  # noqa: ARG002  every network of K experts has the same shape
        """Return a network for the experts at hand."""
        return ThumbnailNetwork(self.n_experts)
