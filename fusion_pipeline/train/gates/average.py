"""Any image becomes the same weight for every expert: the mean of the experts' probabilities."""

from __future__ import annotations

from typing import Self

from fusion_pipeline.train.gates.gate import FloatArray, Gate, GateInputs, IntArray
from fusion_pipeline.train.mixture import uniform_weights


class AverageGate(Gate):
    """The gate that learns nothing: a_k(x) = 1 / K.

    Examples
    --------
    >>> import numpy as np
    >>> gate = AverageGate("average").fit(GateInputs(3), np.zeros((3, 4, 2)), np.array([0, 1, 0]), seed=0)
    >>> gate.gate_weights(GateInputs(1))
    array([[0.25, 0.25, 0.25, 0.25]])
    """

    def fit(self, inputs: GateInputs, out_of_fold: FloatArray, labels: IntArray, seed: int) -> Self:  # noqa: ARG002
        """Note the number of experts; see `Gate.fit`."""
        self.n_experts = out_of_fold.shape[1]
        return self

    def gate_weights(self, inputs: GateInputs) -> FloatArray:
        """Return 1 / K for every image and expert, (n, K) float64."""
        return uniform_weights(inputs.rows, self.n_experts)
