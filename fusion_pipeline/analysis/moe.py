"""The rows of a table become the one that stands for the fused model in the figures."""

from __future__ import annotations

from difflib import get_close_matches

from fusion_pipeline.errors import RefusedError, UsageError, printable
from fusion_pipeline.train.predictions import Predictions, RowPredictions
from fusion_pipeline.train.rows import ADAPTIVE, BACKBONE, GATE, PLAIN_FUSIONS


def choose_moe(predictions: Predictions, name: str | None = None) -> RowPredictions | None:
    """Return the row that stands for the mixture of experts, chosen by what it is and never by its score.

    Without a name it is the first adaptive gate in the order in which the gain of a benchmark takes them: `embedding`,
    `cnn32`, `cnn64`, first on features alone, then with a label embedding or one expert more; else the plain fusion
    that learns most.

    Parameters
    ----------
    predictions : Predictions
    name : str, optional
        What the table calls the row.

    Returns
    -------
    RowPredictions or None
        None if the table has no fused row that does not leak.

    Raises
    ------
    UsageError
        If the table has no such row, or the row fuses nothing.
    RefusedError
        If it leaks.
    """
    if name is not None:
        return _named(predictions, name)
    gates = [each for each in predictions.rows if each.row.kind == GATE and not each.row.leaks]
    order = (*ADAPTIVE, *reversed(PLAIN_FUSIONS))
    known = [each for each in gates if each.row.method in order]
    # Of equals the first one stays: the table has rows on features alone first.
    return min(
        known,
        key=lambda each: (each.row.method not in ADAPTIVE, not _is_plain(each), _place(each, order)),
        default=None,
    )


def _is_plain(each: RowPredictions) -> bool:
    return each.row.text == each.row.method


def _place(each: RowPredictions, order: tuple[str, ...]) -> int:
    return order.index(each.row.method)


def _named(predictions: Predictions, name: str) -> RowPredictions:
    fused = [each.row.text for each in predictions.rows if each.row.kind != BACKBONE]
    found = predictions.row(name)
    if found is None or found.row.kind == BACKBONE:
        near = get_close_matches(name, fused, n=1)
        hint = f" Did you mean '{printable(near[0])}'?" if near else ""
        known = ", ".join(map(printable, fused)) or "none"
        raise UsageError(f"The run has no fused row '{printable(name)}'.{hint} It has: {known}.")
    if found.row.leaks:
        raise RefusedError(
            f"Row '{printable(name)}' leaks ({found.row.leaks}): it cannot stand for the fused model. Name another."
        )
    return found
