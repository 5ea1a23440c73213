"""A training part becomes what solvers ask of it, whether it is held as inner products or as rows.

A linear model is w in the space of the rows. Solvers meet it in three forms, each an array with one column per output:

* *coefficients* c: w itself (`PlainPart`), or its expansion w = X' c in the training rows X (`GramPart`);
* *values* X w of the training rows, (n, n_outputs);
* *slopes*: a gradient in w, written as g (`PlainPart`), or as v where it is X' v (`GramPart`).

`Space.paired` turns coefficients into what slopes are multiplied with, entry by entry, to get inner products in the
space of w: w . g = c . g, and w . X' v = (X w) . v. So one solver serves both, and a Gram is multiplied once a step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from scipy.linalg.blas import dsyrk

from fusion_pipeline.train.solvers.gram import SLAB, FloatArray, Gram, IntArray, inner_products
from fusion_pipeline.train.solvers.preconditioner import LEAST_WEIGHT, Preconditioner, roots_of, solver

# A penalty that is at most so many times what it is added to leaves ten digits of a difference of the two.
_STEADY = 1e6


class Space(ABC):
    """The linear models on some training rows X, as a search for the best of them sees them.

    Attributes
    ----------
    n : int
        Number of training rows.
    size : int
        Length of a column of coefficients.
    """

    n: int
    size: int

    @abstractmethod
    def values(self, coefficients: FloatArray) -> FloatArray:
        """Return X w of the training rows, (n, n_outputs), from coefficients (size, n_outputs)."""

    @abstractmethod
    def slopes(self, residuals: FloatArray) -> FloatArray:
        """Return X' r as slopes (size, n_outputs), from residuals r (n, n_outputs)."""

    @abstractmethod
    def paired(self, coefficients: FloatArray, values: FloatArray) -> FloatArray:
        """Return what slopes are multiplied with, from coefficients and their values: (size, n_outputs)."""

    def penalised(self, coefficients: FloatArray) -> FloatArray:
        """Return the coefficients with zeros where they are free of any penalty: nowhere, but for `WithIntercept`."""
        return coefficients

    def settled(self, coefficients: FloatArray) -> FloatArray:
        """Return new coefficients (size, n_outputs) of the same models, of those that have several the steadiest."""
        return coefficients.copy()

    @abstractmethod
    def preconditioner(self, weights: FloatArray, penalty: float) -> Preconditioner:
        """Return the map from slopes to the coefficients (X' diag(weights) X + penalty I)^-1 slopes.

        Parameters
        ----------
        weights : ndarray (n,), float64
            Non-negative, not all zero; the curvature of the loss at each row.
        penalty : float
            Positive.
        """


class ProductSpace(Space):
    """The models X' c that are known by the inner products X X' of the rows alone.

    Parameters
    ----------
    products : ndarray (n, n), float64
    centred : bool
        Whether the rows add up to nothing, so that no model changes when all its coefficients do by the same number.
        Coefficients and slopes that are made here then have mean 0: nothing else would keep that number from growing
        until rounding of what it is multiplied with hides all the rest.

    Examples
    --------
    >>> space = ProductSpace(np.array([[2.0, 0.0], [0.0, 1.0]]))
    >>> space.preconditioner(np.ones(2), 1.0)(np.array([[3.0], [4.0]]))
    array([[1.],
           [2.]])
    """

    def __init__(self, products: FloatArray, *, centred: bool = False) -> None:
        self.products, self._by_mean = products, centred
        self.n = self.size = len(products)

    def values(self, coefficients: FloatArray) -> FloatArray:
        """Return X X' c; see `Space.values`."""
        return np.asarray(self.products @ coefficients)

    def slopes(self, residuals: FloatArray) -> FloatArray:
        """Return the residuals: slopes are written by the rows; see `Space.slopes`."""
        return residuals - residuals.mean(axis=0) if self._by_mean else residuals

    def settled(self, coefficients: FloatArray) -> FloatArray:
        """Return coefficients of mean 0 if the rows are centred; see `Space.settled`."""
        return coefficients - coefficients.mean(axis=0) if self._by_mean else coefficients.copy()

    def paired(self, coefficients: FloatArray, values: FloatArray) -> FloatArray:  # noqa: ARG002
        """Return the values; see `Space.paired`."""
        return values

    def preconditioner(self, weights: FloatArray, penalty: float) -> Preconditioner:
        """Return v -> D (penalty I + D X X' D)^-1 D^-1 v, with D^2 = diag(weights); see `Space.preconditioner`."""
        roots = roots_of(weights)
        matrix = self.products * roots
        matrix *= roots[:, None]
        matrix.flat[:: self.n + 1] += penalty
        # The transpose of a symmetric matrix in C order is itself in the order that LAPACK overwrites.
        solve, column, square = solver(matrix.T), roots[:, None], roots[:, None] ** 2

        def precondition(slopes: FloatArray) -> FloatArray:
            return self.settled(column * solve(slopes / column))

        def look(slopes: FloatArray, coefficients: FloatArray) -> FloatArray:
            # They solve (D^2 X X' + penalty I) c = v, which says what X X' c is.
            found = (slopes - penalty * coefficients) / square
            # Without their mean they say it but for a number times D^-2; values have mean 0, which gives the number.
            return found - found.mean(axis=0) / (1.0 / square).mean() / square if self._by_mean else found

        if penalty > _STEADY * float(square.min() * self.products.diagonal().mean()):
            return Preconditioner(precondition, lambda _, coefficients: self.values(coefficients))
        return Preconditioner(precondition, look)


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
        return self.products.copy()

    def axes(self, values: FloatArray, vectors: FloatArray) -> FloatArray:
        """Return u / sqrt(value): X' u is that long; see `Part.axes`."""
        return vectors / np.sqrt(values)


