"""Gate weights and the experts' probabilities become fused probabilities and their likelihood (Eq. 3 and 4).

Shapes everywhere: n samples, K experts, C classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from fusion_pipeline.train.solvers.softmax import softmax

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# No probability counts as less than this in a logarithm: one confident mistake must not make every mean infinite.
PROBABILITY_FLOOR = 1e-15

# Temperatures from 1/20 to 20: beyond them rows that are all right, or all alike, would run off to infinity.
_LOG_SHARPNESS = (-3.0, 3.0)


def fuse(gate_weights: FloatArray, probabilities: FloatArray) -> FloatArray:
    """Return the gated mixture of the experts' probabilities (Eq. 3: f(x) = sum_k a_k(x) c_k(x)).

    Parameters
    ----------
    gate_weights : ndarray (n, K), float64
        Non-negative, rows sum to 1.
    probabilities : ndarray (n, K, C), float64

    Returns
    -------
    ndarray (n, C), float64
        Rows sum to 1; each value lies between the smallest and the largest of the experts'.

    Raises
    ------
    ValueError
        If the shapes do not belong together.

    Examples
    --------
    >>> fuse(np.array([[0.25, 0.75]]), np.array([[[1.0, 0.0], [0.0, 1.0]]]))
    array([[0.25, 0.75]])
    """
    if gate_weights.shape != probabilities.shape[:2]:
        raise ValueError(f"Gate weights {gate_weights.shape} do not fit probabilities {probabilities.shape}.")
    return np.asarray(np.einsum("nk,nkc->nc", gate_weights, probabilities))


def log_pool(gate_weights: FloatArray, probabilities: FloatArray) -> FloatArray:
    """Return the softmax of the weighted mean of the experts' logits: the renormalised geometric mean.

    Logits and logarithms of probabilities differ by a number per expert and sample, which the softmax takes back.

    Parameters
    ----------
    gate_weights : ndarray (n, K), float64
        Non-negative, rows sum to 1.
    probabilities : ndarray (n, K, C), float64

    Returns
    -------
    ndarray (n, C), float64
        Rows sum to 1. No convex combination: values may leave the range of the experts'.

    Raises
    ------
    ValueError
        If the shapes do not belong together.

    Examples
    --------
    >>> log_pool(np.array([[0.5, 0.5]]), np.array([[[0.9, 0.1], [0.5, 0.5]]])).round(3)
    array([[0.75, 0.25]])
    """
    return softmax(fuse(gate_weights, np.log(np.maximum(probabilities, PROBABILITY_FLOOR))))


def uniform_weights(n: int, n_experts: int) -> FloatArray:
    """Return the gate weights of averaging, 1 / K everywhere, as (n, n_experts) float64."""
    return np.full((n, n_experts), 1.0 / n_experts)


def truth_probabilities(probabilities: FloatArray, labels: IntArray) -> FloatArray:
    """Return what each expert gave to the true class, p_k(y_i | x_i): all that a gate can learn from frozen experts.

    Parameters
    ----------
    probabilities : ndarray (n, K, C), float64
    labels : ndarray (n,), int64

    Returns
    -------
    ndarray (n, K), float64
        At least `PROBABILITY_FLOOR`.

    Examples
    --------
    >>> truth_probabilities(np.array([[[0.9, 0.1], [0.4, 0.6]]]), np.array([1]))
    array([[0.1, 0.6]])
    """
    chosen = np.take_along_axis(probabilities, labels[:, None, None], axis=2)[:, :, 0]
    return np.maximum(chosen, PROBABILITY_FLOOR)


def sample_nll(probabilities: FloatArray, labels: IntArray) -> FloatArray:
    """Return the negative log-likelihood of each sample, (n,) float64 in nats, from probabilities (n, C)."""
    return -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], PROBABILITY_FLOOR))


def sharpened(probabilities: FloatArray, sharpness: float | FloatArray) -> FloatArray:
    """Return probabilities (..., C) raised to `sharpness`, the inverse of a temperature, and normalised.

    `sharpness` is one number, or an array that broadcasts against `probabilities`.

    Examples
    --------
    >>> sharpened(np.array([0.6, 0.4]), 2.0).round(3)
    array([0.692, 0.308])
    """
    return softmax(sharpness * np.log(np.maximum(probabilities, PROBABILITY_FLOOR)))


def best_sharpness(probabilities: FloatArray, labels: IntArray) -> float:
    """Return the sharpness at which the mean of the experts' sharpened probabilities makes the labels likeliest.

    Temperature scaling (Guo et al., 2017) with one temperature for all experts, fitted on their average: means of
    probabilities are too modest, and this says by how much.

    Parameters
    ----------
    probabilities : ndarray (n, K, C), float64
    labels : ndarray (n,), int64

    Examples
    --------
    >>> modest = np.tile([0.6, 0.4], (10, 1, 1))
    >>> sharpened(modest, best_sharpness(modest, np.array([0] * 9 + [1])))[0].round(2)
    array([[0.9, 0.1]])
    """

    def loss(log_sharpness: float) -> float:
        averaged = sharpened(probabilities, float(np.exp(log_sharpness))).mean(axis=1)
        return float(sample_nll(averaged, labels).mean())

    return float(np.exp(minimize_scalar(loss, bounds=_LOG_SHARPNESS, method="bounded").x))


def mixture_nll(gate_weights: FloatArray, truth: FloatArray) -> FloatArray:
    """Return the negative log-likelihood of each sample under the gated mixture, -log sum_k a_k p_k.

    Parameters
    ----------
    gate_weights, truth : ndarray (n, K), float64
        `truth` as `truth_probabilities` returns it.

    Returns
    -------
    ndarray (n,), float64, in nats
        Never more than ``sum_k a_k * -log p_k``, by convexity.

    Examples
    --------
    >>> mixture_nll(np.array([[0.5, 0.5]]), np.array([[0.2, 0.3]])).round(4)
    array([1.3863])
    """
    return np.asarray(-np.log((gate_weights * truth).sum(axis=1)))
