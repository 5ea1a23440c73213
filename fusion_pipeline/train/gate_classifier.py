"""Experts' predictions, by backbone, and labels become a gate with scikit-learn's conventions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits

from fusion_pipeline.errors import UnusableDataError, UsageError, printable
from fusion_pipeline.train.checked import (
    check_names,
    checked_labels,
    checked_matrices,
    checked_seed,
    gate_inputs,
    same_rows,
)
from fusion_pipeline.train.folds import check_classes
from fusion_pipeline.train.gates.gate import FloatArray, Gate, GateInputs
from fusion_pipeline.train.gates.registry import make_gate

# Probabilities may come in float16, whose sums over many classes miss 1 by so much.
_FAR_FROM_ONE = 0.01


class GateClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is not annotated
    """A gate on the predictions of experts, whoever made these (Eq. 3).

    `fit` must be given predictions of rows that their experts were not fitted on, such as
    `ExpertClassifier.out_of_fold_`: in sample an expert hardly errs, and there is nothing to learn about whom to trust.

    Parameters
    ----------
    gate : str
        One of `fusion_pipeline.train.gates.registry.GATES`.
    seed : int
        Decides inner folds and all that is random; the same seed gives the same gate.

    Attributes
    ----------
    classes_ : ndarray (n_classes,)
        Labels, in the order of the probabilities' columns.
    backbones_ : tuple of str
        In the order of the gate weights' columns.
    n_features_ : dict of str to int
        Length of the features that the gate looks at, by backbone; empty for gates that look at none.
    gate_ : Gate
    fallback_ : bool
        Whether the gate averages because what it learned was no better.

    Examples
    --------
    >>> sure, unsure = np.array([[0.9, 0.1], [0.1, 0.9]] * 8), np.full((16, 2), 0.5)
    >>> gate = GateClassifier("constant").fit({"a": sure, "b": unsure}, ["left", "right"] * 8)
    >>> gate.gate_weights({"a": sure[:1], "b": unsure[:1]}).round(2)
    array([[0.9, 0.1]])
    >>> gate.predict({"a": sure[:2], "b": unsure[:2]}).tolist()
    ['left', 'right']
    """

    def __init__(self, gate: str = "embedding", *, seed: int = 0) -> None:
        self.gate = gate
        self.seed = seed

    def fit(
        self,
        X: Mapping[str, ArrayLike],
        y: ArrayLike,
        features: Mapping[str, ArrayLike] | None = None,
        thumbnails: ArrayLike | None = None,
    ) -> Self:
        """Learn whom to trust.

        Parameters
        ----------
        X : mapping of str to array (n, n_classes)
            The experts' out-of-fold probabilities, by backbone; columns in the order of the sorted labels.
        y : array (n,)
            Labels: text, numbers, or whatever else can be sorted.
        features : mapping of str to array (n, n_features of the backbone), optional
            For the gates that look at them: `embedding` and its readings.
        thumbnails : array (n, size, size, 3), uint8, optional
            For the gates cnn32 (size 32) and cnn64 (size 64).

        Raises
        ------
        UsageError
            If shapes do not fit, labels are no labels, `seed` is no whole number from 0 on, or there is no such gate.
        UnusableDataError
            If a class has fewer than 2 rows, a row is no distribution, or a feature is not finite.
        """
        gate, seed = make_gate(self.gate), checked_seed(self.seed)
        classes, labels = checked_labels(y)
        opinions = _opinions(X, classes)
        same_rows({**opinions, "y": labels})
        check_classes(labels, [str(label) for label in classes], folds=1)
        inputs = _inputs(gate, opinions, features, thumbnails)
        with threadpool_limits(1):  # as in `FusionClassifier`: the same bytes everywhere
            self.gate_ = gate.fit(inputs, np.stack(list(opinions.values()), axis=1), labels, seed)
        self.classes_ = classes
        self.backbones_ = tuple(opinions)
        self.n_features_ = {name: rows.shape[1] for name, rows in zip(opinions, inputs.features, strict=False)}
        self.fallback_ = gate.fallback
        return self

    def predict_proba(
        self,
        X: Mapping[str, ArrayLike],
        features: Mapping[str, ArrayLike] | None = None,
        thumbnails: ArrayLike | None = None,
    ) -> FloatArray:
        """Return the fused probabilities (n, n_classes), float64; parameters as in `fit`, of any rows."""
        inputs, opinions = self._checked(X, features, thumbnails)
        return self.gate_.fuse(inputs, opinions)

    def predict(
        self,
        X: Mapping[str, ArrayLike],
        features: Mapping[str, ArrayLike] | None = None,
        thumbnails: ArrayLike | None = None,
    ) -> NDArray[Any]:
        """Return the most probable label of each row, (n,); parameters as in `predict_proba`."""
        best = self.predict_proba(X, features, thumbnails).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def score(
        self,
        X: Mapping[str, ArrayLike],
        y: ArrayLike,
        features: Mapping[str, ArrayLike] | None = None,
        thumbnails: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Return the share of rows whose most probable label is right; parameters as in `predict_proba`."""
        return float(accuracy_score(y, self.predict(X, features, thumbnails), sample_weight=sample_weight))

    def gate_weights(
        self,
        X: Mapping[str, ArrayLike],
        features: Mapping[str, ArrayLike] | None = None,
        thumbnails: ArrayLike | None = None,
    ) -> FloatArray:
        """Return how much each expert is trusted on each row, (n, n_backbones); parameters as in `predict_proba`."""
        return self.gate_.gate_weights(self._checked(X, features, thumbnails)[0])

    def _checked(
        self, X: Mapping[str, ArrayLike], features: Mapping[str, ArrayLike] | None, thumbnails: ArrayLike | None
    ) -> tuple[GateInputs, FloatArray]:
        check_is_fitted(self)
        found = _opinions(X, self.classes_)
        check_names(set(found), self.backbones_, "predictions")
        opinions = {name: found[name] for name in self.backbones_}
        same_rows(opinions)
        inputs = _inputs(self.gate_, opinions, features, thumbnails)
        for (name, expected), rows in zip(self.n_features_.items(), inputs.features, strict=True):
            if rows.shape[1] != expected:
                raise UsageError(
                    f"Backbone '{printable(name)}' has {rows.shape[1]} features, but the gate was fitted on "
                    f"{expected}. Give features of the same layer."
                )
        return inputs, np.stack(list(opinions.values()), axis=1)


