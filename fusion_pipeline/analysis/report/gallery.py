"""Kept predictions become the images that a report shows, and what was said of each.

Where the protocol repeats, an image was predicted several times; it is shown as it was in the first repeat that tested
it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.analysis.kept_run import KeptRun
from fusion_pipeline.analysis.report.outcomes import Outcome, most_telling, outcomes_of
from fusion_pipeline.errors import printable
from fusion_pipeline.train.predictions import Predictions, RowPredictions
from fusion_pipeline.train.rows import AVERAGE, BACKBONE

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.int64]

_ALIKE = 1e-6  # weights are kept as float32


@dataclass(frozen=True)
class Voice:
    """What one row of the table said of the images shown.

    Attributes
    ----------
    name : str
        What the table calls it.
    predicted : ndarray (m,), int64
    probability : ndarray (m,), float
        Of the predicted class.
    """

    name: str
    predicted: IntArray
    probability: FloatArray


@dataclass(frozen=True)
class Gallery:
    """The images that a report shows.

    Attributes
    ----------
    images : ndarray (m,), int64
        Which of the run's usable images, in the order in which they are shown.
    tested : int
        How many there are.
    sample_ids : tuple of str
    labels : ndarray (m,), int64
    class_names : tuple of str
        Of all classes.
    voices : tuple of Voice
        The fused row first, then the plain average if there is one, then the backbones.
    backbones : tuple of str
        Whose voices are the last ones.
    best : str
        The best backbone.
    weights : ndarray (m, K), float, or None
        Of the fused row's experts; None for a row that is no gate.
    weighted : tuple of str
        Names of these experts, in that order; none without weights.
    outcomes : ndarray (m,), int64
        Of `Outcome`.
    """

    images: IntArray
    tested: int
    sample_ids: tuple[str, ...]
    labels: IntArray
    class_names: tuple[str, ...]
    voices: tuple[Voice, ...]
    backbones: tuple[str, ...]
    best: str
    weights: FloatArray | None
    weighted: tuple[str, ...]
    outcomes: IntArray

    @property
    def who(self) -> str:
        """What to call the fused row beside the plain average: rows that weigh nobody are no gates."""
        return "this row" if self.weights is None else "the gate"

    @property
    def trusted_most(self) -> IntArray | None:
        """Number of the expert with the largest weight, (m,); -1 where all weights are alike, None without weights."""
        if self.weights is None:
            return None
        return np.where(np.ptp(self.weights, axis=1) < _ALIKE, -1, self.weights.argmax(axis=1))

    @property
    def coloured(self) -> tuple[str, ...]:
        """Names of all that has a colour, in the order of the colours: backbones, then what else the gate fuses."""
        return tuple(dict.fromkeys([*self.backbones, *self.weighted]))

    def count(self, outcome: Outcome) -> int:
        """Return how many of the images shown have an outcome."""
        return int((self.outcomes & outcome > 0).sum())

    def to_json(self) -> dict[str, Any]:
        """Return what the page's script needs to know of the images, column by column; names are printable."""
        trusted = self.trusted_most
        return {
            "classes": [printable(name) for name in self.class_names],
            "ids": [printable(name) for name in self.sample_ids],
            "labels": self.labels.tolist(),
            "outcomes": self.outcomes.tolist(),
            "trusted": None if trusted is None else trusted.tolist(),
            "weighted": [self.coloured.index(name) for name in self.weighted],
            "coloured": [printable(name) for name in self.coloured],
            "weights": None if self.weights is None else per_mille(self.weights),
            "voices": [
                {
                    "name": printable(voice.name),
                    "said": voice.predicted.tolist(),
                    "sure": per_mille(voice.probability),
                }
                for voice in self.voices
            ],
        }


def per_mille(shares: FloatArray) -> Any:
    """Return shares as whole numbers of thousandths, in lists: as exact as a bar of pixels, and short."""
    return np.rint(1000 * shares.astype(np.float64)).astype(np.int64).tolist()


def gallery_of(run: KeptRun, fused: RowPredictions, best: str, at_most: int) -> Gallery:
    """Return the images that a report shows.

    Parameters
    ----------
    run : KeptRun
    fused : RowPredictions
        The row that stands for the fused model.
    best : str
        The best backbone.
    at_most : int
        How many images to show.
    """
    known = run.predictions
    tested = np.flatnonzero((known.tested_in >= 0).any(axis=0))
    outcomes = _outcomes(known, fused, best, tested)
    chosen = most_telling(outcomes, at_most)
    images = tested[chosen]
    singles = [each for each in known.rows if each.row.kind == BACKBONE]
    rows = {each.row.text: each for each in (fused, known.row(AVERAGE), *singles) if each is not None}
    weights = None if fused.gate_weights is None else fused.gate_weights[_repeats(known, images), images]
    return Gallery(
        images,
        len(tested),
        tuple(known.sample_ids[image] for image in images.tolist()),
        known.labels[images],
        known.class_names,
        tuple(_voice(known, each, images) for each in rows.values()),
        tuple(each.row.text for each in singles),
        best,
        weights,
        () if weights is None else run.experts_of(fused),
        outcomes[chosen],
    )


def _outcomes(known: Predictions, fused: RowPredictions, best: str, images: IntArray) -> IntArray:
    repeats = _repeats(known, images)
    said = {each.row.text: each.predicted[repeats, images] for each in known.rows}
    experts = np.stack([said[each.row.text] for each in known.rows if each.row.kind == BACKBONE])
    return outcomes_of(known.labels[images], said[fused.row.text], said.get(AVERAGE), said[best], experts)


def _voice(known: Predictions, row: RowPredictions, images: IntArray) -> Voice:
    repeats = _repeats(known, images)
    return Voice(row.row.text, row.predicted[repeats, images], row.probabilities[repeats, images].max(axis=1))


def _repeats(known: Predictions, images: IntArray) -> IntArray:
    """Return the first repeat that tested each image."""
    return np.asarray((known.tested_in[:, images] >= 0).argmax(axis=0), dtype=np.int64)
