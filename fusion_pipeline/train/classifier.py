"""One feature matrix per backbone, and labels, become a fused classifier with scikit-learn's conventions."""

from __future__ import annotations

import os
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
from fusion_pipeline.train.experts import (
    DEFAULT_ALPHAS,
    Expert,
    ExpertFit,
    Scaling,
    Standardiser,
    first_not_finite,
    fit_expert,
)
from fusion_pipeline.train.folds import check_classes
from fusion_pipeline.train.gates.gate import FloatArray, Gate, GateInputs
from fusion_pipeline.train.gates.registry import make_gate
from fusion_pipeline.train.labels.space import DEFAULT_TOP, NONE, LabelSpace, label_space
from fusion_pipeline.train.labels.vectors import LabelVectors

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
    label_embedding : {"none", "learned", "glove"}
        What each expert sees of its backbone's ImageNet probabilities; see `fusion_pipeline.train.labels.space`.
    top : int
        T of Eq. 8: how many ImageNet classes are looked at.
    vectors : path, LabelVectors or array (n_imagenet_classes, dimension), optional
        For ``label_embedding="glove"``: a GloVe text file, what was read from one, or any vectors of the classes; by
        default those of the package that the extra ``words`` installs.
    fine_tune_labels : bool
        Whether the vectors may move away from GloVe.
    joint : bool
        Whether experts and gate, which must be one with a network, are then trained together; by default the experts
        are frozen before the gate learns.

    Attributes
    ----------
    classes_ : ndarray (n_classes,)
        Labels, in the order of the probabilities' columns.
    backbones_ : tuple of str
        In the order of the gate weights' columns.
    experts_ : dict of str to Expert
    label_space_ : LabelSpace or None
        What makes the experts' inputs out of features and ImageNet probabilities; None for features alone.
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

    def __init__(
        self,
        gate: str = "embedding",
        *,
        seed: int = 0,
        alphas: Sequence[float] | None = None,
        label_embedding: str = NONE,
        top: int = DEFAULT_TOP,
        vectors: str | os.PathLike[str] | LabelVectors | ArrayLike | None = None,
        fine_tune_labels: bool = False,
        joint: bool = False,
    ) -> None:
        self.gate = gate
        self.seed = seed
        self.alphas = alphas
        self.label_embedding = label_embedding
        self.top = top
        self.vectors = vectors
        self.fine_tune_labels = fine_tune_labels
        self.joint = joint

    def fit(
        self,
        X: Mapping[str, ArrayLike],
        y: ArrayLike,
        thumbnails: ArrayLike | None = None,
        imagenet: Mapping[str, ArrayLike] | None = None,
    ) -> Self:
        """Fit an expert per backbone, then the gate on their out-of-fold predictions.

        Parameters
        ----------
        X : mapping of str to array (n, n_features of the backbone)
            Features by backbone.
        y : array (n,)
            Labels: text, numbers, or whatever else can be sorted.
        thumbnails : array (n, size, size, 3), uint8, optional
            For the gates cnn32 (size 32) and cnn64 (size 64).
        imagenet : mapping of str to array (n, n_imagenet_classes), optional
            ImageNet probabilities by backbone, for a label embedding.

        Raises
        ------
        UsageError
            If shapes do not fit, labels are no labels, `seed` is no whole number from 0 on, a penalty is not positive,
            or there is no such gate.
        UnusableDataError
            If a feature is not finite, a class has fewer than 2 rows, or ImageNet probabilities are none.
        IncompleteError, FormatError
            If there are no word vectors, or not as they should be.
        """
        gate = make_gate(self.gate)
        seed = _seed(self.seed)
        matrices = _matrices(X)
        classes, labels = _labels(y)
        n = _check_rows({**matrices, "y": labels})
        check_classes(labels, [str(label) for label in classes], folds=1)
        inputs = _gate_inputs(gate, n, matrices, thumbnails)
        alphas = _alphas(self.alphas)
        space = self._label_space(matrices, imagenet)
        # One BLAS thread, as in the tasks: the same bytes everywhere, and threads would only wait for each other.
        with threadpool_limits(1):
            seen = _expert_inputs(matrices, space, imagenet)
            fits = [
                fit_expert(seen[name], labels, len(classes), seed, alphas, expert_scalings(space, matrix.shape[1]))
                for name, matrix in matrices.items()
            ]
            fuse = _fused_jointly if self.joint else _fused_in_turn
            experts = fuse(fits, gate, list(seen.values()), inputs, labels, seed)
        return self.assemble(classes, dict(zip(matrices, experts, strict=True)), gate, space)

    def assemble(
        self,
        classes: Sequence[Any] | NDArray[Any],
        experts: Mapping[str, Expert],
        gate: Gate,
        space: LabelSpace | None = None,
    ) -> Self:
        """Become the fitted classifier of these parts: what cross-validation tasks or a model folder hold.

        Parameters
        ----------
        classes : sequence (n_classes,)
            Labels, in the order of the experts' outputs.
        experts : mapping of str to Expert
            By backbone, in the order of the gate.
        gate : Gate
            Fitted.
        space : LabelSpace, optional
            That the experts were fitted with.
        """
        self.classes_ = np.asarray(classes)
        self.backbones_ = tuple(experts)
        self.experts_ = dict(experts)
        self.label_space_ = space
        self.gate_ = gate
        self.fallback_ = gate.fallback
        return self

    def predict_proba(
        self,
        X: Mapping[str, ArrayLike],
        thumbnails: ArrayLike | None = None,
        imagenet: Mapping[str, ArrayLike] | None = None,
    ) -> FloatArray:
        """Return the fused probabilities (n, n_classes), float64; parameters as in `fit`."""
        inputs, matrices = self._checked(X, thumbnails)
        seen = _expert_inputs(matrices, self.label_space_, imagenet)
        probabilities = [self.experts_[name].probabilities(seen[name]) for name in self.backbones_]
        return self.gate_.fuse(inputs, np.stack(probabilities, axis=1))

    def predict(
        self,
        X: Mapping[str, ArrayLike],
        thumbnails: ArrayLike | None = None,
        imagenet: Mapping[str, ArrayLike] | None = None,
    ) -> NDArray[Any]:
        """Return the most probable label of each row, (n,); parameters as in `fit`."""
        best = self.predict_proba(X, thumbnails, imagenet).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def score(
        self,
        X: Mapping[str, ArrayLike],
        y: ArrayLike,
        thumbnails: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        imagenet: Mapping[str, ArrayLike] | None = None,
    ) -> float:
        """Return the share of rows whose most probable label is right; parameters as in `fit`."""
        return float(accuracy_score(y, self.predict(X, thumbnails, imagenet), sample_weight=sample_weight))

    def gate_weights(self, X: Mapping[str, ArrayLike], thumbnails: ArrayLike | None = None) -> FloatArray:
        """Return how much each backbone is trusted on each row, (n, n_backbones) float64; parameters as in `fit`.

        No gate looks at ImageNet probabilities, so that none are asked for.
        """
        inputs, _ = self._checked(X, thumbnails)
        return self.gate_.gate_weights(inputs)

    @property
    def n_features(self) -> dict[str, int]:
        """Number of features of each backbone, what stands for labels not counted."""
        labels = 0 if self.label_space_ is None else self.label_space_.width
        return {name: len(expert.weights) - labels for name, expert in self.experts_.items()}

    def _label_space(
        self, matrices: Mapping[str, Matrix], imagenet: Mapping[str, ArrayLike] | None
    ) -> LabelSpace | None:
        if self.label_embedding == NONE:
            return label_space(NONE, 0, self.top, self.vectors, self.fine_tune_labels)
        n_classes = next(iter(_imagenet(matrices, imagenet).values())).shape[1]
        return label_space(self.label_embedding, n_classes, self.top, self.vectors, self.fine_tune_labels)

    def _checked(
        self, X: Mapping[str, ArrayLike], thumbnails: ArrayLike | None
    ) -> tuple[GateInputs, dict[str, Matrix]]:
        check_is_fitted(self)
        found = _matrices(X)
        _check_backbones(set(found), self.backbones_)
        matrices = {name: found[name] for name in self.backbones_}
        for name, n_features in self.n_features.items():
            if matrices[name].shape[1] != n_features:
                raise UsageError(
                    f"Backbone '{printable(name)}' has {matrices[name].shape[1]} features, but the model was fitted on "
                    f"{n_features}. Give features of the same layer."
                )
        return _gate_inputs(self.gate_, _check_rows(matrices), matrices, thumbnails), matrices

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "experts_")


