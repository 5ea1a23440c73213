"""One feature matrix per backbone, and labels, become a fused classifier with scikit-learn's conventions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_is_fitted, column_or_1d
from threadpoolctl import threadpool_limits

from fusion_pipeline.errors import UnusableDataError, UsageError, printable
from fusion_pipeline.train.experts import DEFAULT_ALPHAS, Expert, first_not_finite, fit_expert
from fusion_pipeline.train.folds import check_classes
from fusion_pipeline.train.gates.gate import FloatArray, Gate, GateInputs
from fusion_pipeline.train.gates.registry import make_gate

Matrix = NDArray[np.floating]


class FusionClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is not annotated
    """Experts on frozen backbones' features, fused by a gate (Eq. 3).

    Parameters
    ----------
    gate : str
        One of `fusion_pipeline.train.gates.registry.GATES`.
    seed : int
        Decides inner folds and the gate's randomness; the same seed gives the same model.
    alphas : sequence of float, optional
        Penalties that each expert chooses from; see `fusion_pipeline.train.experts.DEFAULT_ALPHAS`.

    Attributes
    ----------
    classes_ : ndarray (n_classes,)
        Labels, in the order of the probabilities' columns.
    backbones_ : tuple of str
        In the order of the gate weights' columns.
    experts_ : dict of str to Expert
    gate_ : Gate
    fallback_ : bool
        Whether the gate averages because what it learned was no better.

    Examples
    --------
    >>> rows = np.linspace(-1.0, 1.0, 20)[:, None]
    >>> sides = np.where(rows[:, 0] < 0, "left", "right")
    >>> model = FusionClassifier(gate="average").fit({"a": rows, "b": rows**3}, sides)
    >>> model.predict({"a": [[-0.9], [0.9]], "b": [[-0.7], [0.7]]}).tolist()
    ['left', 'right']
    >>> model.gate_weights({"a": [[0.9]], "b": [[0.7]]})
    array([[0.5, 0.5]])
    """

    def __init__(self, gate: str = "embedding", *, seed: int = 0, alphas: Sequence[float] | None = None) -> None:
        self.gate = gate
        self.seed = seed
        self.alphas = alphas

    def fit(self, X: Mapping[str, ArrayLike], y: ArrayLike, thumbnails: ArrayLike | None = None) -> Self:
        """Fit an expert per backbone, then the gate on their out-of-fold predictions.

        Parameters
        ----------
        X : mapping of str to array (n, n_features of the backbone)
            Features by backbone.
        y : array (n,)
            Labels: text, numbers, or whatever else can be sorted.
        thumbnails : array (n, size, size, 3), uint8, optional
            For the gates cnn32 (size 32) and cnn64 (size 64).

        Raises
        ------
        UsageError
            If shapes do not fit, labels are no labels, `seed` is no whole number from 0 on, a penalty is not positive,
            or there is no such gate.
        UnusableDataError
            If a feature is not finite, or a class has fewer than 2 rows.
        """
        gate = make_gate(self.gate)
        seed = _seed(self.seed)
        matrices = _matrices(X)
        classes, labels = _labels(y)
        n = _check_rows({**matrices, "y": labels})
        check_classes(labels, [str(label) for label in classes], folds=1)
        inputs = _gate_inputs(gate, n, matrices, thumbnails)
        alphas = _alphas(self.alphas)
        # One BLAS thread, as in the tasks: the same bytes everywhere, and threads would only wait for each other.
        with threadpool_limits(1):
            fits = [fit_expert(matrix, labels, len(classes), seed, alphas) for matrix in matrices.values()]
            gate.fit(inputs, np.stack([fit.out_of_fold for fit in fits], axis=1), labels, seed)
        return self.assemble(classes, {name: fit.expert for name, fit in zip(matrices, fits, strict=True)}, gate)

    def assemble(self, classes: Sequence[Any] | NDArray[Any], experts: Mapping[str, Expert], gate: Gate) -> Self:
        """Become the fitted classifier of these parts: what cross-validation tasks or a model folder hold.

        Parameters
        ----------
        classes : sequence (n_classes,)
            Labels, in the order of the experts' outputs.
        experts : mapping of str to Expert
            By backbone, in the order of the gate.
        gate : Gate
            Fitted.
        """
        self.classes_ = np.asarray(classes)
        self.backbones_ = tuple(experts)
        self.experts_ = dict(experts)
        self.gate_ = gate
        self.fallback_ = gate.fallback
        return self

    def predict_proba(self, X: Mapping[str, ArrayLike], thumbnails: ArrayLike | None = None) -> FloatArray:
        """Return the fused probabilities (n, n_classes), float64; parameters as in `fit`."""
        inputs, matrices = self._checked(X, thumbnails)
        probabilities = [self.experts_[name].probabilities(matrices[name]) for name in self.backbones_]
        return self.gate_.fuse(inputs, np.stack(probabilities, axis=1))

    def predict(self, X: Mapping[str, ArrayLike], thumbnails: ArrayLike | None = None) -> NDArray[Any]:
        """Return the most probable label of each row, (n,); parameters as in `fit`."""
        best = self.predict_proba(X, thumbnails).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def score(
        self,
        X: Mapping[str, ArrayLike],
        y: ArrayLike,
        thumbnails: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Return the share of rows whose most probable label is right; parameters as in `fit`."""
        return float(accuracy_score(y, self.predict(X, thumbnails), sample_weight=sample_weight))

    def gate_weights(self, X: Mapping[str, ArrayLike], thumbnails: ArrayLike | None = None) -> FloatArray:
        """Return how much each backbone is trusted on each row, (n, n_backbones) float64; parameters as in `fit`."""
        inputs, _ = self._checked(X, thumbnails)
        return self.gate_.gate_weights(inputs)

    def _checked(
        self, X: Mapping[str, ArrayLike], thumbnails: ArrayLike | None
    ) -> tuple[GateInputs, dict[str, Matrix]]:
        check_is_fitted(self)
        found = _matrices(X)
        _check_backbones(set(found), self.backbones_)
        matrices = {name: found[name] for name in self.backbones_}
        for name, expert in self.experts_.items():
            if matrices[name].shape[1] != len(expert.weights):
                raise UsageError(
                    f"Backbone '{printable(name)}' has {matrices[name].shape[1]} features, but the model was fitted on "
                    f"{len(expert.weights)}. Give features of the same layer."
                )
        return _gate_inputs(self.gate_, _check_rows(matrices), matrices, thumbnails), matrices

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "experts_")


