"""Predicted probabilities become a reliability curve: how often what is said to be likely is true."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.train.statistics.scores import CALIBRATION_BINS, calibration_error

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Reliability:
    """The reliability curve of one row, over bins of equal width from 0 to 1.

    Attributes
    ----------
    name : str
        What the table calls the row.
    counts : tuple of int
        Predictions whose highest probability falls into each of the `CALIBRATION_BINS` bins.
    confidences, accuracies : tuple of float or None
        Mean highest probability, and share of correct predictions, in each; None for an empty bin.
    ece : float
        Expected calibration error, as the table has it: the mean over the repeats.
    """

    name: str
    counts: tuple[int, ...]
    confidences: tuple[float | None, ...]
    accuracies: tuple[float | None, ...]
    ece: float


def measure_calibration(name: str, probabilities: NDArray[np.floating], labels: IntArray) -> Reliability:
    """Return the reliability curve of a row, over the predictions of all repeats together.

    The bins are those of `train.statistics.scores.calibration_error`.

    Parameters
    ----------
    name : str
    probabilities : ndarray (n_repeats, n, n_classes), any float
        NaN where an image was not tested.
    labels : ndarray (n,), int64

    Examples
    --------
    >>> curve = measure_calibration("a", np.array([[[0.75, 0.25]] * 4]), np.array([0, 0, 0, 1]))
    >>> curve.counts[11], curve.confidences[11], curve.accuracies[11], curve.ece
    (4, 0.75, 0.75, 0.0)
    """
    repeats = [(each[tested := ~np.isnan(each[:, 0])].astype(np.float64), labels[tested]) for each in probabilities]
    confidence = np.concatenate([each.max(axis=1) for each, _ in repeats])
    correct = np.concatenate([each.argmax(axis=1) == truth for each, truth in repeats])
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    counts = np.bincount(bins, minlength=CALIBRATION_BINS)
    return Reliability(
        name,
        tuple(counts.tolist()),
        _means(np.bincount(bins, weights=confidence, minlength=CALIBRATION_BINS), counts),
        _means(np.bincount(bins, weights=correct, minlength=CALIBRATION_BINS), counts),
        float(np.mean([calibration_error(each, truth) for each, truth in repeats])),
    )


def _means(sums: NDArray[Any], counts: NDArray[Any]) -> tuple[float | None, ...]:
    return tuple(float(total / n) if n else None for total, n in zip(sums, counts, strict=True))
