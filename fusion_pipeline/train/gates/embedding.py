"""All backbones' features become gate weights through one shared space (Eq. 6): the gate called embedding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fusion_pipeline.train.experts import Standardiser
from fusion_pipeline.train.gates.gate import Arrays, GateInputs, IntArray
from fusion_pipeline.train.gates.training import GateNetwork, Inputs, NetworkGate, Recipe

EMBEDDING_SIZE = 100  # Section 5: "For the MoE-Embedding method, embedding size was set to 100."

# A feature that fires on few training images has a tiny deviation; on a new image it must not outshout all others.
_CLIP = 8.0


class EmbeddingNetwork(GateNetwork):
    """softmax-to-be of Eq. 6 as its caption reads: W_k h_k, ReLU, mean over k, linear to one logit per expert.

    Parameters
    ----------
    sizes : sequence of int
        Number of features of each backbone.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Linear(size, EMBEDDING_SIZE) for size in sizes)
        self.head = nn.Linear(EMBEDDING_SIZE, len(sizes))
        for position, size in enumerate(sizes):
            self.register_buffer(f"mean_{position}", torch.zeros(size))
            self.register_buffer(f"scale_{position}", torch.ones(size))

    def forward(self, *features: Tensor) -> Tensor:
        """Return the logits (n, K) of raw features, one tensor (n, n_features) per backbone."""
        embedded = [
            embedding(self._standardised(values, position)).relu()
            for position, (embedding, values) in enumerate(zip(self.embeddings, features, strict=True))
        ]
        return self.head(torch.stack(embedded).mean(dim=0))  # type: ignore[no-any-return]  # nn.Module's call is untyped

    def _standardised(self, values: Tensor, position: int) -> Tensor:
        mean, scale = self.get_buffer(f"mean_{position}"), self.get_buffer(f"scale_{position}")
        return ((values - mean) / scale).clamp(-_CLIP, _CLIP)


class EmbeddingGate(NetworkGate):
    """The gate of Eq. 6; it looks at the features of every backbone.

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

    def tensors(self, inputs: GateInputs) -> Inputs:
        """Return one float32 tensor (n, n_features) per backbone."""
        return tuple(torch.from_numpy(features.astype("float32")) for features in inputs.features)

    def build(self, inputs: Inputs, rows: IntArray) -> GateNetwork:
        """Return an untrained network that standardises with the statistics of `rows`."""
        network = EmbeddingNetwork([features.shape[1] for features in inputs])
        for position, features in enumerate(inputs):
            standardiser = Standardiser.fit(features[torch.from_numpy(rows)].numpy())
            network.get_buffer(f"mean_{position}").copy_(torch.from_numpy(standardiser.mean))
            network.get_buffer(f"scale_{position}").copy_(torch.from_numpy(standardiser.scale))
        return network

    def shell(self, arrays: Arrays) -> GateNetwork:
        """Return a network for the backbones that `arrays` were made for."""
        return EmbeddingNetwork([len(arrays[f"mean_{position}"]) for position in range(self.n_experts)])
