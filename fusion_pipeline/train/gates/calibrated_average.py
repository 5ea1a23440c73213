"""The experts' probabilities, each at a temperature of its own, become fused probabilities by their mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.train.gates.gate import Arrays, FloatArray, Gate, GateInputs, IntArray, Settings
from fusion_pipeline.train.mixture import best_sharpness, fuse, sharpened, uniform_weights


class CalibratedAverageGate(Gate):
    """The mean of the experts' probabilities after temperature scaling (Guo et al., 2017).

    Each expert's temperature makes its own out-of-fold predictions likeliest. The fused probabilities lie within the
    range of the calibrated experts', not of the experts'; and one expert alone is fused to itself calibrated.

    Attributes
    ----------
    sharpness : ndarray (K,), float64
        The inverse of each temperature.

    Examples
    --------
    >>> modest = np.tile([0.6, 0.4], (10, 1, 1))  # right nine times of ten
    >>> gate = CalibratedAverageGate("calibrated-average").fit(GateInputs(10), modest, np.array([0] * 9 + [1]), seed=0)
    >>> gate.fuse(GateInputs(10), modest)[0].round(2)
    array([0.9, 0.1])
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.sharpness: FloatArray = np.empty(0)

    def fit(self, inputs: GateInputs, out_of_fold: FloatArray, labels: IntArray, seed: int) -> Self:  # noqa: ARG002
        """Fit a temperature for each expert; see `Gate.fit`."""
        self.n_experts = out_of_fold.shape[1]
        self.sharpness = np.array(
            [best_sharpness(out_of_fold[:, [expert]], labels) for expert in range(self.n_experts)]
        )
        return self

    def gate_weights(self, inputs: GateInputs) -> FloatArray:
        """Return 1 / K, the part of each expert in the mean, (n, K) float64."""
        return uniform_weights(inputs.rows, self.n_experts)

    def fuse(self, inputs: GateInputs, probabilities: FloatArray) -> FloatArray:
        """Return the mean of the calibrated `probabilities` (n, K, C), (n, C) float64."""
        return fuse(self.gate_weights(inputs), sharpened(probabilities, self.sharpness[:, None]))

    def state(self) -> tuple[Arrays, Settings]:
        """Return the temperatures' inverses and the settings; see `Gate.state`."""
        return {"sharpness": self.sharpness}, super().state()[1]

    def restore(self, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        """Take over a state; see `Gate.restore`."""
        self.sharpness = np.asarray(arrays["sharpness"], dtype=np.float64)
        return super().restore(arrays, settings)
