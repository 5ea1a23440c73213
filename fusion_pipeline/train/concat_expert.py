"""All backbones' features side by side become one more expert: the softmax regression called concat-softmax."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.train.experts import DEFAULT_ALPHAS, Expert, ExpertFit, Standardiser
from fusion_pipeline.train.folds import inner_folds
from fusion_pipeline.train.inner_paths import ROUGH, InnerFold, Search
from fusion_pipeline.train.solvers.parts import Part
from fusion_pipeline.train.solvers.rows import NOBODY, Rows, hold
from fusion_pipeline.train.solvers.softmax import refined, solve_path

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Matrix = NDArray[np.floating]

SOFTMAX: Final = "concat-softmax"
"""What its row of the table is called; among experts it is `CONCAT`."""

# As if each backbone had a thousand standardised columns, so that penalties mean what they mean for a single backbone.
_COLUMNS = 1000.0


@dataclass(frozen=True)
class BlockNormaliser:
    """Centres columns, and scales each block of them as one: all blocks get the same mean squared norm.

    Attributes
    ----------
    sizes : tuple of int
        Number of columns of each block.

    Examples
    --------
    >>> rows = np.array([[-1.0, 30.0, 0.0], [1.0, 50.0, 0.0]])
    >>> squares = BlockNormaliser((1, 2))(rows)(rows) ** 2
    >>> squares[:, 0].mean().round(), squares[:, 1:].sum(axis=1).mean().round()
    (np.float64(1000.0), np.float64(1000.0))
    """

    sizes: tuple[int, ...]

    def __call__(self, features: Matrix) -> Standardiser:
        """Return what normalises the blocks of `features` (n, sum of `sizes`), and does the same to other rows."""
        blocks = [block.astype(np.float64) for block in side_by_side(features, self.sizes)]
        squares = [float(block.var(axis=0).sum()) for block in blocks]
        scales = [1.0 if square <= 0.0 else (square / _COLUMNS) ** 0.5 for square in squares]
        mean = np.concatenate([block.mean(axis=0) for block in blocks])
        return Standardiser(mean, np.repeat(scales, self.sizes))


def side_by_side(features: Matrix, sizes: Sequence[int]) -> list[Matrix]:
    """Return the blocks of `features` (n, sum of `sizes`), without a copy."""
    return np.split(features, np.cumsum(sizes)[:-1], axis=1)


def fit_concat(
    features: Matrix,
    sizes: Sequence[int],
    labels: IntArray,
    n_classes: int,
    seed: int,
    alphas: Sequence[float] = DEFAULT_ALPHAS,
    groups: IntArray | None = None,
) -> ExpertFit:
    """Fit the expert on all backbones' features, its penalty chosen inside the given rows.

    It is what `fit_expert` finds with a `BlockNormaliser`, by inner products that all inner folds and penalties share.

    Parameters
    ----------
    features : ndarray (n, sum of sizes), any float
        The training rows, and nothing else, the backbones' features side by side.
    sizes : sequence of int
        Number of features of each backbone.
    labels, n_classes, seed, alphas, groups
        As of `fit_expert`.

    Examples
    --------
    >>> rows = np.array([[-2.0, 1.0], [-1.0, 0.0], [-3.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.0]])
    >>> fit = fit_concat(rows, [1, 1], np.array([0, 0, 0, 1, 1, 1]), 2, seed=0)
    >>> fit.expert.probabilities(rows).argmax(axis=1)
    array([0, 0, 0, 1, 1, 1])
    """
    rows = hold(side_by_side(features, sizes), single=True)
    penalties = sorted({float(alpha) for alpha in alphas}, reverse=True)
    folds = [
        InnerFold(_part(rows, train, held_out), held_out, labels[train], n_classes)
        for train, held_out in inner_folds(labels, seed, groups=groups)
    ]
    choice = Search.of(folds, penalties, labels).refined(labels)
    expert = _expert(features, _part(rows, np.arange(len(labels))), labels, n_classes, choice.path)
    return ExpertFit(expert, choice.held_out, choice.penalty, choice.losses, BlockNormaliser(tuple(sizes)))


def _part(rows: Rows, train: IntArray, held_out: IntArray = NOBODY) -> Part:
    scales = [_COLUMNS**0.5 * scale for scale in rows.block_scales(train)]
    return rows.part(train, held_out, scales=scales)


def _expert(features: Matrix, part: Part, labels: IntArray, n_classes: int, penalties: Sequence[float]) -> Expert:
    """Return the expert of raw features at the weakest of some penalties."""
    *_, rough = solve_path(part, labels, n_classes, penalties, ROUGH)
    solution = refined(part, labels, rough)
    weights, _ = part.weights(solution.coefficients)
    mean = features.mean(axis=0, dtype=np.float64)
    # The part is centred: its intercept is that of features around their mean.
    return Expert.fold(weights, solution.intercept, Standardiser(mean, np.ones_like(mean)))
