"""Kept predictions become the class that each expert gave to each tested image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.errors import IncompleteError
from fusion_pipeline.train.predictions import Predictions, RowPredictions
from fusion_pipeline.train.rows import BACKBONE

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Votes:
    """What each expert said of each tested image, the repeats one after another.

    An image that was tested in three repeats votes three times: by experts that were fitted on other images each time.

    Attributes
    ----------
    experts : tuple of str
        Names of the K backbones that have a row in the table.
    predicted : ndarray (K, m), int64
        Their classes.
    labels : ndarray (m,), int64
    images, repeats : ndarray (m,), int64
        Which of the run's usable images, and in which repeat.
    class_names : tuple of str

    Examples
    --------
    >>> predicted, labels = np.array([[0, 1], [1, 1]]), np.array([0, 1])
    >>> Votes(("a", "b"), predicted, labels, np.arange(2), np.zeros(2, int), ("x", "y")).correct.tolist()
    [[True, True], [False, True]]
    """

    experts: tuple[str, ...]
    predicted: IntArray
    labels: IntArray
    images: IntArray
    repeats: IntArray
    class_names: tuple[str, ...]

    @classmethod
    def of(cls, predictions: Predictions) -> Votes:
        """Return the votes of the backbones.

        Raises
        ------
        IncompleteError
            If the table has no row of a backbone.
        """
        rows = [each for each in predictions.rows if each.row.kind == BACKBONE]
        if not rows:
            raise IncompleteError(
                "The run has no row of a backbone: there is nothing to compare. Run the same 'fusion benchmark' again, "
                "without --row."
            )
        repeats, images = np.nonzero(predictions.tested_in >= 0)
        return cls(
            tuple(each.row.text for each in rows),
            np.stack([each.predicted[repeats, images] for each in rows]),
            predictions.labels[images],
            images.astype(np.int64),
            repeats.astype(np.int64),
            predictions.class_names,
        )

    @property
    def correct(self) -> BoolArray:
        """Whether each vote is right, (K, m)."""
        right: BoolArray = self.predicted == self.labels
        return right

    @property
    def tested_classes(self) -> IntArray:
        """The classes of which an image was tested, ascending."""
        return np.unique(self.labels)

    def of_row(self, row: RowPredictions) -> IntArray:
        """Return the classes that another row gave to the same images, (m,)."""
        return row.predicted[self.repeats, self.images]
