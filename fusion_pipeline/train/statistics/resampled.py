"""Accuracy differences of two methods by fold or repeat become a test that knows that training rows overlap.

A plain t-test over folds or repeats takes them for independent, which they are not: their training rows are largely the
same, and it finds differences that are none in far more than 5 % of cases (Dietterich, 1998).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import f as f_distribution
from scipy.stats import t as t_distribution

FloatArray = NDArray[np.float64]

# Below this a spread is the rounding of differences that are all alike.
_NO_SPREAD = 1e-12


@dataclass(frozen=True)
class ResampledTest:
    """What a test over folds or repeats found.

    Attributes
    ----------
    test : str
        ``"5x2cv t"``, ``"5x2cv F"`` or ``"corrected resampled t"``.
    difference : float
        Mean accuracy of the first method minus that of the second.
    statistic : float or None
        None where the differences are all alike: without spread there is nothing to measure them by.
    freedom : tuple of int
        Degrees of freedom.
    p : float
        Two-sided; 1 where there is no statistic.
    ci95 : tuple of two floats, or None
        95 % interval of the difference, of the corrected resampled t-test only.
    """

    test: str
    difference: float
    statistic: float | None
    freedom: tuple[int, ...]
    p: float
    ci95: tuple[float, float] | None = None


def five_by_two_t(differences: ArrayLike) -> ResampledTest:
    """Return Dietterich's 5x2cv paired t-test: the first difference over the spread within the five repeats.

    Parameters
    ----------
    differences : array (5, 2)
        Accuracy of the first method minus the second's, by repeat and fold of 5 repeats of 2-fold cross-validation.

    Raises
    ------
    ValueError
        If there are not 5 repeats of 2 folds.

    Examples
    --------
    >>> found = five_by_two_t([[0.04, 0.02]] * 5)
    >>> round(found.statistic, 4), round(found.p, 4)
    (2.8284, 0.0367)
    """
    values, spread = _five_by_two(differences)
    mean = float(values.mean())
    if spread < _NO_SPREAD**2:
        return ResampledTest("5x2cv t", mean, None, (5,), 1.0)
    statistic = float(values[0, 0] / np.sqrt(spread / 5))
    return ResampledTest("5x2cv t", mean, statistic, (5,), float(2 * t_distribution.sf(abs(statistic), 5)))


def five_by_two_f(differences: ArrayLike) -> ResampledTest:
    """Return Alpaydin's combined 5x2cv F-test, which uses all ten differences and not only the first.

    Parameters and errors are those of `five_by_two_t`.

    Examples
    --------
    >>> found = five_by_two_f([[0.04, 0.02]] * 5)
    >>> round(found.statistic, 4), round(found.p, 4)
    (5.0, 0.0448)
    """
    values, spread = _five_by_two(differences)
    mean = float(values.mean())
    if spread < _NO_SPREAD**2:
        return ResampledTest("5x2cv F", mean, None, (10, 5), 1.0)
    statistic = float((values**2).sum() / (2 * spread))
    return ResampledTest("5x2cv F", mean, statistic, (10, 5), float(f_distribution.sf(statistic, 10, 5)))


def _five_by_two(differences: ArrayLike) -> tuple[FloatArray, float]:
    """Return the differences, and the sum of the five repeats' variances."""
    values = np.asarray(differences, dtype=np.float64)
    if values.shape != (5, 2):
        raise ValueError(f"5x2cv needs differences of shape (5, 2), but got {values.shape}.")
    return values, float(((values - values.mean(axis=1, keepdims=True)) ** 2).sum())


def corrected_resampled_t(differences: ArrayLike, test_rows: float, training_rows: float) -> ResampledTest:
    """Return the corrected resampled t-test (Nadeau and Bengio, 2003) of repeated holdout or cross-validation.

    The variance of the mean of J differences is taken as (1 / J + n_test / n_training) times their variance: the second
    term is what overlapping training rows hide. With it, more repeats do not make any difference significant.

    Parameters
    ----------
    differences : array (J,) or (repeats, folds)
        Accuracy of the first method minus the second's in each test part; at least 2.
    test_rows, training_rows : float
        Size of one test part and of one training part, or their means.

    Raises
    ------
    ValueError
        If there are fewer than 2 differences, or a part has no rows.

    Examples
    --------
    >>> found = corrected_resampled_t([0.01, 0.03, 0.02, 0.02], test_rows=680, training_rows=680)
    >>> round(found.statistic, 4), found.freedom, round(found.p, 4)
    (2.1909, (3,), 0.1162)
    """
    values = np.asarray(differences, dtype=np.float64).ravel()
    if len(values) < 2 or min(test_rows, training_rows) <= 0:
        raise ValueError(f"{len(values)} differences of {test_rows} and {training_rows} rows are too few to test.")
    mean, freedom = float(values.mean()), len(values) - 1
    error = float(np.sqrt((1 / len(values) + test_rows / training_rows) * values.var(ddof=1)))
    if error < _NO_SPREAD:
        return ResampledTest("corrected resampled t", mean, None, (freedom,), 1.0)
    half = float(t_distribution.ppf(0.975, freedom)) * error
    p = float(2 * t_distribution.sf(abs(mean) / error, freedom))
    return ResampledTest("corrected resampled t", mean, mean / error, (freedom,), p, (mean - half, mean + half))
