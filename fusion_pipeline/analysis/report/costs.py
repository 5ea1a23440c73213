"""What a run folder tells of seconds, and its stores of their networks, becomes what each row costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fusion_pipeline.analysis.kept_run import KeptRun
from fusion_pipeline.store.storage.local import LocalBackend
from fusion_pipeline.train.benchmark_run import SECONDS_FILE
from fusion_pipeline.train.model_folder import json_object


@dataclass(frozen=True)
class Costs:
    """What rows cost.

    Attributes
    ----------
    fit_seconds : mapping of str to float
        By row: what its fits took over all parts, those shared with other rows included; on whatever machine.
    versions : mapping of str to str
        Of the libraries that fitted them.
    multiply_adds : mapping of str to float
        By backbone: of one image, as far as known.
    """

    fit_seconds: Mapping[str, float]
    versions: Mapping[str, str]
    multiply_adds: Mapping[str, float]

    def multiply_adds_of(self, backbones: Sequence[str]) -> float | None:
        """Return what all of these need together for an image; None where one of them is not known."""
        known = [self.multiply_adds[name] for name in backbones if name in self.multiply_adds]
        return sum(known) if len(known) == len(backbones) else None


def costs_of(run: KeptRun, multiply_adds: Mapping[str, float]) -> Costs:
    """Return the costs of a run's rows.

    Parameters
    ----------
    run : KeptRun
    multiply_adds : mapping of str to float
        By backbone, as far as known.

    Raises
    ------
    FormatError
        If the file with the seconds is no JSON document.
    """
    content = LocalBackend(run.folder).read(SECONDS_FILE)
    told: Mapping[str, Any] = {} if content is None else json_object(content, run.folder / SECONDS_FILE)
    versions = told.get("versions")
    return Costs(_fit_seconds(run, told.get("rows")), versions if isinstance(versions, dict) else {}, multiply_adds)


def _fit_seconds(run: KeptRun, rows: Any) -> dict[str, float]:
    """Return the seconds of each row, as far as the file tells them: nothing vouches for what is in it."""
    if not isinstance(rows, list) or len(rows) != len(run.predictions.rows):
        return {}
    told = [row.get("fit_seconds") if isinstance(row, dict) else None for row in rows]
    return {
        each.row.text: float(seconds)
        for each, seconds in zip(run.predictions.rows, told, strict=True)
        if isinstance(seconds, int | float)
    }
