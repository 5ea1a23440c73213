"""Gate weights become whom the gate trusts, by class and by image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.train.predictions import Predictions, RowPredictions

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SHOWN = 5
"""Images at either end of each expert's weights."""

_SAME = 1e-6  # weights are kept as float32


@dataclass(frozen=True)
class TrustedImage:
    """An image, and how far the gate trusts an expert on it.

    Attributes
    ----------
    image : int
        Which of the run's usable images.
    weight : float
        Mean over the repeats in which the gate was heard.
    """

    image: int
    weight: float


@dataclass(frozen=True)
class Trust:
    """Whom a gate trusts.

    Attributes
    ----------
    row : str
        What the table calls the gate.
    experts : tuple of str
        In the order of the weights.
    by_class : ndarray (n_classes, K), float64
        Mean weights over the images of a class; NaN where none was tested. In the parts in which the gate averaged the
        weights are 1 / K, and they count.
    overall : ndarray (K,), float64
        The same over all images.
    by_image : ndarray (n, K), float64
        Means over the repeats; NaN for an image that was not tested.
    effective_experts : ndarray (n,), float64
        The exponential of the entropy of an image's mean weights: 1 where one expert is heard, K where all are alike.
    most, least : tuple of tuple of TrustedImage
        By expert: the `SHOWN` images on which it is trusted most and least, the most extreme first, of those for which
        the gate was heard. None where the weights are the same for all images.
    parts, averaged : int
        Parts of the cross-validation, and those in which the gate fell back to averaging.
    """

    row: str
    experts: tuple[str, ...]
    by_class: FloatArray
    overall: FloatArray
    by_image: FloatArray
    effective_experts: FloatArray
    most: tuple[tuple[TrustedImage, ...], ...]
    least: tuple[tuple[TrustedImage, ...], ...]
    parts: int
    averaged: int

    @property
    def adapts(self) -> bool:
        """Whether the weights depend on the image in any part."""
        return any(self.most)


def measure_trust(
    predictions: Predictions, gate: RowPredictions, experts: Sequence[str], fallbacks: Sequence[bool]
) -> Trust | None:
    """Return whom a gate trusts, by its weights for images that it did not learn from.

    Parameters
    ----------
    predictions : Predictions
    gate : RowPredictions
    experts : sequence of str
        In the order of its weights.
    fallbacks : sequence of bool
        By part, repeat by repeat: whether it averaged there.

    Returns
    -------
    Trust or None
        None if the row is no gate.
    """
    if gate.gate_weights is None:
        return None
    weights, tested = gate.gate_weights.astype(np.float64), predictions.tested_in >= 0
    heard = tested & ~_averaged(predictions.tested_in, fallbacks)
    by_image = _mean_over_repeats(weights, tested)
    of_class = [tested & (predictions.labels == label) for label in range(len(predictions.class_names))]
    varies = _varies(weights, heard, predictions.tested_in)
    ends = _ends(_mean_over_repeats(weights, heard)) if varies else [((), ())] * len(experts)
    return Trust(
        gate.row.text,
        tuple(experts),
        np.stack([_mean(weights, cells) for cells in of_class]),
        _mean(weights, tested),
        by_image,
        np.exp(
            -np.where(by_image > 0, by_image * np.log(np.where(by_image > 0, by_image, 1)), by_image * 0).sum(axis=1)
        ),
        tuple(most for most, _ in ends),
        tuple(least for _, least in ends),
        len(fallbacks),
        sum(fallbacks),
    )


def _averaged(tested_in: IntArray, fallbacks: Sequence[bool]) -> BoolArray:
    """Return in which repeat each image was tested by a part in which the gate averaged, (n_repeats, n)."""
    by_part = np.asarray(fallbacks, dtype=bool).reshape(len(tested_in), -1)
    return np.take_along_axis(by_part, np.maximum(tested_in, 0), axis=1) & (tested_in >= 0)


def _mean(weights: FloatArray, cells: BoolArray) -> FloatArray:
    return weights[cells].mean(axis=0) if cells.any() else np.full(weights.shape[2], np.nan)


def _mean_over_repeats(weights: FloatArray, cells: BoolArray) -> FloatArray:
    times = cells.sum(axis=0)[:, None]
    sums = np.where(cells[:, :, None], weights, 0.0).sum(axis=0)
    return np.where(times > 0, sums / np.maximum(times, 1), np.nan)


def _varies(weights: FloatArray, heard: BoolArray, tested_in: IntArray) -> bool:
    """Return whether two images of one part have different weights."""
    parts = [
        weights[repeat, heard[repeat] & (tested_in[repeat] == part)]
        for repeat in range(len(weights))
        for part in np.unique(tested_in[repeat])
    ]
    return any(len(part) and float(np.ptp(part, axis=0).max()) > _SAME for part in parts)


def _ends(by_image: FloatArray) -> list[tuple[tuple[TrustedImage, ...], tuple[TrustedImage, ...]]]:
    known = np.flatnonzero(~np.isnan(by_image[:, 0]))
    found = []
    for weights in by_image[known].T:
        ascending = known[np.argsort(weights, kind="stable")]
        descending = known[np.argsort(-weights, kind="stable")]
        of_image = dict(zip(known.tolist(), weights.tolist(), strict=True))
        most, least = (
            tuple(TrustedImage(image, of_image[image]) for image in order[:SHOWN].tolist())
            for order in (descending, ascending)
        )
        found.append((most, least))
    return found
