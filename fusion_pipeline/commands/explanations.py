"""Predictions of new photographs into the page that explains them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fusion_pipeline.commands.lines import skipped_lines

if TYPE_CHECKING:
    from fusion_pipeline.analysis.report.explanation import Explained
    from fusion_pipeline.images.decode import Reason
    from fusion_pipeline.predict import Prediction


def write_explanation(
    path: str, predictions: Sequence[Prediction], notes: Sequence[str], bad: Mapping[str, Reason]
) -> Path:
    """Write the page, and return where it is.

    Parameters
    ----------
    path : str
    predictions : sequence of Prediction
        With thumbnails.
    notes : sequence of str
        What to know before trusting the model.
    bad : mapping of str to Reason
        Photographs that could not be used.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    from fusion_pipeline.analysis.report.explanation import explain
    from fusion_pipeline.analysis.report.writing import write_page

    return write_page(Path(path), explain([_explained(item) for item in predictions], notes, list(skipped_lines(bad))))


def _explained(item: Prediction) -> Explained:
    from fusion_pipeline.analysis.report.explanation import Explained

    assert item.thumbnail is not None
    opinions = {name: (opinion.label, opinion.probability) for name, opinion in item.experts.items()}
    return Explained(item.path, item.thumbnail, item.probabilities, item.gate, opinions)
