"""What a search remembers of its steps: where each went, and how the slopes changed along it.

Arrays are of the type that the space of the search has, float64 or float32.
"""

from __future__ import annotations

from dataclasses import dataclass

from fusion_pipeline.train.solvers.blas import RealArray
from fusion_pipeline.train.solvers.gram import IntArray
from fusion_pipeline.train.solvers.spaces import Space


@dataclass(frozen=True)
class Move:
    """A direction, or a step along one: what it does to coefficients and values, and what slopes meet.

    Attributes
    ----------
    coefficients : ndarray (size, n_outputs)
    values : ndarray (n, n_outputs)
    paired : ndarray (size, n_outputs)
        As `Space.paired` makes it of the two.
    """

    coefficients: RealArray
    values: RealArray
    paired: RealArray

    @classmethod
    def of(cls, space: Space, coefficients: RealArray, values: RealArray) -> Move:
        """Return the move of these coefficients, whose values are known."""
        return cls(coefficients, values, space.paired(coefficients, values))

    def take(self, space: Space, columns: IntArray) -> Move:
        """Return the move of some outputs."""
        return self.of(space, self.coefficients[:, columns], self.values[:, columns])


@dataclass(frozen=True)
class Memory:
    """A step that was taken.

    Attributes
    ----------
    move : Move
    change : ndarray (size, n_outputs)
        Of the slopes along it.
    product : ndarray (1,) or (n_outputs,), float64
        The inner product of the two; infinite where nothing is to be learned.
    """

    move: Move
    change: RealArray
    product: RealArray

    def take(self, space: Space, columns: IntArray) -> Memory:
        """Return the memory of some outputs."""
        return Memory(self.move.take(space, columns), self.change[:, columns], self.product[columns])
