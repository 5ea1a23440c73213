"""Predicted probabilities and labels become the numbers of one row of the table."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.train.mixture import sample_nll

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_Z95 = 1.959963984540054  # the normal distribution's 97.5 % quantile

CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Row:
    """One row of the table; its fields are those of ``--json``.

    Attributes
    ----------
    method : str
        A backbone or a gate.
    label_embedding : str
        ``"none"`` for features alone.
    accuracy : float
        correct / n.
    correct, n : int
    ci95 : tuple of two floats
        Wilson's 95 % interval of the accuracy.
    nll : float
        Mean negative log-likelihood in nats.
    ece : float
        Expected calibration error.
    macro_f1 : float
    fit_seconds, predict_seconds : float
    fallback : bool
        Whether the gate averaged in at least one fold because it learned nothing better.
    fallbacks : tuple of bool
        The same by fold; none for a method that has no folds.
    leaks : str
        Why the numbers are too good to be true, in a few words; empty where nothing leaks.
    """

    method: str
    label_embedding: str
    accuracy: float
    correct: int
    n: int
    ci95: tuple[float, float]
    nll: float
    ece: float
    macro_f1: float
    fit_seconds: float
    predict_seconds: float
    fallback: bool
    fallbacks: tuple[bool, ...]
    leaks: str


def wilson_interval(correct: float, n: float) -> tuple[float, float]:
    """Return the 95 % interval of a share by Wilson's score method, which stays inside [0, 1] and is never empty.

    Either number may be a fraction: `repeats` counts repeated predictions as fewer images than there are predictions.

    Examples
    --------
    >>> tuple(round(bound, 4) for bound in wilson_interval(8, 10))
    (0.4902, 0.9433)
    """
    share, z2 = correct / n, _Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 * sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # In exact numbers the share itself bounds both, at 0 and 1 too.
    return min(max(0.0, centre - half), share), max(min(1.0, centre + half), share)


def calibration_error(probabilities: FloatArray, labels: IntArray) -> float:
    """Return the expected calibration error: the mean gap between confidence and accuracy over 15 equal-width bins.

    Parameters
    ----------
    probabilities : ndarray (n, n_classes), float64
    labels : ndarray (n,), int64

    Examples
    --------
    >>> calibration_error(np.array([[0.75, 0.25]] * 4), np.array([0, 0, 0, 1]))
    0.0
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    # |sum of confidences - number correct| of a bin is its size times its gap.
    gaps = np.abs(np.bincount(bins, weights=confidence - correct, minlength=CALIBRATION_BINS))
    return float(gaps.sum() / len(labels))


def f1_by_class(predicted: IntArray, labels: IntArray, n_classes: int) -> FloatArray:
    """Return the F1 score of each class, (n_classes,); NaN for a class that `labels` lack.

    Examples
    --------
    >>> f1_by_class(np.array([0, 1, 1]), np.array([0, 0, 1]), 3).round(4).tolist()
    [0.6667, 0.6667, nan]
    """
    hits = np.bincount(labels[predicted == labels], minlength=n_classes)
    truly, guessed = np.bincount(labels, minlength=n_classes), np.bincount(predicted, minlength=n_classes)
    return np.where(truly > 0, 2 * hits / np.maximum(truly + guessed, 1), np.nan)


def macro_f1(predicted: IntArray, labels: IntArray) -> float:
    """Return the mean F1 over the classes that occur in `labels`; a class that is never hit counts 0.

    Examples
    --------
    >>> round(macro_f1(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])), 4)
    0.7333
    """
    scores = f1_by_class(predicted, labels, int(max(predicted.max(), labels.max())) + 1)
    return float(scores[~np.isnan(scores)].mean())


def score_row(
    method: str,
    probabilities: FloatArray,
    labels: IntArray,
    *,
    label_embedding: str = "none",
    fit_seconds: float = 0.0,
    predict_seconds: float = 0.0,
    fallbacks: tuple[bool, ...] = (),
    leaks: str = "",
) -> Row:
    """Score one method.

    Parameters
    ----------
    method : str
    probabilities : ndarray (n, n_classes), float64
        Out-of-fold predictions; n at least 1.
    labels : ndarray (n,), int64
    label_embedding : str
    fit_seconds, predict_seconds : float
    fallbacks : tuple of bool
        By fold: whether the gate averaged because it learned nothing better.
    leaks : str

    Examples
    --------
    >>> row = score_row("average", np.array([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 1]))
    >>> row.correct, row.accuracy, round(row.nll, 4)
    (2, 1.0, 0.4904)
    """
    predicted = probabilities.argmax(axis=1)
    correct, n = int((predicted == labels).sum()), len(labels)
    return Row(
        method,
        label_embedding,
        correct / n,
        correct,
        n,
        wilson_interval(correct, n),
        float(sample_nll(probabilities, labels).mean()),
        calibration_error(probabilities, labels),
        macro_f1(predicted, labels),
        fit_seconds,
        predict_seconds,
        any(fallbacks),
        fallbacks,
        leaks,
    )
