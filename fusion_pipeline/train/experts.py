"""One backbone's features become an expert, with predictions of its training rows that never saw their own row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.train.folds import inner_folds
from fusion_pipeline.train.mixture import sample_nll
from fusion_pipeline.train.solvers import fit_path, softmax

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Two a decade, each scikit-learn's 1 / C: deep features of a few thousand columns want 100 to 1000, while a stacker's
# few columns want 1 or less.
DEFAULT_ALPHAS: tuple[float, ...] = tuple(float(alpha) for alpha in np.geomspace(1e4, 1e-1, 11))

# A column whose spread is this small a share of its size is a constant plus rounding, which division would blow up.
_CONSTANT = 1e-7


def first_not_finite(features: NDArray[np.floating]) -> int | None:
    """Return the first row of `features` (n, n_features) with a NaN or an infinity, or None.

    Examples
    --------
    >>> first_not_finite(np.array([[1.0, 2.0], [np.inf, 0.0]]))
    1
    """
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    return int(bad[0]) if len(bad) else None


@dataclass(frozen=True)
class Standardiser:
    """Shifts and scales columns to mean 0 and standard deviation 1 over the rows that it was fitted on.

    Attributes
    ----------
    mean, scale : ndarray (n_features,), float64
        `scale` is 1 for columns that do not vary.

    Examples
    --------
    >>> rows = np.array([[1.0, 7.0], [3.0, 7.0]])
    >>> Standardiser.fit(rows)(rows)
    array([[-1.,  0.],
           [ 1.,  0.]])
    """

    mean: FloatArray
    scale: FloatArray

    @classmethod
    def fit(cls, features: NDArray[np.floating]) -> Standardiser:
        """Return the standardiser of `features` (n, n_features)."""
        exact = np.asarray(features, dtype=np.float64)
        mean, deviation = exact.mean(axis=0), exact.std(axis=0)
        return cls(mean, np.where(deviation > _CONSTANT * np.abs(mean), deviation, 1.0))

    def __call__(self, features: NDArray[np.floating]) -> FloatArray:
        """Return the standardised rows as float64."""
        return (np.asarray(features, dtype=np.float64) - self.mean) / self.scale


@dataclass(frozen=True)
class Expert:
    """The base classifier c_k of one backbone: softmax(h W + b) on its features h.

    Attributes
    ----------
    weights : ndarray (n_features, n_classes), float32
        With the standardisation folded in, so that raw features go in.
    bias : ndarray (n_classes,), float32

    Examples
    --------
    >>> expert = Expert(np.array([[0.0, 2.0]], np.float32), np.zeros(2, np.float32))
    >>> expert.logits(np.array([[3.0]]))
    array([[0., 6.]])
    """

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]

    @classmethod
    def fold(cls, weights: FloatArray, intercept: FloatArray, standardiser: Standardiser) -> Expert:
        """Return the expert of raw features that does what `weights` do to standardised ones."""
        raw = weights / standardiser.scale[:, None]
        return cls(raw.astype(np.float32), (intercept - standardiser.mean @ raw).astype(np.float32))

    def logits(self, features: NDArray[np.floating]) -> FloatArray:
        """Return the logits (n, n_classes) of `features` (n, n_features).

        Computed in float64 from the float32 weights that a model folder stores, so that a reload changes no bit.
        """
        return np.asarray(features, dtype=np.float64) @ self.weights.astype(np.float64) + self.bias

    def probabilities(self, features: NDArray[np.floating]) -> FloatArray:
        """Return the class probabilities (n, n_classes), float64, of `features` (n, n_features)."""
        return softmax(self.logits(features))


@dataclass(frozen=True)
class ExpertFit:
    """A fitted expert and what its inner folds showed.

    Attributes
    ----------
    expert : Expert
        Fitted on all given rows.
    out_of_fold : ndarray (n, n_classes), float64
        Probabilities of each given row by experts that were fitted without it, at the chosen penalty.
    alpha : float
        The chosen penalty: least out-of-fold negative log-likelihood, the stronger one of equals.
    out_of_fold_nll : dict of float to float
        Mean negative log-likelihood, in nats, by penalty.
    """

    expert: Expert
    out_of_fold: FloatArray
    alpha: float
    out_of_fold_nll: dict[float, float]


def fit_expert(
    features: NDArray[np.floating],
    labels: IntArray,
    n_classes: int,
    seed: int,
    alphas: Sequence[float] = DEFAULT_ALPHAS,
) -> ExpertFit:
    """Fit the expert of one backbone, its penalty chosen inside the given rows.

    Parameters
    ----------
    features : ndarray (n, n_features), any float
        The training rows, and nothing else.
    labels : ndarray (n,), int64
        Each of 0 .. n_classes - 1 at least twice.
    n_classes : int
    seed : int
        Decides the inner folds; with the same seed every backbone gets the same ones.
    alphas : sequence of float
        Penalties to choose from.

    Returns
    -------
    ExpertFit
        All backbones' `out_of_fold` together are what gates and stackers learn from. The penalty itself is chosen on
        these same predictions: one number from eleven, too little to tell a gate anything about a single row.

    Examples
    --------
    >>> rows = np.array([[-2.0], [-1.0], [-3.0], [1.0], [2.0], [3.0]])
    >>> fit = fit_expert(rows, np.array([0, 0, 0, 1, 1, 1]), 2, seed=0)
    >>> fit.expert.probabilities(rows).argmax(axis=1)
    array([0, 0, 0, 1, 1, 1])
    """
    penalties = sorted({float(alpha) for alpha in alphas}, reverse=True)
    rows = np.asarray(features, dtype=np.float64)
    held_out = _out_of_fold(rows, labels, n_classes, seed, penalties)
    losses = [float(sample_nll(probabilities, labels).mean()) for probabilities in held_out]
    best = int(np.argmin(losses))
    standardiser = Standardiser.fit(rows)
    # The weaker penalties are not needed any more; the stronger ones are cheap and lead to the optimum.
    path = fit_path(standardiser(rows), labels, n_classes, penalties[: best + 1])
    expert = Expert.fold(path.weights[-1], path.intercepts[-1], standardiser)
    return ExpertFit(expert, held_out[best], penalties[best], dict(zip(penalties, losses, strict=True)))


def _out_of_fold(
    rows: FloatArray, labels: IntArray, n_classes: int, seed: int, penalties: Sequence[float]
) -> FloatArray:
    """Return probabilities (n_penalties, n, n_classes) of each row by experts that did not see it."""
    held_out = np.empty((len(penalties), len(rows), n_classes))
    for train, test in inner_folds(labels, seed):
        standardiser = Standardiser.fit(rows[train])
        path = fit_path(standardiser(rows[train]), labels[train], n_classes, penalties)
        held_out[:, test] = softmax(path.logits(standardiser(rows[test])))
    return held_out
