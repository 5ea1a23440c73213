"""Scores become an aligned text table for people, and JSON-able records for machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from fusion_pipeline.errors import printable
from fusion_pipeline.train.crossval import CrossValidation
from fusion_pipeline.train.statistics.comparisons import Comparison, comparisons
from fusion_pipeline.train.statistics.scores import Row, score_row

_HEADINGS = ("method", "accuracy %", "95 % interval", "k/n", "NLL", "")


def score_rows(found: CrossValidation) -> list[Row]:
    """Return one row per method of a cross-validation: each expert, the average, the gate."""
    return [
        score_row(
            method.name,
            method.probabilities,
            found.labels,
            label_embedding=method.label_embedding,
            fit_seconds=method.fit_seconds,
            predict_seconds=method.predict_seconds,
            fallbacks=method.fallbacks,
            leaks=method.leaks,
        )
        for method in found.methods.values()
    ]


def compare_methods(found: CrossValidation) -> list[Comparison]:
    """Return the comparisons of the gate of a cross-validation with the plain fusions and the best backbone."""
    probabilities = {name: method.probabilities for name, method in found.methods.items()}
    return comparisons(found.classifier.gate, found.classifier.backbones_, probabilities, found.labels)


def format_table(rows: Sequence[Row]) -> str:
    """Return the rows as aligned plain text, one line each below a line of headings.

    Examples
    --------
    >>> row = Row("xception", "none", 0.925, 37, 40, (0.8014, 0.9742), 0.25, 0.1, 0.9, 1.0, 0.1, False, (), "")
    >>> print(format_table([row]))
    method    accuracy %  95 % interval    k/n    NLL
    xception       92.50   80.1 to 97.4  37/40  0.250
    """
    cells = [_HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADINGS))]
    return "\n".join(_line(line, widths) for line in cells)


def _cells(row: Row) -> tuple[str, ...]:
    low, high = row.ci95
    return (
        printable(row.method) + ("" if row.label_embedding == "none" else f" + {row.label_embedding}"),
        f"{100 * row.accuracy:.2f}",
        f"{100 * low:.1f} to {100 * high:.1f}",
        f"{row.correct}/{row.n}",
        f"{row.nll:.3f}",
        f"leaks: {row.leaks}" if row.leaks else _note(row.fallbacks),
    )


def _note(fallbacks: Sequence[bool]) -> str:
    if not any(fallbacks):
        return ""
    return "fell back to averaging" if all(fallbacks) else f"averaged in {sum(fallbacks)} of {len(fallbacks)} folds"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, *numbers, note = cells
    padded = [number.rjust(width) for number, width in zip(numbers, widths[1:-1], strict=True)]
    return "  ".join([name.ljust(widths[0]), *padded, note]).rstrip()


def format_comparison(comparison: Comparison) -> str:
    """Return one comparison as a sentence.

    Examples
    --------
    >>> format_comparison(Comparison("embedding", "average", 9, 4, 0.267))
    'embedding against average: 9 images won, 4 lost (exact McNemar p = 0.267)'
    """
    return (
        f"{printable(comparison.first)} against {printable(comparison.second)}: {comparison.wins} images won, "
        f"{comparison.losses} lost (exact McNemar p = {comparison.p:.3g})"
    )


def as_records(items: Sequence[Row] | Sequence[Comparison]) -> list[dict[str, Any]]:
    """Return rows or comparisons as dictionaries of JSON values, with the fields that scripts may rely on.

    Examples
    --------
    >>> as_records([Comparison("stacking", "average", 1, 2, 1.0)])
    [{'first': 'stacking', 'second': 'average', 'wins': 1, 'losses': 2, 'p': 1.0}]
    """
    return [
        {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(i).items()} for i in items
    ]
