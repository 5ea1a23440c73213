"""One feature matrix and labels become an expert with scikit-learn's conventions, and its out-of-fold predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from fusion_pipeline.errors import UnusableDataError
from fusion_pipeline.train.checked import checked_penalties, checked_seed
from fusion_pipeline.train.experts import fit_expert
from fusion_pipeline.train.folds import check_classes

FloatArray = NDArray[np.float64]

# What is one of these is taken as it is: a copy in float64 would take four times the memory of float16.
_DTYPES = (np.float64, np.float32, np.float16)


class UnusableRowsError(UnusableDataError, ValueError):
    """Rows that no expert can be fitted on; a ValueError, as scikit-learn's conventions ask for."""


class ExpertClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is not annotated
    """The base classifier c_k of one backbone: a softmax regression on its standardised features.

    The penalty is chosen by inner folds of the training rows. Their out-of-fold predictions are kept: they are what a
    gate may learn from, for in sample an expert hardly errs.

    Parameters
    ----------
    alphas : sequence of float, optional
        Penalties to choose from; see `fusion_pipeline.train.experts.DEFAULT_ALPHAS`.
    seed : int
        Decides the inner folds. Experts whose predictions are to be fused need the same one.

    Attributes
    ----------
    classes_ : ndarray (n_classes,)
        Labels, in the order of the probabilities' columns.
    n_features_in_ : int
    expert_ : Expert
        Weights and bias, with the standardisation folded in.
    out_of_fold_ : ndarray (n, n_classes), float64
        Probabilities of each training row by experts that were fitted without it, at the chosen penalty.
    alpha_ : float
        The chosen penalty.
    out_of_fold_nll_ : dict of float to float
        Mean negative log-likelihood of the training rows out of fold, in nats, by the penalties that were tried.

    Examples
    --------
    >>> rows = np.linspace(-1.0, 1.0, 20)[:, None]
    >>> expert = ExpertClassifier().fit(rows, np.where(rows[:, 0] < 0, "left", "right"))
    >>> expert.predict([[-0.9], [0.9]]).tolist(), expert.out_of_fold_.shape
    (['left', 'right'], (20, 2))
    """

    def __init__(self, alphas: Sequence[float] | None = None, *, seed: int = 0) -> None:
        self.alphas = alphas
        self.seed = seed

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit the expert, its penalty chosen inside the given rows.

        Parameters
        ----------
        X : array (n, n_features)
            Finite real numbers.
        y : array (n,)
            Labels: text, numbers, or whatever else can be sorted.

        Raises
        ------
        ValueError
            If `X` and `y` are not so; in scikit-learn's words.
        UnusableDataError
            If a class has fewer than 2 rows, or there is but one class. It is a ValueError too.
        UsageError
            If `seed` is no whole number from 0 on, or a penalty is not positive.
        """
        seed, alphas = checked_seed(self.seed), checked_penalties(self.alphas)
        features, y = validate_data(self, X, y, dtype=_DTYPES, ensure_min_samples=2)
        check_classification_targets(y)
        classes, labels = np.unique(y, return_inverse=True)
        with _as_value_error(), threadpool_limits(1):  # one thread, as in `FusionClassifier`: the same bytes everywhere
            check_classes(labels, [str(label) for label in classes], folds=1)
            fit = fit_expert(features, labels, len(classes), seed, alphas)
        self.classes_ = classes
        self.expert_ = fit.expert
        self.out_of_fold_ = fit.out_of_fold
        self.alpha_ = fit.alpha
        self.out_of_fold_nll_ = fit.out_of_fold_nll
        return self

    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """Return the class probabilities (n, n_classes), float64, of features (n, n_features)."""
        check_is_fitted(self)
        return self.expert_.probabilities(validate_data(self, X, dtype=_DTYPES, reset=False))

    def decision_function(self, X: ArrayLike) -> FloatArray:
        """Return the logits of features (n, n_features): (n, n_classes); of two classes the difference, (n,)."""
        check_is_fitted(self)
        logits = self.expert_.logits(validate_data(self, X, dtype=_DTYPES, reset=False))
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most probable label, (n,), of features (n, n_features)."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])


@contextmanager
def _as_value_error() -> Iterator[None]:
    try:
        yield
    except UnusableDataError as error:
        raise UnusableRowsError(str(error)) from None
