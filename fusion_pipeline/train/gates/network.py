"""A torch network that says how much to trust each expert becomes a gate with a guard."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.train.folds import Fold
from fusion_pipeline.train.gates.gate import Arrays, FloatArray, GateInputs, IntArray
from fusion_pipeline.train.gates.guard import GuardedGate
from fusion_pipeline.train.gates.training import GateNetwork, Inputs, NetworkTraining, Recipe, infer_arrays


class NetworkGate(GuardedGate):
    """A gate that is a torch network; between calls it is kept as plain arrays, so it can be pickled and stored.

    Attributes
    ----------
    recipe : Recipe
        How it is trained.
    epochs : int
        How many epochs held-out rows asked for.
    device : str
        Where it learns, as torch names it; not part of its state.
    """

    recipe: Recipe

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.epochs = 0
        self.device = "cpu"
        self._arrays: Arrays = {}

    @abstractmethod
    def tensors(self, inputs: GateInputs) -> Inputs:
        """Return what the network takes, before any statistics of the training rows are applied."""

    @abstractmethod
    def build(self, inputs: Inputs, rows: IntArray) -> GateNetwork:
        """Return an untrained network whose statistics are those of `rows` of `inputs`."""

    @abstractmethod
    def shell(self, arrays: Arrays) -> GateNetwork:
        """Return a network of the shape of `arrays`, to load them into."""

    def cross_fit(self, inputs: GateInputs, truth: FloatArray, folds: Sequence[Fold], seed: int) -> FloatArray:
        """Choose the number of epochs, and return the weights of held-out rows after so many; see `GuardedGate`."""
        self.epochs, weights = self._training().choose_epochs(self.tensors(inputs), truth, folds, seed)
        return weights

    def learn(self, inputs: GateInputs, truth: FloatArray, seed: int) -> None:
        """Train on all rows for the chosen number of epochs."""
        self._arrays = self._training().learn(self.tensors(inputs), truth, self.epochs, seed)

    def learned_weights(self, inputs: GateInputs) -> FloatArray:
        """Return the network's gate weights, (n, K) float64."""
        return infer_arrays(self.shell(self._arrays), self._arrays, self.tensors(inputs))

    def learned_arrays(self) -> Arrays:
        """Return the network's parameters and statistics."""
        return dict(self._arrays)

    def take_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over parameters and statistics."""
        self._arrays = {name: np.array(value, dtype=np.float32) for name, value in arrays.items()}

    def _training(self) -> NetworkTraining:
        return NetworkTraining(self.recipe, self.build, self.device)
