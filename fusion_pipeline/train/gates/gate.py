"""What a gate may look at becomes gate weights: the interface that every gate has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.train import mixture

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Arrays = dict[str, NDArray[Any]]
Settings = dict[str, Any]


IN_SAMPLE = "fitted on the experts' predictions of their own training rows"
"""What is said of a gate that leaks."""


@dataclass(frozen=True)
class GateInputs:
    """What gates may look at, for n images.

    Attributes
    ----------
    rows : int
        n.
    features : tuple of ndarray (n, n_features of backbone k), any float
        Of each backbone once; empty when no gate at work looks at them.
    thumbnails : ndarray (n, size, size, 3), uint8, or None
    groups : ndarray (n,), int64, or None
        Images that inner folds must keep together; no gate learns from them.

    Examples
    --------
    >>> GateInputs(3, features=(np.eye(3),)).take(np.array([2])).features[0]
    array([[0., 0., 1.]])
    """

    rows: int
    features: tuple[NDArray[np.floating], ...] = ()
    thumbnails: NDArray[np.uint8] | None = None
    groups: IntArray | None = None

    def take(self, rows: IntArray) -> GateInputs:
        """Return the inputs of some rows."""
        thumbnails = None if self.thumbnails is None else self.thumbnails[rows]
        groups = None if self.groups is None else self.groups[rows]
        return GateInputs(len(rows), tuple(features[rows] for features in self.features), thumbnails, groups)


class Gate(ABC):
    """Decides how much to trust each expert on each image (Eq. 3: a(x)).

    Attributes
    ----------
    name : str
        As on the command line.
    n_experts : int
        Known after `fit`.
    fallback : bool
        Whether the gate averages because what it learned was no better than that.
    looks_at_features : bool
        Whether `GateInputs.features` are needed.
    thumbnail_size : int or None
        Side in pixels of the thumbnails that are needed.
    in_sample : bool
        Whether it asks to be fitted on the experts' predictions of their own training rows, which leaks: such experts
        hardly err. For comparison with the paper only; its state says so.
    """

    looks_at_features: ClassVar[bool] = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.n_experts = 0
        self.fallback = False
        self.thumbnail_size: int | None = None
        self.in_sample = False

    @property
    def leaks(self) -> str:
        """Why what it was fitted on leaks, in a few words; empty for a gate that does not."""
        return IN_SAMPLE if self.in_sample else ""

    @abstractmethod
    def fit(self, inputs: GateInputs, out_of_fold: FloatArray, labels: IntArray, seed: int) -> Self:
        """Learn from experts' predictions of rows that they were not fitted on.

        Parameters
        ----------
        inputs : GateInputs
            Of the n training rows.
        out_of_fold : ndarray (n, K, C), float64
            The experts' out-of-fold probabilities. In-sample ones would show a gate experts that never err.
        labels : ndarray (n,), int64
        seed : int
            Decides everything random: the same seed gives the same bytes.
        """

    @abstractmethod
    def gate_weights(self, inputs: GateInputs) -> FloatArray:
        """Return the gate weights a(x), (n, n_experts) float64: non-negative, rows sum to 1."""

    def fuse(self, inputs: GateInputs, probabilities: FloatArray) -> FloatArray:
        """Return the fused probabilities (n, C) of experts' `probabilities` (n, K, C) (Eq. 3)."""
        return mixture.fuse(self.gate_weights(inputs), probabilities)

    def state(self) -> tuple[Arrays, Settings]:
        """Return all that `restore` needs: arrays, and JSON values."""
        return {}, {"n_experts": self.n_experts, "fallback": self.fallback}

    def restore(self, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Self:  # noqa: ARG002  for those that learn
        """Take over a state that `state` of such a gate returned; the gate then does what that one did, to the bit."""
        self.n_experts = int(settings["n_experts"])
        self.fallback = bool(settings["fallback"])
        return self
