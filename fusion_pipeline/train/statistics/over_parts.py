"""What two methods got right in each test part becomes the tests that speak of new training rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.train.statistics.repeats import Outcomes
from fusion_pipeline.train.statistics.resampled import ResampledTest, corrected_resampled_t, five_by_two_f

IntArray = NDArray[np.int64]

_LEAST_PARTS = 3


def compare_over_parts(first: Outcomes, second: Outcomes, tests: Sequence[IntArray]) -> tuple[ResampledTest, ...]:
    """Test two methods by the differences of their accuracies from part to part.

    Parameters
    ----------
    first, second : Outcomes
        Of the same repeats of the same images.
    tests : sequence of ndarray, int64
        Test rows of each part, repeat by repeat.

    Returns
    -------
    tuple of ResampledTest
        The corrected resampled t-test from three parts on, and the 5x2cv F-test for five repeats of two folds. Fewer
        parts say nothing of their spread: then there is none.

    Examples
    --------
    >>> right, wrong = Outcomes.of([[True] * 8] * 5), Outcomes.of([[True, False] * 4] * 5)
    >>> halves = [np.arange(4), np.arange(4, 8)] * 5
    >>> [each.test for each in compare_over_parts(right, wrong, halves)]
    ['corrected resampled t', '5x2cv F']
    >>> compare_over_parts(Outcomes.of([True] * 8), Outcomes.of([False] * 8), halves[:2])
    ()
    """
    if len(tests) < _LEAST_PARTS:
        return ()
    repeats, n = first.tested.shape
    folds = len(tests) // repeats
    gains = first.correct.astype(np.float64) - second.correct
    differences = [gains[number // folds, rows].mean() for number, rows in enumerate(tests)]
    test_rows = float(np.mean([len(rows) for rows in tests]))
    found = [corrected_resampled_t(differences, test_rows, n - test_rows)]
    if (repeats, folds) == (5, 2):
        found.append(five_by_two_f(np.reshape(differences, (5, 2))))
    return tuple(found)