def expert_scalings(space: LabelSpace | None, n_features: int) -> Sequence[Scaling]:
    """Return the scalings that an expert of a backbone with `n_features` chooses from."""
    return (Standardiser.fit,) if space is None else space.scalings(n_features)


def _fused_in_turn(
    fits: Sequence[ExpertFit],
    gate: Gate,
    seen: Sequence[Matrix],
    inputs: GateInputs,
    labels: NDArray[np.int64],
    seed: int,
) -> list[Expert]:
    """Fit the gate on what the experts predicted; the experts stay as they are."""
    experts = [fit.expert for fit in fits]
    lessons = [fit.out_of_fold for fit in fits]
    if gate.in_sample:
        lessons = [expert.probabilities(matrix) for expert, matrix in zip(experts, seen, strict=True)]
    gate.fit(inputs, np.stack(lessons, axis=1), labels, seed)
    return experts


def _fused_jointly(
    fits: Sequence[ExpertFit],
    gate: Gate,
    seen: Sequence[Matrix],
    inputs: GateInputs,
    labels: NDArray[np.int64],
    seed: int,
) -> list[Expert]:
    from fusion_pipeline.train.joint import train_jointly  # noqa: PLC0415  it loads torch, which few gates need

    return train_jointly(fits, gate, seen, inputs, labels, seed)


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


def _expert_inputs(
    matrices: Mapping[str, Matrix], space: LabelSpace | None, imagenet: Mapping[str, ArrayLike] | None
) -> dict[str, Matrix]:
    """Return what each expert sees."""
    if space is None:
        if imagenet is not None:
            raise UsageError("ImageNet probabilities were given, but label_embedding='none' looks at none. Leave them.")
        return dict(matrices)
    probabilities = _imagenet(matrices, imagenet)
    return {name: space(matrix, probabilities[name]) for name, matrix in matrices.items()}


def _imagenet(matrices: Mapping[str, Matrix], imagenet: Mapping[str, ArrayLike] | None) -> dict[str, Matrix]:
    """Return the ImageNet probabilities of the backbones of `matrices`."""
    if imagenet is None:
        raise UsageError("A label embedding needs ImageNet probabilities: give imagenet, one matrix per backbone.")
    found = _matrices(imagenet)
    _check_backbones(set(found), tuple(matrices), "ImageNet probabilities")
    _check_rows({**matrices, **{f"imagenet of {name}": matrix for name, matrix in found.items()}})
    return found


def _check_backbones(found: set[str], expected: Sequence[str], what: str = "features") -> None:
    missing = [name for name in expected if name not in found]
    extra = sorted(found.difference(expected))
    if missing or extra:
        wrong = [f"lack '{printable(name)}'" for name in missing] + [
            f"have '{printable(name)}' too many" for name in extra
        ]
        raise UsageError(f"The {what} {' and '.join(wrong)}; the model needs exactly: {', '.join(expected)}.")


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
