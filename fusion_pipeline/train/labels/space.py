"""A backbone's features and ImageNet probabilities become what an expert with a label embedding sees: [h; v~].

With V trainable the expert's logits are h W_h + q V W_v + b, where q holds the renormalised top T probabilities, so
that v~ = q V (Eq. 8). As long as V is at least as wide as there are classes, V W_v can be any matrix M of one row per
ImageNet class: training V is softmax regression on [h; q], a convex problem with one optimum. The penalty is laid on M,
the map that predictions are made with; on V and W_v apart it would depend on how M is written as their product.

With GloVe, V is frozen and the expert is softmax regression on [h; v~]. Fine-tuned, V becomes V + D; D W_v can again
be any matrix, and the expert is softmax regression on [h; v~; q], whose penalty pulls D, and thus V, towards GloVe.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fusion_pipeline.errors import UsageError, printable
from fusion_pipeline.train.labels.scaling import BlockScaling
from fusion_pipeline.train.labels.vectors import LabelVectors, read_label_vectors
from fusion_pipeline.train.labels.weighting import check_top, top_weights

FloatArray = NDArray[np.float64]

NONE: Final = "none"
LEARNED: Final = "learned"
GLOVE: Final = "glove"
KINDS: Final = (NONE, LEARNED, GLOVE)

DEFAULT_TOP = 5

# What the inner folds choose from: labels count a hundredth of the features, a tenth, or as much.
SHARES: tuple[float, ...] = (0.01, 0.1, 1.0)


@dataclass(frozen=True)
class LabelSpace:
    """The feature map of an LE row; nothing in it is fitted, so one serves every fold and every expert.

    Attributes
    ----------
    kind : {"learned", "glove"}
    n_classes : int
        Number of ImageNet classes, m.
    top : int
        T of Eq. 8.
    vectors : ndarray (m, dimension), float32, or None
        V; for ``"glove"`` only.
    fine_tuned : bool
        Whether V may move away from GloVe.

    Examples
    --------
    >>> space = LabelSpace("learned", n_classes=3, top=2)
    >>> space(np.array([[7.0]]), np.array([[0.6, 0.3, 0.1]])).round(2)
    array([[7.  , 0.67, 0.33, 0.  ]])
    >>> space.blocks
    (3,)
    """

    kind: str
    n_classes: int
    top: int = DEFAULT_TOP
    vectors: NDArray[np.float32] | None = None
    fine_tuned: bool = False

    def __post_init__(self) -> None:
        if self.kind not in (LEARNED, GLOVE):
            raise UsageError(f"There is no label embedding '{printable(self.kind)}'. Known: {', '.join(KINDS)}.")
        check_top(self.top, self.n_classes)
        if (self.vectors is None) != (self.kind == LEARNED):
            raise UsageError("Label vectors are for label_embedding='glove', which cannot do without them.")
        if self.vectors is not None and (self.vectors.ndim != 2 or len(self.vectors) != self.n_classes):
            raise UsageError(
                f"Label vectors of shape {self.vectors.shape} do not fit {self.n_classes} ImageNet classes. "
                "Give one row per class."
            )
        if self.fine_tuned and self.kind != GLOVE:
            raise UsageError("fine_tune_labels is for label_embedding='glove': learned vectors are trained anyway.")

    @property
    def blocks(self) -> tuple[int, ...]:
        """Number of columns of each block that comes after the features."""
        if self.vectors is None:
            return (self.n_classes,)
        dimension = self.vectors.shape[1]
        return (dimension, self.n_classes) if self.fine_tuned else (dimension,)

    @property
    def width(self) -> int:
        """Number of columns that come after the features."""
        return sum(self.blocks)

    def __call__(self, features: NDArray[np.floating], probabilities: NDArray[np.floating]) -> FloatArray:
        """Return what an expert sees.

        Parameters
        ----------
        features : ndarray (n, n_features), any float
            h.
        probabilities : ndarray (n, m), any float
            p.

        Returns
        -------
        ndarray (n, n_features + width), float64
            [h; q], [h; v~], or [h; v~; q].

        Raises
        ------
        UsageError
            If the rows or the number of ImageNet classes do not fit.
        UnusableDataError
            If a row of `probabilities` is no distribution.
        """
        if probabilities.shape != (len(features), self.n_classes):
            raise UsageError(
                f"ImageNet probabilities have shape {probabilities.shape}, not ({len(features)}, {self.n_classes})."
            )
        weights = top_weights(probabilities, self.top)
        blocks: list[FloatArray] = []
        if self.vectors is not None:
            blocks.append(np.asarray(weights @ self.vectors.astype(np.float64)))
        if self.vectors is None or self.fine_tuned:
            blocks.append(weights.toarray())
        return np.concatenate([np.asarray(features, dtype=np.float64), *blocks], axis=1)

    def scalings(self, n_features: int, shares: tuple[float, ...] = SHARES) -> tuple[BlockScaling, ...]:
        """Return the scalings that `fit_expert` chooses from for a backbone of `n_features`."""
        return tuple(BlockScaling((n_features, *self.blocks), share) for share in shares)


def space_parameters(space: LabelSpace | None) -> dict[str, Any]:
    """Return the parameters of `FusionClassifier` that lead to a label space.

    Examples
    --------
    >>> space_parameters(None)
    {'label_embedding': 'none'}
    """
    if space is None:
        return {"label_embedding": NONE}
    return {
        "label_embedding": space.kind,
        "top": space.top,
        "vectors": space.vectors,
        "fine_tune_labels": space.fine_tuned,
    }


def label_space(
    kind: str,
    n_classes: int,
    top: int = DEFAULT_TOP,
    vectors: str | os.PathLike[str] | LabelVectors | ArrayLike | None = None,
    fine_tuned: bool = False,
) -> LabelSpace | None:
    """Return the feature map of a label embedding, or None for ``"none"``.

    Parameters
    ----------
    kind : {"none", "learned", "glove"}
    n_classes : int
        Number of ImageNet classes.
    top : int
        T of Eq. 8.
    vectors : path, LabelVectors or array (n_classes, dimension), optional
        For ``"glove"``; by default those of the package that the extra ``words`` installs.
    fine_tuned : bool

    Raises
    ------
    UsageError
        If the arguments do not belong together.
    IncompleteError, FormatError, StorageError, UnusableDataError
        As of `read_label_vectors`.

    Examples
    --------
    >>> label_space("glove", 2, top=1, vectors=[[0.5], [1.5]]).blocks
    (1,)
    >>> label_space("none", 1000) is None
    True
    """
    if kind == NONE:
        if vectors is not None or fine_tuned:
            raise UsageError("Label vectors are for label_embedding='glove', but it is 'none'.")
        return None
    matrix = _matrix(vectors) if kind == GLOVE else None
    if kind != GLOVE and vectors is not None:
        raise UsageError("Label vectors are for label_embedding='glove': the learned ones start from nothing.")
    return LabelSpace(kind, n_classes, top, matrix, fine_tuned)


def _matrix(vectors: str | os.PathLike[str] | LabelVectors | ArrayLike | None) -> NDArray[np.float32]:
    if vectors is None or isinstance(vectors, str | os.PathLike):
        return read_label_vectors(vectors).matrix
    if isinstance(vectors, LabelVectors):
        return vectors.matrix
    matrix = np.asarray(vectors)
    if matrix.dtype.kind not in "fiu" or not np.isfinite(matrix).all():
        raise UsageError("Label vectors must be finite numbers, one row per ImageNet class.")
    return matrix.astype(np.float32)
