"""One feature matrix per backbone, and labels, become a fused classifier with scikit-learn's conventions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits

from fusion_pipeline.errors import UsageError, printable
from fusion_pipeline.train.checked import (
    Matrix,
    check_names,
    checked_imagenet,
    checked_labels,
    checked_matrices,
    checked_penalties,
    checked_seed,
    gate_inputs,
    same_rows,
)
from fusion_pipeline.train.expert_sets import CONCAT, SINGLES, expert_names
from fusion_pipeline.train.expert_views import ExpertView
from fusion_pipeline.train.experts import Expert
from fusion_pipeline.train.folds import check_classes
from fusion_pipeline.train.fusing import fuse_experts
from fusion_pipeline.train.gates.gate import FloatArray, Gate, GateInputs
from fusion_pipeline.train.gates.registry import make_gate
from fusion_pipeline.train.labels.space import DEFAULT_TOP, NONE, LabelSpace, label_space
from fusion_pipeline.train.labels.vectors import LabelVectors


class FusionClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is not annotated
    """Experts on frozen backbones' features, fused by a gate (Eq. 3).

    Parameters
    ----------
    gate : str
        One of `fusion_pipeline.train.gates.registry.GATES`.
    seed : int
        Decides inner folds and the gate's randomness; the same seed gives the same model.
    experts : {"singles", "singles,concat"}
        One expert per backbone; or the same and ``concat``, a softmax regression on all features side by side.
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
    experts_ : dict of str to Expert
        In the order of the gate weights' columns: by backbone, and ``concat``.
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
        experts: str = SINGLES,
        alphas: Sequence[float] | None = None,
        label_embedding: str = NONE,
        top: int = DEFAULT_TOP,
        vectors: str | os.PathLike[str] | LabelVectors | ArrayLike | None = None,
        fine_tune_labels: bool = False,
        joint: bool = False,
    ) -> None:
        self.gate = gate
        self.seed = seed
        self.experts = experts
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
        """Fit the experts, then the gate on their out-of-fold predictions.

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
            or there is no such gate, or there are no such experts.
        UnusableDataError
            If a feature is not finite, a class has fewer than 2 rows, or ImageNet probabilities are none.
        IncompleteError, FormatError
            If there are no word vectors, or not as they should be.
        """
        gate = make_gate(self.gate)
        seed = checked_seed(self.seed)
        matrices = checked_matrices(X)
        classes, labels = checked_labels(y)
        names, n = expert_names(tuple(matrices), self.experts), same_rows({**matrices, "y": labels})
        check_classes(labels, [str(label) for label in classes], folds=1)
        inputs = gate_inputs(gate, n, matrices, thumbnails)
        alphas = checked_penalties(self.alphas)
        space = self._label_space(matrices, imagenet)
        # One BLAS thread, as in the tasks: the same bytes everywhere, and threads would only wait for each other.
        with threadpool_limits(1):
            views = _views(names, matrices, space, imagenet)
            fits = [view.fit(labels, len(classes), seed, alphas) for view in views]
            experts = fuse_experts(
                fits, gate, lambda: [view.seen for view in views], inputs, labels, seed, joint=self.joint
            )
        return self.assemble(classes, dict(zip(names, experts, strict=True)), gate, space)

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
            By name, in the order of the gate.
        gate : Gate
            Fitted.
        space : LabelSpace, optional
            That the experts were fitted with.
        """
        self.classes_ = np.asarray(classes)
        self.backbones_ = tuple(name for name in experts if self.experts == SINGLES or name != CONCAT)
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
        return self.gate_.fuse(inputs, self._opinions(matrices, imagenet))

    def expert_proba(
        self,
        X: Mapping[str, ArrayLike],
        thumbnails: ArrayLike | None = None,
        imagenet: Mapping[str, ArrayLike] | None = None,
    ) -> FloatArray:
        """Return the probabilities that each expert gives, (n, n_experts, n_classes) float64; parameters as in `fit`.

        These are what the gate fuses, in the order of its weights.
        """
        _, matrices = self._checked(X, thumbnails)
        return self._opinions(matrices, imagenet)

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
        """Return how much each expert is trusted on each row, (n, n_experts) float64; parameters as in `fit`.

        No gate looks at ImageNet probabilities, so that none are asked for.
        """
        inputs, _ = self._checked(X, thumbnails)
        return self.gate_.gate_weights(inputs)

    def _opinions(self, matrices: Mapping[str, Matrix], imagenet: Mapping[str, ArrayLike] | None) -> FloatArray:
        views = _views(tuple(self.experts_), matrices, self.label_space_, imagenet)
        probabilities = [
            expert.probabilities(view.seen) for expert, view in zip(self.experts_.values(), views, strict=True)
        ]
        return np.stack(probabilities, axis=1)

    @property
    def n_features(self) -> dict[str, int]:
        """Number of features of each backbone, what stands for labels not counted."""
        labels = 0 if self.label_space_ is None else self.label_space_.width
        return {name: len(self.experts_[name].weights) - labels for name in self.backbones_}

    def _label_space(
        self, matrices: Mapping[str, Matrix], imagenet: Mapping[str, ArrayLike] | None
    ) -> LabelSpace | None:
        if self.label_embedding == NONE:
            return label_space(NONE, 0, self.top, self.vectors, self.fine_tune_labels)
        n_classes = next(iter(checked_imagenet(matrices, imagenet).values())).shape[1]
        return label_space(self.label_embedding, n_classes, self.top, self.vectors, self.fine_tune_labels)

    def _checked(
        self, X: Mapping[str, ArrayLike], thumbnails: ArrayLike | None
    ) -> tuple[GateInputs, dict[str, Matrix]]:
        check_is_fitted(self)
        found = checked_matrices(X)
        check_names(set(found), self.backbones_)
        matrices = {name: found[name] for name in self.backbones_}
        for name, n_features in self.n_features.items():
            if matrices[name].shape[1] != n_features:
                raise UsageError(
                    f"Backbone '{printable(name)}' has {matrices[name].shape[1]} features, but the model was fitted on "
                    f"{n_features}. Give features of the same layer."
                )
        return gate_inputs(self.gate_, same_rows(matrices), matrices, thumbnails), matrices

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "experts_")


def _views(
    names: Sequence[str],
    matrices: Mapping[str, Matrix],
    space: LabelSpace | None,
    imagenet: Mapping[str, ArrayLike] | None,
) -> list[ExpertView]:
    """Return what each expert sees; what is no backbone sees them all."""
    if space is None:
        if imagenet is not None:
            raise UsageError("ImageNet probabilities were given, but label_embedding='none' looks at none. Leave them.")
        known: Mapping[str, Matrix] = {}
    else:
        known = checked_imagenet(matrices, imagenet)
    return [
        ExpertView.of_one(name, matrices[name], space, known.get(name))
        if name in matrices
        else ExpertView.of_all(matrices)
        for name in names
    ]
