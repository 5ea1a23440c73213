"""The experts' logits become fused probabilities by their mean."""

from __future__ import annotations

from typing import Self

import numpy as np

from fusion_pipeline.train.gates.gate import FloatArray, Gate, GateInputs, IntArray
from fusion_pipeline.train.mixture import log_pool, uniform_weights


class LogitAverageGate(Gate):
    """The softmax of the experts' mean logits; nothing is learned.

    It is the renormalised geometric mean of the experts' probabilities: an expert that rules a class out has a veto.
    Unlike a mixture (Eq. 3) it may leave the range of the experts' probabilities of a class; it sums to 1 all the same,
    does not depend on the order of the experts, and of one expert is that expert.

    Examples
    --------
    >>> gate = LogitAverageGate("logit-average").fit(GateInputs(1), np.full((1, 2, 2), 0.5), np.array([0]), seed=0)
    >>> gate.fuse(GateInputs(1), np.array([[[0.9, 0.1], [0.5, 0.5]]])).round(3)
    array([[0.75, 0.25]])
    """

    def fit(self, inputs: GateInputs, out_of_fold: FloatArray, labels: IntArray, seed: int) -> Self:  # noqa: ARG002
        """Note the number of experts; see `Gate.fit`."""
        self.n_experts = out_of_fold.shape[1]
        return self

    def gate_weights(self, inputs: GateInputs) -> FloatArray:
        """Return 1 / K, the part of each expert in the mean, (n, K) float64."""
        return uniform_weights(inputs.rows, self.n_experts)

    def fuse(self, inputs: GateInputs, probabilities: FloatArray) -> FloatArray:
        """Return softmax(mean_k log p_k), (n, C) float64, of the experts' `probabilities` (n, K, C)."""
        return np.asarray(log_pool(self.gate_weights(inputs), probabilities))
