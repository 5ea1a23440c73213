"""The experts' out-of-fold predictions become one weight per expert, the same for every image (Eq. 3 with a(x) = a)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.train.folds import Fold
from fusion_pipeline.train.gates.gate import Arrays, FloatArray, GateInputs
from fusion_pipeline.train.gates.guard import GuardedGate

# One imagined image per expert: enough that no weight is zero, too little to move what hundreds of rows support.
PRIOR = 1.0

_STEPS = 10_000
_STILL = 1e-10


def mixture_proportions(truth: FloatArray, prior: float = PRIOR) -> FloatArray:
    """Return the constant gate weights of greatest posterior probability, by expectation maximisation.

    They maximise ``sum_i log sum_k a_k p_k(y_i | x_i) + prior * sum_k log a_k``, a concave function with one optimum:
    the likelihood of Eq. 3 with a constant gate, under a symmetric Dirichlet prior.

    Parameters
    ----------
    truth : ndarray (n, K), float64
        Each expert's probability of the true class; positive.
    prior : float
        Strength of the prior in images per expert.

    Returns
    -------
    ndarray (K,), float64
        Positive, sums to 1.

    Examples
    --------
    >>> mixture_proportions(np.full((10, 2), 0.5))
    array([0.5, 0.5])
    >>> mixture_proportions(np.array([[0.9, 0.1]] * 50)).round(2)
    array([0.98, 0.02])
    """
    n, n_experts = truth.shape
    weights = np.full(n_experts, 1.0 / n_experts)
    for _ in range(_STEPS):
        shares = weights * truth
        responsibilities = (shares / shares.sum(axis=1, keepdims=True)).sum(axis=0)
        updated = (responsibilities + prior) / (n + n_experts * prior)
        moved = float(np.abs(updated - weights).max())
        weights = updated
        if moved < _STILL:
            break
    return np.asarray(weights / weights.sum())


class ConstantGate(GuardedGate):
    """The gate that trusts each expert the same on every image.

    Attributes
    ----------
    proportions : ndarray (K,), float64
        The learned weights.

    Examples
    --------
    >>> sharp, dull = np.array([[0.9, 0.1], [0.1, 0.9]] * 8), np.full((16, 2), 0.5)
    >>> gate = ConstantGate("constant").fit(GateInputs(16), np.stack([sharp, dull], 1), np.array([0, 1] * 8), seed=0)
    >>> gate.gate_weights(GateInputs(1)).round(2), gate.fallback
    (array([[0.9, 0.1]]), False)
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.proportions: FloatArray = np.empty(0)

    def cross_fit(self, inputs: GateInputs, truth: FloatArray, folds: Sequence[Fold], seed: int) -> FloatArray:  # noqa: ARG002
        """Return each fold's rows the proportions of the others; nothing about them is random."""
        weights = np.empty(truth.shape)
        for train, test in folds:
            weights[test] = mixture_proportions(truth[train])
        return weights

    def learn(self, inputs: GateInputs, truth: FloatArray, seed: int) -> None:  # noqa: ARG002
        """Learn the proportions from all rows."""
        self.proportions = mixture_proportions(truth)

    def learned_weights(self, inputs: GateInputs) -> FloatArray:
        """Return the proportions for every image, (n, K) float64."""
        return np.tile(self.proportions, (inputs.rows, 1))

    def learned_arrays(self) -> Arrays:
        """Return the proportions."""
        return {"proportions": self.proportions}

    def take_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over proportions."""
        self.proportions = np.asarray(arrays["proportions"], dtype=np.float64)
