"""The linear models on some rows become what a search for the best of them asks for, in float64 or in float32.

A linear model is w in the space of the rows. Solvers meet it in three forms, each an array with one column per output:

* *coefficients* c: w itself (`PlainSpace`), or its expansion w = X' c in the training rows X (`ProductSpace`);
* *values* X w of the training rows, (n, n_outputs);
* *slopes*: a gradient in w, written as g (`PlainSpace`), or as v where it is X' v (`ProductSpace`).

`Space.paired` turns coefficients into what slopes are multiplied with, entry by entry, to get inner products in the
space of w: w . g = c . g, and w . X' v = (X w) . v. So one solver serves both, and a Gram is multiplied once a step.

All arrays of a space have one type: float64, or float32 in the one that `Space.single` returns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from fusion_pipeline.train.solvers.blas import RealArray, product, scatter, solver
from fusion_pipeline.train.solvers.gram import SLAB
from fusion_pipeline.train.solvers.preconditioner import LEAST_WEIGHT, Preconditioner, raised, roots_of

# A penalty that is at most so many times what it is added to leaves ten digits of a difference of the two.
_STEADY = 1e6

# Between these squared norms of the longest row float32 can hold what a search makes of them.
_MODERATE = 1e-15, 1e15


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
    def values(self, coefficients: RealArray) -> RealArray:
        """Return X w of the training rows, (n, n_outputs), from coefficients (size, n_outputs)."""

    @abstractmethod
    def slopes(self, residuals: RealArray) -> RealArray:
        """Return X' r as slopes (size, n_outputs), from residuals r (n, n_outputs)."""

    @abstractmethod
    def paired(self, coefficients: RealArray, values: RealArray) -> RealArray:
        """Return what slopes are multiplied with, from coefficients and their values: (size, n_outputs)."""

    @abstractmethod
    def single(self) -> Space:
        """Return the same models in float32; the space itself if its rows are too long or too short for that."""

    def penalised(self, coefficients: RealArray) -> RealArray:
        """Return the coefficients with zeros where they are free of any penalty: nowhere, but for `WithIntercept`."""
        return coefficients

    def settled(self, coefficients: RealArray) -> RealArray:
        """Return new coefficients (size, n_outputs) of the same models, of those that have several the steadiest."""
        return coefficients.copy()

    @abstractmethod
    def preconditioner(self, weights: RealArray, penalty: float) -> Preconditioner:
        """Return the map from slopes to the coefficients (X' diag(weights) X + penalty I)^-1 slopes.

        Parameters
        ----------
        weights : ndarray (n,)
            Non-negative, not all zero; the curvature of the loss at each row.
        penalty : float
            Positive.
        """


class ProductSpace(Space):
    """The models X' c that are known by the inner products X X' of the rows alone.

    Parameters
    ----------
    products : ndarray (n, n), float64 or float32
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

    def __init__(self, products: RealArray, *, centred: bool = False) -> None:
        self.products, self._by_mean = products, centred
        self.n = self.size = len(products)

    def values(self, coefficients: RealArray) -> RealArray:
        """Return X X' c; see `Space.values`."""
        return product(self.products, coefficients)

    def slopes(self, residuals: RealArray) -> RealArray:
        """Return the residuals: slopes are written by the rows; see `Space.slopes`."""
        return residuals - residuals.mean(axis=0) if self._by_mean else residuals

    def settled(self, coefficients: RealArray) -> RealArray:
        """Return coefficients of mean 0 if the rows are centred; see `Space.settled`."""
        return coefficients - coefficients.mean(axis=0) if self._by_mean else coefficients.copy()

    def paired(self, coefficients: RealArray, values: RealArray) -> RealArray:  # noqa: ARG002
        """Return the values; see `Space.paired`."""
        return values

    def single(self) -> Space:
        """Return the models by the products in float32; see `Space.single`."""
        if not _is_moderate(float(self.products.diagonal().max())):
            return self
        return ProductSpace(self.products.astype(np.float32), centred=self._by_mean)

    def preconditioner(self, weights: RealArray, penalty: float) -> Preconditioner:
        """Return v -> D (penalty I + D X X' D)^-1 D^-1 v, with D^2 = diag(weights); see `Space.preconditioner`."""
        roots = roots_of(weights)
        matrix = self.products * roots
        matrix *= roots[:, None]
        penalty = raised(penalty, matrix.diagonal())
        matrix.flat[:: self.n + 1] += penalty
        # The transpose of a symmetric matrix in C order is itself in the order that LAPACK overwrites.
        solve, column, square = solver(matrix.T), roots[:, None], roots[:, None] ** 2

        def precondition(slopes: RealArray) -> RealArray:
            return self.settled(column * solve(slopes / column))

        def look(slopes: RealArray, coefficients: RealArray) -> RealArray:
            # They solve (D^2 X X' + penalty I) c = v, which says what X X' c is.
            found = (slopes - penalty * coefficients) / square
            # Without their mean they say it but for a number times D^-2; values have mean 0, which gives the number.
            return found - found.mean(axis=0) / (1.0 / square).mean() / square if self._by_mean else found

        # In float32 too little would be left of a difference.
        unsteady = penalty > _STEADY * float(square.min() * self.products.diagonal().mean())
        if unsteady or self.products.dtype != np.float64:
            return Preconditioner(precondition, lambda _, coefficients: self.values(coefficients))
        return Preconditioner(precondition, look)


