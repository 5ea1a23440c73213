"""The mean of the experts' probabilities becomes new probabilities by a second softmax regression (Eq. 9)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.train.experts import Expert, fit_expert
from fusion_pipeline.train.gates.gate import Arrays, FloatArray, Gate, GateInputs, IntArray, Settings
from fusion_pipeline.train.mixture import uniform_weights


class StackingGate(Gate):
    """The stacker g(mean_k c_k(x)): a softmax regression on the experts' mean, not a gate that adapts to the image.

    The second regression is fitted on out-of-fold predictions, and chooses its penalty by inner cross-validation.

    Parameters
    ----------
    name : str
    in_sample : bool
        Whether g is fitted on predictions of the experts' own training rows: the paper's likely reading, which leaks.

    Attributes
    ----------
    regression : Expert
        g of Eq. 9, on the n_classes mean probabilities.

    Examples
    --------
    >>> swapped = np.array([[[0.2, 0.8]], [[0.8, 0.2]]] * 6)  # one expert, always wrong, which a stacker can mend
    >>> gate = StackingGate("stacking").fit(GateInputs(12), swapped, np.array([0, 1] * 6), seed=0)
    >>> gate.fuse(GateInputs(2), swapped[:2]).argmax(axis=1)
    array([0, 1])
    """

    def __init__(self, name: str, in_sample: bool = False) -> None:
        super().__init__(name)
        self.in_sample = in_sample
        self.regression = Expert(np.empty((0, 0), np.float32), np.empty(0))

    def fit(self, inputs: GateInputs, out_of_fold: FloatArray, labels: IntArray, seed: int) -> Self:
        """Fit g on the mean of the predictions, out of fold unless `in_sample`; see `Gate.fit`."""
        self.n_experts, n_classes = out_of_fold.shape[1:]
        self.regression = fit_expert(out_of_fold.mean(axis=1), labels, n_classes, seed, groups=inputs.groups).expert
        return self

    def gate_weights(self, inputs: GateInputs) -> FloatArray:
        """Return 1 / K: in Eq. 9 every expert has the same part in the mean, whatever the image."""
        return uniform_weights(inputs.rows, self.n_experts)

    def fuse(self, inputs: GateInputs, probabilities: FloatArray) -> FloatArray:  # noqa: ARG002
        """Return g(mean_k c_k), (n, C) float64, of the experts' `probabilities` (n, K, C)."""
        return self.regression.probabilities(probabilities.mean(axis=1))

    def state(self) -> tuple[Arrays, Settings]:
        """Return the regression and the settings; see `Gate.state`."""
        _, settings = super().state()
        if self.in_sample:
            settings["leaks"] = self.leaks
        return {"weights": self.regression.weights, "bias": self.regression.bias}, settings

    def restore(self, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        """Take over a state; see `Gate.restore`."""
        self.regression = Expert(arrays["weights"].astype(np.float32), arrays["bias"].astype(np.float64))
        return super().restore(arrays, settings)
