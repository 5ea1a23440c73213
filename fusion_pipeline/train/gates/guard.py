"""What a gate learned becomes the weights that are used: its own, or uniform ones where averaging does better.

In simulations a gate trained on likelihood alone lost to averaging in more than half of the runs whose experts were
exchangeable. So a learned gate must first predict weights for rows that it did not learn from, and beat 1 / K there.

Means of probabilities are too modest, and weights that merely lean on the surest expert gain likelihood by confidence
alone: they know nothing about whom to trust, and lose images. So gates learn from experts that are sharpened until
their average is calibrated, and are compared with averaging at a temperature for each: what is left is knowledge.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.train.folds import Fold, inner_folds
from fusion_pipeline.train.gates.gate import Arrays, FloatArray, Gate, GateInputs, IntArray, Settings
from fusion_pipeline.train.mixture import (
    best_sharpness,
    fuse,
    sample_nll,
    sharpened,
    truth_probabilities,
    uniform_weights,
)

# The normal distribution's 95 % quantile: of fixed weights that know nothing, one in twenty would pass.
_ONE_SIDED_95 = 1.6448536269514722


def beats_averaging(held_out_weights: FloatArray, probabilities: FloatArray, labels: IntArray) -> bool:
    """Return whether gate weights of unseen rows surely make better predictions than 1 / K.

    Better is a lower mean negative log-likelihood by more than 1.64 standard errors of the paired differences, each
    side at its own best temperature, without fewer rows right.

    Parameters
    ----------
    held_out_weights : ndarray (n, K), float64
        Predicted for rows that took no part in learning them.
    probabilities : ndarray (n, K, C), float64
        The experts' out-of-fold probabilities.
    labels : ndarray (n,), int64

    Examples
    --------
    >>> probabilities = np.array([[[0.9, 0.1], [0.1, 0.9]], [[0.9, 0.1], [0.1, 0.9]]])
    >>> labels = np.array([0, 1])
    >>> beats_averaging(np.array([[0.8, 0.2], [0.2, 0.8]]), probabilities, labels)
    True
    >>> beats_averaging(np.array([[0.8, 0.2], [0.8, 0.2]]), probabilities, labels)
    False
    """
    averaged = fuse(uniform_weights(*probabilities.shape[:2]), probabilities)
    return surely_better(fuse(held_out_weights, probabilities), averaged, labels)


def surely_better(fused: FloatArray, averaged: FloatArray, labels: IntArray) -> bool:
    """Return whether `fused` (n, n_classes) are surely better predictions of unseen rows than `averaged`.

    Better is what it is to `beats_averaging`.

    Examples
    --------
    >>> labels, averaged = np.array([0, 1] * 8), np.full((16, 2), 0.5)
    >>> surely_better(np.array([[0.8, 0.2], [0.2, 0.8]] * 8), averaged, labels)
    True
    >>> surely_better(averaged, averaged, labels)
    False
    """
    gains = _calibrated_nll(averaged, labels) - _calibrated_nll(fused, labels)
    surely_likelier = gains.mean() > _ONE_SIDED_95 * gains.std() / np.sqrt(len(gains))
    return bool(surely_likelier and _right(fused, labels) >= _right(averaged, labels))


def _calibrated_nll(probabilities: FloatArray, labels: IntArray) -> FloatArray:
    alone = probabilities[:, None, :]
    return sample_nll(sharpened(alone, best_sharpness(alone, labels))[:, 0], labels)


def _right(probabilities: FloatArray, labels: IntArray) -> int:
    return int((probabilities.argmax(axis=1) == labels).sum())


class GuardedGate(Gate):
    """A gate that is used only where it beats averaging on rows that it did not learn from; else `fallback` is true.

    A subclass learns in `cross_fit` and `learn` and speaks in `learned_weights`; whether it is heard is decided here.

    Attributes
    ----------
    cross_fit_folds : int
        In how many parts the training rows are split to find out.
    """

    cross_fit_folds: ClassVar[int] = 5

    def fit(self, inputs: GateInputs, out_of_fold: FloatArray, labels: IntArray, seed: int) -> Self:
        """Learn from parts of the rows; then from all of them if that beat averaging on the rest. See `Gate.fit`."""
        self.n_experts = out_of_fold.shape[1]
        if self.n_experts == 1:
            self.fallback = True  # there is nothing to choose from
            return self
        truth = truth_probabilities(sharpened(out_of_fold, best_sharpness(out_of_fold, labels)), labels)
        folds = inner_folds(labels, seed, most=self.cross_fit_folds, groups=inputs.groups)
        self.fallback = not beats_averaging(self.cross_fit(inputs, truth, folds, seed), out_of_fold, labels)
        if not self.fallback:
            self.learn(inputs, truth, seed)
        return self

    def gate_weights(self, inputs: GateInputs) -> FloatArray:
        """Return the learned gate weights, or uniform ones after a fallback, (n, K) float64."""
        return uniform_weights(inputs.rows, self.n_experts) if self.fallback else self.learned_weights(inputs)

    def state(self) -> tuple[Arrays, Settings]:
        """Return what was learned, which is nothing after a fallback; see `Gate.state`."""
        return ({} if self.fallback else self.learned_arrays()), super().state()[1]

    def restore(self, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:
        """Take over a state; see `Gate.restore`."""
        super().restore(arrays, settings)
        if not self.fallback:
            self.take_arrays(arrays)
        return self

    @abstractmethod
    def cross_fit(self, inputs: GateInputs, truth: FloatArray, folds: Sequence[Fold], seed: int) -> FloatArray:
        """Return gate weights (n, K) for every row, learned without the rows of its own fold."""

    @abstractmethod
    def learn(self, inputs: GateInputs, truth: FloatArray, seed: int) -> None:
        """Learn from all rows, in the way that `cross_fit` found good."""

    @abstractmethod
    def learned_weights(self, inputs: GateInputs) -> FloatArray:
        """Return the gate weights (n, K) that `learn` leads to."""

    @abstractmethod
    def learned_arrays(self) -> Arrays:
        """Return all that `learn` found, as arrays."""

    @abstractmethod
    def take_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `learned_arrays` of such a gate returned."""
