"""One backbone's features become an expert, with predictions of its training rows that never saw their own row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.errors import UnusableDataError
from fusion_pipeline.train.folds import Fold, inner_folds
from fusion_pipeline.train.inner_paths import ROUGH, InnerFold, Search
from fusion_pipeline.train.solvers.parts import Part
from fusion_pipeline.train.solvers.rows import hold
from fusion_pipeline.train.solvers.softmax import refined, softmax, solve_path

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# One a decade, each scikit-learn's 1 / C, far apart because the likelihood is flat around its best. Features of a few
# thousand columns were seen to want 0.1 to 100; noisy ones want more.
DEFAULT_ALPHAS: tuple[float, ...] = (1e4, 1e3, 1e2, 1e1, 1.0, 1e-1, 1e-2)

# Rows at a time that are float64: of a concatenation they would take four times the memory of float16.
_ROWS = 1024

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
        `scale` is 1 for columns that vary by no more than a 1e-7th of their mean.

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


Scaling = Callable[[NDArray[np.floating]], Standardiser]
"""Makes columns alike: from training rows to what is done to all rows. Must be a pure function of the rows."""


@dataclass(frozen=True)
class Expert:
    """The base classifier c_k: softmax(h W + b) on features h, of one backbone or of all side by side.

    Attributes
    ----------
    weights : ndarray (n_features, n_classes), float32
        With the standardisation folded in, so that raw features go in.
    bias : ndarray (n_classes,), float64
        Exact, since it takes back what columns far from zero put in.

    Examples
    --------
    >>> expert = Expert(np.array([[0.0, 2.0]], np.float32), np.zeros(2))
    >>> expert.logits(np.array([[3.0]]))
    array([[0., 6.]])
    """

    weights: NDArray[np.float32]
    bias: FloatArray

    @classmethod
    def fold(cls, weights: FloatArray, intercept: FloatArray, standardiser: Standardiser) -> Expert:
        """Return the expert of raw features that does what `weights` do to standardised ones.

        Raises
        ------
        UnusableDataError
            If float32 cannot hold the weights: features around 1e-38 or 1e38.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            # In the order in memory that a reload gives them: in another one products end in other bits.
            raw = (weights / standardiser.scale[:, None]).astype(np.float32, order="C")
            # From the rounded weights, so that what rounding moved is put right around the mean.
            bias = np.asarray(intercept - standardiser.mean @ raw.astype(np.float64))
        if not (np.isfinite(standardiser.scale).all() and np.isfinite(raw).all() and np.isfinite(bias).all()):
            raise UnusableDataError(
                "The features are too large or too small for weights in float32. Bring them nearer to 1."
            )
        return cls(raw, bias)

    def logits(self, features: NDArray[np.floating]) -> FloatArray:
        """Return the logits (n, n_classes) of `features` (n, n_features).

        Computed in float64 from the float32 weights and the bias that a model folder stores: a reload changes no bit.
        """
        weights = self.weights.astype(np.float64)
        parts = [
            np.asarray(features[start : start + _ROWS], dtype=np.float64) @ weights
            for start in range(0, max(len(features), 1), _ROWS)
        ]
        return np.concatenate(parts) + self.bias

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
        The chosen penalty: least out-of-fold negative log-likelihood.
    out_of_fold_nll : dict of float to float
        Mean negative log-likelihood, in nats, by penalty, of those that were tried: from the strongest until it rose.
        That of the chosen one belongs to `out_of_fold`; the others are roughly so.
    scaling : callable
        The chosen one.
    """

    expert: Expert
    out_of_fold: FloatArray
    alpha: float
    out_of_fold_nll: dict[float, float]
    scaling: Scaling = Standardiser.fit


def fit_expert(
    features: NDArray[np.floating],
    labels: IntArray,
    n_classes: int,
    seed: int,
    alphas: Sequence[float] = DEFAULT_ALPHAS,
    scalings: Sequence[Scaling] = (Standardiser.fit,),
    groups: IntArray | None = None,
) -> ExpertFit:
    """Fit the expert of one backbone, its penalty and its scaling chosen inside the given rows.

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
        Penalties to choose from; at least one, all positive.
    scalings : sequence of callable
        How columns are made alike before one penalty serves them all; the first of equally good ones is chosen.
    groups : ndarray (n,), int64, optional
        Rows that the inner folds must keep together.

    Returns
    -------
    ExpertFit
        All backbones' `out_of_fold` together are what gates and stackers learn from. The penalty itself is chosen on
        these same predictions: one number from seven, too little to tell a gate anything about a single row.

    Examples
    --------
    >>> rows = np.array([[-2.0], [-1.0], [-3.0], [1.0], [2.0], [3.0]])
    >>> fit = fit_expert(rows, np.array([0, 0, 0, 1, 1, 1]), 2, seed=0)
    >>> fit.expert.probabilities(rows).argmax(axis=1)
    array([0, 0, 0, 1, 1, 1])
    """
    rows = np.asarray(features, dtype=np.float64)
    inner = inner_folds(labels, seed, groups=groups)
    penalties = sorted({float(alpha) for alpha in alphas}, reverse=True)
    best, scaling = _search(rows, labels, n_classes, inner, penalties, scalings[0]), scalings[0]
    for other in scalings[1:]:
        found = _search(rows, labels, n_classes, inner, penalties, other)
        if found.loss < best.loss:
            best, scaling = found, other
    choice = best.refined(labels)
    expert = expert_at(rows, labels, n_classes, choice.path, scaling)
    return ExpertFit(expert, choice.held_out, choice.penalty, choice.losses, scaling)


def expert_at(
    features: NDArray[np.floating], labels: IntArray, n_classes: int, alphas: Sequence[float], scaling: Scaling
) -> Expert:
    """Fit an expert on all given rows at the weakest of some penalties.

    Parameters
    ----------
    features, labels, n_classes
        As of `fit_expert`.
    alphas : sequence of float
        The stronger ones lead to the optimum of the weakest.
    scaling : callable
    """
    standardiser = scaling(features)
    part = hold([standardiser(features)]).part(np.arange(len(labels)))
    *_, rough = solve_path(part, labels, n_classes, alphas, ROUGH)
    fit = refined(part, labels, rough).primal(part)
    return Expert.fold(fit.weights, fit.intercept, standardiser)


def _search(
    rows: FloatArray,
    labels: IntArray,
    n_classes: int,
    inner: Sequence[Fold],
    penalties: Sequence[float],
    scaling: Scaling,
) -> Search:
    """Return the best penalty at one scaling."""
    folds = [InnerFold(_part(rows, train, test, scaling), test, labels[train], n_classes) for train, test in inner]
    return Search.of(folds, penalties, labels)


def _part(rows: FloatArray, train: IntArray, test: IntArray, scaling: Scaling) -> Part:
    """Return the rows of an inner fold, made alike by what its training rows are like."""
    return hold([scaling(rows[train])(rows)], around=train, predicting_only=True).part(train, test)