def _opinions(X: Mapping[str, ArrayLike], classes: NDArray[Any]) -> dict[str, FloatArray]:
    """Return the experts' probabilities, float64, that are distributions over the classes."""
    opinions = {name: np.asarray(matrix, dtype=np.float64) for name, matrix in checked_matrices(X).items()}
    for name, matrix in opinions.items():
        if matrix.shape[1] != len(classes):
            raise UsageError(
                f"Predictions of '{printable(name)}' have {matrix.shape[1]} columns, but there are {len(classes)} "
                "classes. Give one column for each label, in sorted order."
            )
        wrong = np.flatnonzero((matrix < 0).any(axis=1) | (np.abs(matrix.sum(axis=1) - 1) > _FAR_FROM_ONE))
        if len(wrong):
            raise UnusableDataError(
                f"Predictions of '{printable(name)}' are no probabilities in row {wrong[0]}. "
                "Give what predict_proba says."
            )
    return opinions


def _inputs(
    gate: Gate,
    opinions: Mapping[str, FloatArray],
    features: Mapping[str, ArrayLike] | None,
    thumbnails: ArrayLike | None,
) -> GateInputs:
    """Return what the gate looks at, in the order of the experts."""
    n = same_rows(opinions)
    if not gate.looks_at_features:
        return gate_inputs(gate, n, {}, thumbnails)
    if features is None:
        raise UsageError(f"Gate '{gate.name}' looks at features: give features, one matrix per backbone.")
    matrices = checked_matrices(features)
    check_names(set(matrices), tuple(opinions))
    same_rows({**opinions, **{f"features of {name}": matrix for name, matrix in matrices.items()}})
    return gate_inputs(gate, n, {name: matrices[name] for name in opinions}, thumbnails)
