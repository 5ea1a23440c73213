"""All backbones' features become gate weights through one shared space (Eq. 6): the gate called embedding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from fusion_pipeline.train.experts import Standardiser
from fusion_pipeline.train.gates.gate import Arrays, GateInputs, IntArray
from fusion_pipeline.train.gates.network import NetworkGate
from fusion_pipeline.train.gates.training import GateNetwork, Inputs, Recipe

EMBEDDING_SIZE = 100  # Section 5: "For the MoE-Embedding method, embedding size was set to 100."

# A feature that fires on few training images has a tiny deviation; on a new image it must not outshout all others.
_CLIP = 8.0


class EmbeddingNetwork(GateNetwork):
    """softmax-to-be of Eq. 6: W_k h_k, ReLU, mean over k, and a linear layer from there to the logits.

    Parameters
    ----------
    sizes : sequence of int
        Number of features of each backbone.
    n_outputs : int, optional
        Number of logits; by default one per backbone.
    width : int or None
        Dimension of the shared space; None for one dimension per logit and no layer after it, so that the mean
        itself is the logits: Eq. 6 to the letter.
    """

    def __init__(self, sizes: Sequence[int], n_outputs: int | None = None, width: int | None = EMBEDDING_SIZE) -> None:
        super().__init__()
        outputs = n_outputs or len(sizes)
        space = outputs if width is None else width
        self.embeddings = nn.ModuleList(nn.Linear(size, space) for size in sizes)
        self.head = nn.Identity() if width is None else nn.Linear(space, outputs)
        for position, size in enumerate(sizes):
            self.register_buffer(f"mean_{position}", torch.zeros(size))
            self.register_buffer(f"scale_{position}", torch.ones(size))

    def forward(self, *features: Tensor) -> Tensor:
        """Return the logits (n, n_outputs) of raw features, one tensor (n, n_features) per backbone."""
        embedded = [
            embedding(self._standardised(values, position)).relu()
            for position, (embedding, values) in enumerate(zip(self.embeddings, features, strict=True))
        ]
        return self.head(torch.stack(embedded).mean(dim=0))  # type: ignore[no-any-return]  # nn.Module's call is untyped

    def _standardised(self, values: Tensor, position: int) -> Tensor:
        mean, scale = self.get_buffer(f"mean_{position}"), self.get_buffer(f"scale_{position}")
        return ((values - mean) / scale).clamp(-_CLIP, _CLIP)


def feature_tensors(inputs: GateInputs) -> Inputs:
    """Return one float32 tensor (n, n_features) per backbone."""
    return tuple(torch.from_numpy(features.astype("float32")) for features in inputs.features)


def backbone_sizes(arrays: Arrays) -> list[int]:
    """Return the number of features of each backbone that a network of these arrays was made for."""
    count = sum(name.startswith("mean_") for name in arrays)
    return [len(arrays[f"mean_{position}"]) for position in range(count)]


def standardised_by(network: EmbeddingNetwork, inputs: Inputs, rows: IntArray) -> EmbeddingNetwork:
    """Return `network` with the statistics of `rows` of its inputs."""
    for position, features in enumerate(inputs):
        standardiser = Standardiser.fit(features[torch.from_numpy(rows)].numpy())
        network.get_buffer(f"mean_{position}").copy_(torch.from_numpy(standardiser.mean))
        network.get_buffer(f"scale_{position}").copy_(torch.from_numpy(standardiser.scale))
    return network


class EmbeddingGate(NetworkGate):
    """The gate of Eq. 6; it looks at the features of every backbone.

    Parameters
    ----------
    name : str
    readout : {"gate", "mean"}
        How K weights come out of the shared space: by a linear layer, as the caption of Table 2 reads, from 100
        dimensions; or not at all, as Eq. 6 reads, the space having K dimensions. The latter starts from random weights,
        not from averaging. The caption's other reading is `EmbeddingSoftmax`.

    Examples
    --------
    >>> import numpy as np
    >>> right, wrong = np.array([[1, 0]] * 32) * 0.8 + 0.1, np.array([[0, 1]] * 32) * 0.8 + 0.1
    >>> knows = np.arange(32) % 2 == 0  # the first expert is right where the first feature is high
    >>> out_of_fold = np.stack([np.where(knows[:, None], right, wrong), np.where(knows[:, None], wrong, right)], 1)
    >>> inputs = GateInputs(32, features=(knows[:, None] * 1.0, np.ones((32, 1))))
    >>> gate = EmbeddingGate("embedding").fit(inputs, out_of_fold, np.zeros(32, int), seed=0)
    >>> gate.fallback, gate.gate_weights(inputs).argmax(axis=1)[:6]
    (False, array([0, 1, 0, 1, 0, 1]))
    """

    looks_at_features = True
    recipe = Recipe(epochs=40, patience=4, batch_size=64, learning_rate=1e-3)

    def __init__(self, name: str, readout: str = "gate") -> None:
        super().__init__(name)
        self.width = {"gate": EMBEDDING_SIZE, "mean": None}[readout]
        if readout == "mean":
            # K x K weights in place of a head of 100: at the head's rate they would hardly leave where they start.
            self.recipe = replace(self.recipe, learning_rate=1e-2)

    def tensors(self, inputs: GateInputs) -> Inputs:
        """Return one float32 tensor (n, n_features) per backbone."""
        return feature_tensors(inputs)

    def build(self, inputs: Inputs, rows: IntArray) -> GateNetwork:
        """Return an untrained network that standardises with the statistics of `rows`."""
        network = EmbeddingNetwork([features.shape[1] for features in inputs], self.n_experts, self.width)
        return standardised_by(network, inputs, rows)

    def shell(self, arrays: Arrays) -> GateNetwork:
        """Return a network for the backbones that `arrays` were made for."""
        return EmbeddingNetwork(backbone_sizes(arrays), self.n_experts, self.width)