class PlainPart(Part):
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
        self.n, self.size = len(train), sum(widths) + (constant != 0)
        self.rows = self._gather(blocks, train)
        if centred:
            self._mean = self.rows[:, : len(self._mean)].mean(axis=0)
        self.unseen = self._gather(blocks, held_out)
        for rows in (self.rows, self.unseen):
            rows[:, : len(self._mean)] -= self._mean
            rows[:, : len(self._mean)] *= self._scale

    def _gather(self, blocks: Sequence[np.ndarray], numbers: IntArray) -> FloatArray:
        rows = np.full((len(numbers), self.size), self._constant)
        start = 0
        for block in blocks:
            rows[:, start : start + block.shape[1]] = block[numbers]
            start += block.shape[1]
        return rows

    def values(self, coefficients: FloatArray) -> FloatArray:
        """Return X w; see `Space.values`."""
        return np.asarray(self.rows @ coefficients)

    def slopes(self, residuals: FloatArray) -> FloatArray:
        """Return X' r; see `Space.slopes`."""
        return np.asarray(self.rows.T @ residuals)

    def paired(self, coefficients: FloatArray, values: FloatArray) -> FloatArray:  # noqa: ARG002
        """Return the coefficients; see `Space.paired`."""
        return coefficients

    def preconditioner(self, weights: FloatArray, penalty: float) -> Preconditioner:
        """Return g -> (X' diag(weights) X + penalty I)^-1 g; see `Space.preconditioner`."""
        matrix = _scatter(self.rows, roots_of(weights))
        matrix.T.flat[:: self.size + 1] += penalty
        return Preconditioner(solver(matrix), lambda _, coefficients: self.values(coefficients))

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
        lower = _scatter(self.rows, np.ones(self.n))
        return np.asarray(np.tril(lower) + np.tril(lower, -1).T)

    def axes(self, values: FloatArray, vectors: FloatArray) -> FloatArray:  # noqa: ARG002
        """Return the vectors; see `Part.axes`."""
        return vectors


class WithIntercept(Space):
    """The models on a part with one more coefficient, the last: an intercept that is not penalised.

    Parameters
    ----------
    part : Part
        Without a constant column; centred, lest rows and intercept get into each other's way.

    Examples
    --------
    >>> rows = np.array([[-1.0], [1.0]])
    >>> part = PlainPart([rows], np.arange(2), np.empty(0, int), centred=True, scales=[1.0], constant=0.0)
    >>> WithIntercept(part).values(np.array([[2.0], [5.0]])).ravel()
    array([3., 7.])
    """

    def __init__(self, part: Part) -> None:
        self.part = part
        self.n, self.size = part.n, part.size + 1

    def values(self, coefficients: FloatArray) -> FloatArray:
        """Return X w + b; see `Space.values`."""
        return np.asarray(self.part.values(coefficients[:-1]) + coefficients[-1])

    def slopes(self, residuals: FloatArray) -> FloatArray:
        """Return the part's slopes, and the sums of the residuals; see `Space.slopes`."""
        return np.vstack([self.part.slopes(residuals), residuals.sum(axis=0)])

    def paired(self, coefficients: FloatArray, values: FloatArray) -> FloatArray:
        """Return what the part's slopes meet, and the intercept; see `Space.paired`."""
        return np.vstack([self.part.paired(coefficients[:-1], values - coefficients[-1]), coefficients[-1]])

    def penalised(self, coefficients: FloatArray) -> FloatArray:
        """Return the coefficients with 0 for the intercept; see `Space.penalised`."""
        return np.vstack([coefficients[:-1], np.zeros_like(coefficients[-1])])

    def settled(self, coefficients: FloatArray) -> FloatArray:
        """Return the part's settled coefficients, and the intercept; see `Space.settled`."""
        return np.vstack([self.part.settled(coefficients[:-1]), coefficients[-1]])

    def preconditioner(self, weights: FloatArray, penalty: float) -> Preconditioner:
        """Return the part's preconditioner beside that of the intercept alone; see `Space.preconditioner`."""
        inner, whole = self.part.preconditioner(weights, penalty), max(float(weights.sum()), LEAST_WEIGHT)
        return Preconditioner(
            lambda slopes: np.vstack([inner(slopes[:-1]), slopes[-1] / whole]),
            lambda slopes, coefficients: inner.look(slopes[:-1], coefficients[:-1]) + coefficients[-1],
        )


def _scatter(rows: FloatArray, roots: FloatArray) -> FloatArray:
    """Return the lower triangle of X' D^2 X, in LAPACK's order, without a second copy of the rows."""
    found = np.zeros((rows.shape[1], rows.shape[1]), order="F")
    for start in range(0, len(rows), SLAB):
        slab = rows[start : start + SLAB] * roots[start : start + SLAB, None]
        found = dsyrk(1.0, slab.T, beta=1.0, c=found, lower=1, overwrite_c=1)
    return found
