"""One matrix with the backbones' columns side by side becomes the mapping that a fused classifier takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from fusion_pipeline.errors import UnusableDataError, UsageError
from fusion_pipeline.train.classifier import FusionClassifier
from fusion_pipeline.train.expert_classifier import UnusableRowsError
from fusion_pipeline.train.gates.gate import FloatArray

ALONE = "features"
"""What the one backbone is called when nobody says whose the columns are."""


class SideBySide(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is not annotated
    """A fused classifier of one matrix, for scikit-learn's cross-validation, searches and pipelines.

    These cut one matrix by its rows, which a mapping of matrices does not allow.

    Parameters
    ----------
    classifier : FusionClassifier
        Cloned before it is fitted. It may need nothing but features.
    columns : mapping of str to int, optional
        How many columns each backbone has, in the order in which they stand; by default all belong to one backbone.

    Attributes
    ----------
    classifier_ : FusionClassifier
        Fitted.
    classes_ : ndarray (n_classes,)
    n_features_in_ : int

    Examples
    --------
    >>> from sklearn.model_selection import cross_val_score
    >>> first = np.tile([-1.0, 1.0], 10)[:, None]
    >>> model = SideBySide(FusionClassifier("average"), {"a": 1, "b": 1})
    >>> cross_val_score(model, np.hstack([first, 2 * first]), np.tile(["left", "right"], 10), cv=2)
    array([1., 1.])
    """

    def __init__(self, classifier: FusionClassifier, columns: Mapping[str, int] | None = None) -> None:
        self.classifier = classifier
        self.columns = columns

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit a clone of the classifier.

        Parameters
        ----------
        X : array (n, n_features)
            The backbones' features side by side.
        y : array (n,)
            Labels.

        Raises
        ------
        ValueError
            If `X` and `y` are not so; in scikit-learn's words.
        UsageError
            If `columns` do not add up to those of `X`, and all that `FusionClassifier.fit` refuses.
        UnusableDataError
            If a class has fewer than 2 rows, or there is but one class. It is a ValueError too.
        """
        features, y = validate_data(self, X, y, dtype=(np.float64, np.float32, np.float16), ensure_min_samples=2)
        check_classification_targets(y)
        try:
            self.classifier_ = clone(self.classifier).fit(self._cut(features), y)
        except UnusableDataError as error:
            raise UnusableRowsError(str(error)) from None
        self.classes_ = self.classifier_.classes_
        return self

    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """Return the fused probabilities (n, n_classes), float64, of features (n, n_features)."""
        unseen = self._unseen(X)
        probabilities: FloatArray = self.classifier_.predict_proba(unseen)
        return probabilities

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most probable label, (n,), of features (n, n_features)."""
        unseen = self._unseen(X)
        labels: NDArray[Any] = self.classifier_.predict(unseen)
        return labels

    def _unseen(self, X: ArrayLike) -> dict[str, NDArray[np.floating]]:
        check_is_fitted(self)
        return self._cut(validate_data(self, X, dtype=(np.float64, np.float32, np.float16), reset=False))

    def _cut(self, features: NDArray[np.floating]) -> dict[str, NDArray[np.floating]]:
        """Return the columns of each backbone."""
        columns = {ALONE: features.shape[1]} if self.columns is None else dict(self.columns)
        if sum(columns.values()) != features.shape[1]:
            raise UsageError(
                f"The columns of {', '.join(columns)} add up to {sum(columns.values())}, but there are "
                f"{features.shape[1]}. Say how many each backbone has."
            )
        ends = np.cumsum(list(columns.values()))[:-1]
        return dict(zip(columns, np.split(features, ends, axis=1), strict=True))
