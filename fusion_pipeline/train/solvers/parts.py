"""Training rows and held-out rows become spaces of linear models, held as inner products or as rows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from fusion_pipeline.train.solvers.blas import double, scatter
from fusion_pipeline.train.solvers.gram import SLAB, FloatArray, Gram, IntArray, inner_products
from fusion_pipeline.train.solvers.spaces import PlainSpace, ProductSpace, Space


class Part(Space):
    """Training rows and held-out rows of the same blocks, centred and scaled."""

    @abstractmethod
    def dual(self) -> ProductSpace:
        """Return the same models by the inner products of the rows; `slopes` makes coefficients of theirs."""

    @abstractmethod
    def held_out(self, coefficients: FloatArray) -> FloatArray:
        """Return the values of the held-out rows, (m, n_outputs)."""

    @abstractmethod
    def weights(self, coefficients: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the primal weights (n_features, n_outputs) and offsets (n_outputs,) for rows as they were given.

        ``rows @ weights + offsets`` are the values: centring, scales and the constant column are folded in.
        """

    @abstractmethod
    def scatter(self) -> FloatArray:
        """Return X X' or X' X, which share their eigenvalues, as a new array (size, size)."""

    @abstractmethod
    def axes(self, values: FloatArray, vectors: FloatArray) -> FloatArray:
        """Return unit vectors w as coefficients (size, r), from eigenvalues (r,) and eigenvectors of `scatter`."""


class GramPart(ProductSpace, Part):
    """A part that is held as the inner products of its rows.

    Parameters
    ----------
    grams : sequence of Gram
        Whose blocks stand side by side.
    train, held_out : ndarray of int64
        Row numbers, (n,) and (m,).
    centred : bool
        Whether the mean of the training rows is taken from every row.
    scales : sequence of float
        What each Gram's blocks are multiplied with.
    constant : float
        A further column, the same in every row, after centring; 0 for none.

    Examples
    --------
    >>> gram = Gram.of([np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [1.0, 1.0, 1.0]])])
    >>> part = GramPart([gram], np.array([0, 1]), np.array([2]), centred=False, scales=[1.0], constant=1.0)
    >>> part.products
    array([[2., 1.],
           [1., 5.]])
    >>> part.held_out(np.array([[1.0], [-1.0]]))
    array([[-1.]])
    """

    def __init__(
        self,
        grams: Sequence[Gram],
        train: IntArray,
        held_out: IntArray,
        *,
        centred: bool,
        scales: Sequence[float],
        constant: float,
    ) -> None:
        products, self.cross = inner_products(grams, scales, train, held_out, centred=centred)
        products += constant**2
        self.cross += constant**2
        super().__init__(products, centred=centred and constant == 0)
        self._blocks = [
            (block, scale * own)
            for gram, scale in zip(grams, scales, strict=True)
            for block, own in zip(gram.blocks, gram.scales, strict=True)
        ]
        self._train, self._centred, self._constant = train, centred, constant

    def dual(self) -> ProductSpace:
        """Return the part itself; see `Part.dual`."""
        return self

    def held_out(self, coefficients: FloatArray) -> FloatArray:
        """Return the values of the held-out rows; see `Part.held_out`."""
        return np.asarray(self.cross @ coefficients)

    def weights(self, coefficients: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return X' c, block by block; see `Part.weights`."""
        by_row = coefficients - coefficients.mean(axis=0) if self._centred else coefficients
        offsets = self._constant**2 * coefficients.sum(axis=0)
        found = []
        for block, scale in self._blocks:
            for start in range(0, block.shape[1], SLAB):
                columns = block[self._train, start : start + SLAB].astype(np.float64)
                found.append(scale**2 * (columns.T @ by_row))
                if self._centred:
                    offsets = offsets - columns.mean(axis=0) @ found[-1]
        return np.concatenate(found), offsets

    def scatter(self) -> FloatArray:
        """Return X X'; see `Part.scatter`."""
        return double(self.products).copy()

    def axes(self, values: FloatArray, vectors: FloatArray) -> FloatArray:
        """Return u / sqrt(value): X' u is that long; see `Part.axes`."""
        return vectors / np.sqrt(values)


class PlainPart(PlainSpace, Part):
    """A part that is held as its rows.

    Parameters
    ----------
    blocks : sequence of ndarray (n_all, n_features), any float
    train, held_out, centred, scales, constant
        As of `GramPart`.

    Examples
    --------
    >>> rows = np.array([[1.0], [3.0], [7.0]])
    >>> part = PlainPart([rows], np.array([0, 1]), np.array([2]), centred=True, scales=[2.0], constant=0.0)
    >>> part.rows.ravel(), part.held_out(np.array([[1.0]])).ravel()
    (array([-2.,  2.]), array([10.]))
    """

    def __init__(
        self,
        blocks: Sequence[np.ndarray],
        train: IntArray,
        held_out: IntArray,
        *,
        centred: bool,
        scales: Sequence[float],
        constant: float,
    ) -> None:
        widths = [block.shape[1] for block in blocks]
        self._scale = np.repeat(np.asarray(scales, dtype=np.float64), widths)
        self._constant, self._mean = constant, np.zeros(sum(widths))
        super().__init__(_gather(blocks, train, constant))
        if centred:
            self._mean = self.rows[:, : len(self._mean)].mean(axis=0)
        self.unseen = _gather(blocks, held_out, constant)
        for rows in (self.rows, self.unseen):
            rows[:, : len(self._mean)] -= self._mean
            rows[:, : len(self._mean)] *= self._scale

    def dual(self) -> ProductSpace:
        """Return X X' as a space; see `Part.dual`."""
        return ProductSpace(np.asarray(self.rows @ self.rows.T))

    def held_out(self, coefficients: FloatArray) -> FloatArray:
        """Return the values of the held-out rows; see `Part.held_out`."""
        return np.asarray(self.unseen @ coefficients)

    def weights(self, coefficients: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return w without centring and scales; see `Part.weights`."""
        width = len(self._mean)
        found = coefficients[:width] * self._scale[:, None]
        return found, np.asarray(self._constant * coefficients[width:].sum(axis=0) - self._mean @ found)

    def scatter(self) -> FloatArray:
        """Return X' X; see `Part.scatter`."""
        lower = scatter(self.rows, np.ones(self.n), SLAB)
        return double(np.tril(lower) + np.tril(lower, -1).T)

    def axes(self, values: FloatArray, vectors: FloatArray) -> FloatArray:  # noqa: ARG002
        """Return the vectors; see `Part.axes`."""
        return vectors


def _gather(blocks: Sequence[np.ndarray], numbers: IntArray, constant: float) -> FloatArray:
    """Return rows of the blocks side by side, beside a column of the constant unless it is 0."""
    width = sum(block.shape[1] for block in blocks)
    rows, start = np.full((len(numbers), width + (constant != 0)), constant), 0
    for block in blocks:
        rows[:, start : start + block.shape[1]] = block[numbers]
        start += block.shape[1]
    return rows