def _seed(seed: Any) -> int:
    if not isinstance(seed, Integral) or seed < 0:
        raise UsageError(f"seed={seed!r} was given. A whole number from 0 on is needed, so that fits can be repeated.")
    return int(seed)


def _labels(y: ArrayLike) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the classes, sorted, and each row's position in them."""
    try:
        values = column_or_1d(y)
        classes, labels = np.unique(values, return_inverse=True)
    except (ValueError, TypeError) as error:
        raise UsageError(f"y is not one label for each row: {printable(str(error))}.") from None
    if values.dtype.kind in "fc" and not np.isfinite(values).all():
        raise UsageError("y has a label that is not a finite number. Drop its row, or give it a class.")
    return classes, labels


def _alphas(alphas: Sequence[float] | None) -> tuple[float, ...]:
    """Return the penalties to choose from."""
    try:
        found = DEFAULT_ALPHAS if alphas is None else tuple(float(alpha) for alpha in alphas)
    except (TypeError, ValueError):
        found = ()
    if not found or not all(0 < alpha < float("inf") for alpha in found):
        raise UsageError(f"Penalties must be positive numbers, at least one, but alphas={alphas!r} was given.")
    return found


def _matrices(X: Mapping[str, ArrayLike]) -> dict[str, Matrix]:
    """Return the features by backbone as floating matrices without NaN or infinity."""
    if not isinstance(X, Mapping) or not X:
        raise UsageError('Give features as a mapping with one matrix per backbone, as {"xception": features}.')
    matrices: dict[str, Matrix] = {}
    for name, values in X.items():
        matrix = _numbers(name, values)
        if matrix.ndim != 2 or 0 in matrix.shape:
            raise UsageError(f"Features of '{printable(name)}' have shape {matrix.shape}, not (rows, features).")
        matrices[name] = matrix
        row = first_not_finite(matrices[name])
        if row is not None:
            raise UnusableDataError(
                f"Features of '{printable(name)}' are not finite in row {row}. Mend or drop the row."
            )
    return matrices


def _numbers(name: str, values: ArrayLike) -> Matrix:
    matrix = np.asarray(values)
    if matrix.dtype.kind not in "fiub":
        raise UsageError(f"Features of '{printable(name)}' are of dtype {matrix.dtype}. Give real numbers.")
    return matrix if matrix.dtype.kind == "f" else matrix.astype(np.float64)


def _check_rows(arrays: Mapping[str, NDArray[Any]]) -> int:
    """Return the number of rows that all arrays have."""
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{printable(name)} {count}" for name, count in counts.items())
        raise UsageError(f"All inputs need the same number of rows, but they have: {listed}.")
    return next(iter(counts.values()))


def _check_backbones(found: set[str], expected: Sequence[str]) -> None:
    missing = [name for name in expected if name not in found]
    extra = sorted(found.difference(expected))
    if missing or extra:
        wrong = [f"lack '{printable(name)}'" for name in missing] + [
            f"have '{printable(name)}' too many" for name in extra
        ]
        raise UsageError(f"The features {' and '.join(wrong)}; the model needs exactly: {', '.join(expected)}.")


def _gate_inputs(gate: Gate, n: int, matrices: Mapping[str, Matrix], thumbnails: ArrayLike | None) -> GateInputs:
    """Return what `gate` looks at, and no more."""
    features = tuple(matrices.values()) if gate.looks_at_features else ()
    if gate.thumbnail_size is None:
        return GateInputs(n, features)
    shape = (n, gate.thumbnail_size, gate.thumbnail_size, 3)
    pictures = None if thumbnails is None else np.asarray(thumbnails)
    if pictures is None or pictures.shape != shape or pictures.dtype != np.uint8:
        found = "none were given" if pictures is None else f"got {pictures.shape} {pictures.dtype}"
        raise UsageError(f"Gate '{gate.name}' needs thumbnails of shape {shape} and dtype uint8, but {found}.")
    return GateInputs(n, features, pictures)
