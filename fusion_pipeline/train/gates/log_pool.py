"""The experts' out-of-fold predictions become a weighted product of experts: the logarithmic opinion pool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from fusion_pipeline.train.folds import inner_folds
from fusion_pipeline.train.gates.gate import Arrays, FloatArray, Gate, GateInputs, IntArray, Settings
from fusion_pipeline.train.gates.guard import surely_better
from fusion_pipeline.train.mixture import PROBABILITY_FLOOR, fuse, uniform_weights
from fusion_pipeline.train.solvers.softmax import log_softmax, softmax

SPREAD_PENALTY: Final = 10.0
"""What squared deviations of the weights from their mean cost, in nats of all training rows together."""

# Like the temperatures of `mixture`, which are 1/20 at the least: experts that never err would ask for zero.
_GREATEST = 20.0


def pooled(weights: FloatArray, probabilities: FloatArray) -> FloatArray:
    """Return the product of the experts' probabilities, each raised to its weight, renormalised.

    Parameters
    ----------
    weights : ndarray (K,), float64
        Non-negative. Their sum is an inverse temperature, and need not be 1.
    probabilities : ndarray (n, K, C), float64

    Returns
    -------
    ndarray (n, C), float64

    Examples
    --------
    >>> pooled(np.array([2.0, 1.0]), np.array([[[0.5, 0.5], [0.2, 0.8]]]))
    array([[0.2, 0.8]])
    >>> pooled(np.array([2.0, 0.0]), np.array([[[0.6, 0.4], [0.2, 0.8]]])).round(3)
    array([[0.692, 0.308]])
    """
    return softmax(np.tensordot(_logarithms(probabilities), weights, axes=(1, 0)))


def pool_weights(probabilities: FloatArray, labels: IntArray, spread_penalty: float = SPREAD_PENALTY) -> FloatArray:
    """Return the weights of the product of experts that makes the labels likeliest.

    They minimise ``-sum_i log softmax(sum_k v_k log p_k(x_i))[y_i] + penalty * sum_k (v_k - mean(v))^2`` over v >= 0.
    It is convex, so there is one least value. The penalty draws weights that little speaks for towards each other, and
    leaves their sum alone.

    Parameters
    ----------
    probabilities : ndarray (n, K, C), float64
        The experts' out-of-fold probabilities.
    labels : ndarray (n,), int64
    spread_penalty : float
        Non-negative.

    Returns
    -------
    ndarray (K,), float64

    Examples
    --------
    >>> modest = np.tile([0.6, 0.4], (10, 2, 1))  # two experts that say the same, right nine times of ten
    >>> weights = pool_weights(modest, np.array([0] * 9 + [1]))
    >>> weights.round(2), pooled(weights, modest)[0].round(2)
    (array([2.71, 2.71]), array([0.9, 0.1]))
    """
    logarithms, rows = _logarithms(probabilities), np.arange(len(labels))
    told = logarithms[rows, :, labels].sum(axis=0)
    n_experts = logarithms.shape[1]

    def loss(weights: FloatArray) -> tuple[float, FloatArray]:
        fused = log_softmax(np.tensordot(logarithms, weights, axes=(1, 0)))
        expected = np.tensordot(logarithms, np.exp(fused), axes=((0, 2), (0, 1)))
        apart = weights - weights.mean()
        value = -fused[rows, labels].sum() + spread_penalty * (apart @ apart)
        return float(value), expected - told + 2.0 * spread_penalty * apart

    start = np.full(n_experts, 1.0 / n_experts)
    options = {"ftol": 1e-12, "gtol": 1e-8, "maxiter": 1000}
    bounds = [(0.0, _GREATEST)] * n_experts
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return np.asarray(found.x, dtype=np.float64)


class LogPoolGate(Gate):
    """The logarithmic opinion pool: the same learned weight for an expert on every image, on the experts' logits.

    Weights and temperature are fitted together on out-of-fold predictions. An expert that adds nothing gets no weight,
    where `LogitAverageGate` lets it veto. Like that one it may leave the range of the experts' probabilities. It is
    used only where it surely beats averaging on rows that its weights were not fitted on (see `guard`).

    Attributes
    ----------
    weights : ndarray (K,), float64
        Empty after a fallback.

    Examples
    --------
    >>> right, wrong = np.array([[0.6, 0.4], [0.4, 0.6]] * 8), np.array([[0.2, 0.8], [0.8, 0.2]] * 8)
    >>> gate = LogPoolGate("log-pool").fit(GateInputs(16), np.stack([right, wrong], 1), np.array([0, 1] * 8), seed=0)
    >>> gate.gate_weights(GateInputs(1)).round(2), gate.fallback
    (array([[1., 0.]]), False)
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.weights: FloatArray = np.empty(0)

    def fit(self, inputs: GateInputs, out_of_fold: FloatArray, labels: IntArray, seed: int) -> Self:
        """Fit the weights, once they have shown on rows that they were not fitted on what they are good for."""
        self.n_experts = out_of_fold.shape[1]
        averaged = fuse(uniform_weights(*out_of_fold.shape[:2]), out_of_fold)
        held_out = np.empty_like(averaged)
        for train, test in inner_folds(labels, seed, groups=inputs.groups):
            held_out[test] = pooled(pool_weights(out_of_fold[train], labels[train]), out_of_fold[test])
        weights = pool_weights(out_of_fold, labels)
        self.fallback = self.n_experts == 1 or not weights.any() or not surely_better(held_out, averaged, labels)
        self.weights = np.empty(0) if self.fallback else weights
        return self

    def gate_weights(self, inputs: GateInputs) -> FloatArray:
        """Return each expert's share of the weights, or 1 / K after a fallback, (n, K) float64."""
        if self.fallback:
            return uniform_weights(inputs.rows, self.n_experts)
        return np.tile(self.weights / self.weights.sum(), (inputs.rows, 1))

    def fuse(self, inputs: GateInputs, probabilities: FloatArray) -> FloatArray:
        """Return the product of the experts' `probabilities` (n, K, C), or their mean after a fallback, (n, C)."""
        return super().fuse(inputs, probabilities) if self.fallback else pooled(self.weights, probabilities)

    def state(self) -> tuple[Arrays, Settings]:
        """Return the weights, of which there are none after a fallback, and the settings; see `Gate.state`."""
        return ({} if self.fallback else {"weights": self.weights}), super().state()[1]

    def restore(self, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        """Take over a state; see `Gate.restore`."""
        super().restore(arrays, settings)
        self.weights = np.empty(0) if self.fallback else np.asarray(arrays["weights"], dtype=np.float64)
        return self


def _logarithms(probabilities: FloatArray) -> FloatArray:
    return np.log(np.maximum(probabilities, PROBABILITY_FLOOR))
