"""Blocks of features become training parts, through inner products or directly, whichever is less work.

With fewer rows than features the inner products of all rows, one Gram per block, hold all that any linear model can
ask for, and every fold, centring, scale and concatenation is a submatrix and a sum. With more rows than features the
rows themselves are the smaller matrix. `hold` decides; who uses the parts does not care.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.train.solvers.gram import SLAB, Gram, IntArray
from fusion_pipeline.train.solvers.parts import GramPart, Part, PlainPart

NOBODY: IntArray = np.empty(0, dtype=np.int64)
"""No held-out rows."""


class Rows(ABC):
    """All rows of one or more blocks of features."""

    @abstractmethod
    def mean_squares(self, train: IntArray) -> tuple[float, ...]:
        """Return, for each block, the mean squared norm of the training rows around their mean."""

    @abstractmethod
    def _held(self) -> tuple[Callable[..., Part], Sequence[Any]]:
        """Return what makes a part of these rows, and what it takes them as: one item for each block."""

    def part(
        self,
        train: IntArray,
        held_out: IntArray = NOBODY,
        *,
        centred: bool = True,
        scales: Sequence[float] | None = None,
        constant: float = 0.0,
    ) -> Part:
        """Return a training part of the concatenated blocks.

        Parameters
        ----------
        train, held_out : ndarray of int64
            Row numbers, (n,) and (m,).
        centred : bool
            Whether the mean of the training rows is taken from every row.
        scales : sequence of float, optional
            What each block is multiplied with; 1 without it.
        constant : float
            A further column, the same in every row, after centring: 1 for an intercept that is penalised like the
            weights, 0 for none.
        """
        make, blocks = self._held()
        chosen = [1.0] * len(blocks) if scales is None else scales
        return make(blocks, train, held_out, centred=centred, scales=chosen, constant=constant)

    def block_scales(self, train: IntArray) -> tuple[float, ...]:
        """Return the scales that make each block's centred training rows have mean squared norm 1: block-normalised.

        A block that does not vary keeps its scale.

        Examples
        --------
        >>> hold([np.array([[-2.0], [2.0], [9.0]]), np.ones((3, 1))]).block_scales(np.array([0, 1]))
        (0.5, 1.0)
        """
        return tuple(1.0 if square <= 0.0 else float(square**-0.5) for square in self.mean_squares(train))


@dataclass(frozen=True)
class GramRows(Rows):
    """Rows that are held as Grams, which several concatenations can share.

    Attributes
    ----------
    grams : tuple of Gram
        One per block; or one of all blocks, which then counts as a single block.
    """

    grams: tuple[Gram, ...]

    def mean_squares(self, train: IntArray) -> tuple[float, ...]:
        """Return the mean squared norms; see `Rows.mean_squares`."""
        return tuple(gram.mean_square(train) for gram in self.grams)

    def _held(self) -> tuple[type[GramPart], tuple[Gram, ...]]:
        return GramPart, self.grams


@dataclass(frozen=True)
class PlainRows(Rows):
    """Rows that are held as they are.

    Attributes
    ----------
    blocks : tuple of ndarray (n_all, n_features), any float
    """

    blocks: tuple[NDArray[np.floating], ...]

    def mean_squares(self, train: IntArray) -> tuple[float, ...]:
        """Return the mean squared norms; see `Rows.mean_squares`."""
        return tuple(
            sum(
                float(block[train, start : start + SLAB].astype(np.float64).var(axis=0).sum())
                for start in range(0, block.shape[1], SLAB)
            )
            for block in self.blocks
        )

    def _held(self) -> tuple[type[PlainPart], tuple[NDArray[np.floating], ...]]:
        return PlainPart, self.blocks


def hold(
    blocks: Sequence[NDArray[np.floating]],
    around: IntArray | None = None,
    *,
    predicting_only: bool = False,
    single: bool = False,
) -> Rows:
    """Hold all rows of `blocks`, each (n, n_features of the block), as Grams if they are fewer than the features.

    Parameters
    ----------
    blocks : sequence of ndarray (n, n_features), any float
    around : ndarray of int64, optional
        The rows that all parts learn from, if others must change no bit of these; see `Gram.of`.
    predicting_only : bool
        Whether nobody will ask for primal weights: inner products then let the blocks go.
    single : bool
        Whether inner products may be summed in float32; see `Gram.of`.

    Examples
    --------
    >>> type(hold([np.eye(3), np.eye(3)])).__name__, type(hold([np.ones((3, 2))])).__name__
    ('GramRows', 'PlainRows')
    >>> part = hold([np.eye(3)]).part(np.array([0, 1]), np.array([2]), centred=False)
    >>> part.held_out(part.slopes(np.ones((2, 1))))
    array([[0.]])
    """
    if len(blocks[0]) < sum(block.shape[1] for block in blocks):
        grams = (Gram.of([block], around=around, single=single) for block in blocks)
        return GramRows(tuple(replace(gram, blocks=(), scales=()) if predicting_only else gram for gram in grams))
    return PlainRows(tuple(blocks))