class PlainSpace(Space):
    """The models w on rows that are held themselves.

    Parameters
    ----------
    rows : ndarray (n, size), float64 or float32
        X.

    Examples
    --------
    >>> space = PlainSpace(np.array([[1.0, 0.0], [1.0, 2.0]]))
    >>> space.slopes(space.values(np.array([[3.0], [4.0]])))
    array([[14.],
           [22.]])
    """

    def __init__(self, rows: RealArray) -> None:
        self.rows = rows
        self.n, self.size = rows.shape

    def values(self, coefficients: RealArray) -> RealArray:
        """Return X w; see `Space.values`."""
        return product(self.rows, coefficients)

    def slopes(self, residuals: RealArray) -> RealArray:
        """Return X' r; see `Space.slopes`."""
        return product(self.rows.T, residuals)

    def paired(self, coefficients: RealArray, values: RealArray) -> RealArray:  # noqa: ARG002
        """Return the coefficients; see `Space.paired`."""
        return coefficients

    def single(self) -> Space:
        """Return the models on the rows in float32; see `Space.single`."""
        squares = np.einsum("ij,ij->i", self.rows, self.rows)
        return PlainSpace(self.rows.astype(np.float32)) if _is_moderate(float(squares.max())) else self

    def preconditioner(self, weights: RealArray, penalty: float) -> Preconditioner:
        """Return g -> (X' diag(weights) X + penalty I)^-1 g; see `Space.preconditioner`."""
        matrix = scatter(self.rows, roots_of(weights), SLAB)
        matrix.T.flat[:: self.size + 1] += raised(penalty, matrix.diagonal())
        return Preconditioner(solver(matrix), lambda _, coefficients: self.values(coefficients))


class WithIntercept(Space):
    """The models on a part with one more coefficient, the last: an intercept that is not penalised.

    Parameters
    ----------
    space : Space
        On rows without a constant column; centred ones, lest rows and intercept get into each other's way.

    Examples
    --------
    >>> WithIntercept(PlainSpace(np.array([[-1.0], [1.0]]))).values(np.array([[2.0], [5.0]])).ravel()
    array([3., 7.])
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.n, self.size = space.n, space.size + 1

    def values(self, coefficients: RealArray) -> RealArray:
        """Return X w + b; see `Space.values`."""
        return np.asarray(self.space.values(coefficients[:-1]) + coefficients[-1])

    def single(self) -> Space:
        """Return the models in float32, with an intercept; see `Space.single`."""
        return WithIntercept(self.space.single())

    def slopes(self, residuals: RealArray) -> RealArray:
        """Return the space's slopes, and the sums of the residuals; see `Space.slopes`."""
        return np.vstack([self.space.slopes(residuals), residuals.sum(axis=0)])

    def paired(self, coefficients: RealArray, values: RealArray) -> RealArray:
        """Return what the space's slopes meet, and the intercept; see `Space.paired`."""
        return np.vstack([self.space.paired(coefficients[:-1], values - coefficients[-1]), coefficients[-1]])

    def penalised(self, coefficients: RealArray) -> RealArray:
        """Return the coefficients with 0 for the intercept; see `Space.penalised`."""
        return np.vstack([coefficients[:-1], np.zeros_like(coefficients[-1])])

    def settled(self, coefficients: RealArray) -> RealArray:
        """Return the space's settled coefficients, and the intercept; see `Space.settled`."""
        return np.vstack([self.space.settled(coefficients[:-1]), coefficients[-1]])

    def preconditioner(self, weights: RealArray, penalty: float) -> Preconditioner:
        """Return the space's preconditioner beside that of the intercept alone; see `Space.preconditioner`."""
        inner, whole = self.space.preconditioner(weights, penalty), max(float(weights.sum()), LEAST_WEIGHT)
        return Preconditioner(
            lambda slopes: np.vstack([inner(slopes[:-1]), slopes[-1] / whole]),
            lambda slopes, coefficients: inner.look(slopes[:-1], coefficients[:-1]) + coefficients[-1],
        )


def _is_moderate(square: float) -> bool:
    return _MODERATE[0] < square < _MODERATE[1]
