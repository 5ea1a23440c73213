"""All backbones' features become class probabilities through one shared space: Table 2's caption read literally."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.train.folds import inner_folds
from fusion_pipeline.train.gates.embedding import (
    EMBEDDING_SIZE,
    EmbeddingNetwork,
    backbone_sizes,
    feature_tensors,
    standardised_by,
)
from fusion_pipeline.train.gates.gate import Arrays, FloatArray, Gate, GateInputs, IntArray, Settings
from fusion_pipeline.train.gates.training import (
    GateNetwork,
    Inputs,
    NetworkTraining,
    Recipe,
    infer_arrays,
)
from fusion_pipeline.train.mixture import PROBABILITY_FLOOR, uniform_weights


class EmbeddingSoftmax(Gate):
    """The embedding of Eq. 6 with a softmax over the classes instead of the experts.

    "All pre-trained representations are embedded in a common space and a final softmax layer is then applied." There is
    no gate in it and no expert's prediction, so nothing to guard: it is a classifier of its own, here to be compared
    with. The number of epochs is that with the least loss on held-out rows, as for the gate.

    Examples
    --------
    >>> rows = np.repeat([[-1.0], [1.0]], 16, axis=0)
    >>> inputs, labels = GateInputs(32, features=(rows, rows)), np.repeat([0, 1], 16)
    >>> gate = EmbeddingSoftmax("embedding-softmax").fit(inputs, np.full((32, 2, 2), 0.5), labels, seed=0)
    >>> gate.fuse(inputs, np.full((32, 2, 2), 0.5)).argmax(axis=1)[[0, 31]]
    array([0, 1])
    """

    looks_at_features = True
    # No pull towards 1 / C: of a classifier that would be a demand for doubt.
    recipe = Recipe(epochs=40, patience=4, batch_size=64, learning_rate=1e-3, uniform_penalty=0.0)

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.epochs = 0
        self._arrays: Arrays = {}

    def fit(self, inputs: GateInputs, out_of_fold: FloatArray, labels: IntArray, seed: int) -> Self:
        """Learn classes from features; of `out_of_fold` only the shape is looked at. See `Gate.fit`."""
        self.n_experts, n_classes = out_of_fold.shape[1:]
        # With one-hot "experts" the mixture's likelihood is that of a softmax regression.
        truth = np.maximum(np.eye(n_classes)[labels], PROBABILITY_FLOOR)
        training = NetworkTraining(self.recipe, lambda values, rows: self._build(values, rows, n_classes))
        tensors = feature_tensors(inputs)
        self.epochs, _ = training.choose_epochs(tensors, truth, inner_folds(labels, seed, groups=inputs.groups), seed)
        self._arrays = training.learn(tensors, truth, self.epochs, seed)
        return self

    def gate_weights(self, inputs: GateInputs) -> FloatArray:
        """Return 1 / K: there is no gate, and every backbone has the same part in the mean, (n, K) float64."""
        return uniform_weights(inputs.rows, self.n_experts)

    def fuse(self, inputs: GateInputs, probabilities: FloatArray) -> FloatArray:  # noqa: ARG002
        """Return the class probabilities (n, C), float64, from the features alone."""
        network = EmbeddingNetwork(backbone_sizes(self._arrays), len(self._arrays["head.bias"]), EMBEDDING_SIZE)
        return infer_arrays(network, self._arrays, feature_tensors(inputs))

    def state(self) -> tuple[Arrays, Settings]:
        """Return the network's parameters and statistics; see `Gate.state`."""
        return dict(self._arrays), super().state()[1]

    def restore(self, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        """Take over a state; see `Gate.restore`."""
        self._arrays = {name: np.array(value, dtype=np.float32) for name, value in arrays.items()}
        return super().restore(arrays, settings)

    @staticmethod
    def _build(inputs: Inputs, rows: IntArray, n_classes: int) -> GateNetwork:
        sizes = [features.shape[1] for features in inputs]
        return standardised_by(EmbeddingNetwork(sizes, n_classes, EMBEDDING_SIZE), inputs, rows)
