"""Labels and folds of a training part become out-of-fold predictions of ridge regressions, without refits.

Ridge regression on one-hot targets Y with an unpenalised intercept is linear in them: its fitted values are H Y with
``H = 1 1' / n + U diag(v / (v + alpha)) U'``, where U are the principal axes of the centred rows and v their sums of
squares. Leaving out the rows F of a fold and fitting again changes their residuals from ``(I - H) Y`` to::

    (I - H)[F, F]^-1 ((I - H) Y)[F]

(Cook and Weisberg, Residuals and Influence in Regression, 1982, section 3.6), so that one decomposition serves every
penalty and every folds. A refit would centre on its own rows, which the free intercept makes good; scales of blocks are
those of all the part's rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve

from fusion_pipeline.train.solvers.eigenbasis import Eigenbasis
from fusion_pipeline.train.solvers.gram import FloatArray, IntArray
from fusion_pipeline.train.solvers.parts import Part


@dataclass(frozen=True)
class Ridge:
    """Ridge regressions of one-hot labels, for any penalty and any folds.

    The objective is ``||Y - X W - b||^2 + alpha * ||W||^2``, scikit-learn's ``Ridge(alpha)``.

    Attributes
    ----------
    basis : Eigenbasis
        Of a centred part; U of the formulas is its scores, each column divided by its length.
    targets : ndarray (n, n_classes), float64
        One-hot.

    Examples
    --------
    >>> from fusion_pipeline.train.solvers.rows import hold
    >>> part = hold([np.array([[-1.0], [-1.0], [1.0], [1.0]])]).part(np.arange(4))
    >>> ridge = Ridge.of(part, np.array([0, 0, 1, 1]), 2)
    >>> ridge.out_of_fold([np.array([0, 2]), np.array([1, 3])], alpha=2.0).round(3)
    array([[0.75, 0.25],
           [0.75, 0.25],
           [0.25, 0.75],
           [0.25, 0.75]])
    """

    basis: Eigenbasis
    targets: FloatArray

    @classmethod
    def of(cls, part: Part, labels: IntArray, n_classes: int) -> Ridge:
        """Return the regressions of `labels` (n,), each of 0 .. n_classes - 1, on a centred part."""
        return cls(Eigenbasis.exact(part), np.eye(n_classes)[labels])

    def out_of_fold(self, folds: Sequence[IntArray], alpha: float) -> FloatArray:
        """Return predictions (n, n_classes), float64, of every row by the regression that was fitted without its fold.

        Parameters
        ----------
        folds : sequence of ndarray, int64
            Positions among the training rows; together all of them, each once.
        alpha : float
            Positive.

        Raises
        ------
        ValueError
            If a row is in no fold, or in two, or a fold has all rows.
        """
        n = len(self.targets)
        if not np.array_equal(np.sort(np.concatenate(folds)), np.arange(n)) or len(folds) < 2:
            raise ValueError("Folds must hold every row once, and not all in one.")
        lengths = np.sqrt(self.basis.variances)
        axes, shrinkage = self.basis.scores / lengths, self.basis.variances / (self.basis.variances + alpha)
        mean = self.targets.mean(axis=0)
        residuals = self.targets - mean - (axes * shrinkage) @ (axes.T @ (self.targets - mean))
        predictions = np.empty_like(self.targets)
        for fold in folds:
            part = axes[fold]
            kept = np.eye(len(fold)) - 1.0 / n - (part * shrinkage) @ part.T
            predictions[fold] = self.targets[fold] - solve(kept, residuals[fold], assume_a="pos", check_finite=False)
        return predictions

    def held_out(self, part: Part, alpha: float) -> FloatArray:
        """Return predictions (m, n_classes) of the held-out rows of the `part`, by the fit on all training rows."""
        pulls = self.basis.scores.T @ (self.targets - self.targets.mean(axis=0))
        weights = self.basis.axes @ (pulls / (self.basis.variances + alpha)[:, None])
        return np.asarray(part.held_out(weights) + self.targets.mean(axis=0))
