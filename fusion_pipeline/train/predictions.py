"""What every row of a benchmark predicted becomes a file, and the file the predictions again.

The file is plain safetensors, so that notebooks read it too: `labels`, `usable_rows`, `tested_in`, `groups` where
images were kept together, and for row number i of the table `probabilities.i`, `predicted.i` and, where the row is a
gate, `gate_weights.i`. Its metadata has one entry, `facts`: JSON with the format, the rows, and the names of backbones,
classes and images.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from fusion_pipeline.errors import FormatError, IncompleteError, IntegrityError, printable
from fusion_pipeline.store.identity import canonical_json
from fusion_pipeline.store.storage.local import LocalBackend
from fusion_pipeline.train.aligned import AlignedStores
from fusion_pipeline.train.benchmark import Benchmark
from fusion_pipeline.train.pieces import FACTS, tensor_facts
from fusion_pipeline.train.rows import RowName

Float32Array = NDArray[np.float32]
IntArray = NDArray[np.int64]

PREDICTIONS_FILE = "predictions.safetensors"
FORMAT = "fusion-predictions 1"


@dataclass(frozen=True)
class RowPredictions:
    """What one row of the table said of every usable image, each by a model that was fitted without its part.

    Attributes
    ----------
    row : RowName
    probabilities : ndarray (n_repeats, n, n_classes), float32
        NaN where an image was not tested.
    predicted : ndarray (n_repeats, n), int64
        The likeliest class, as it was before the probabilities were rounded to float32; -1 where not tested.
    gate_weights : ndarray (n_repeats, n, n_experts), float32, or None
        In the order of the row's experts; None for rows that are no gates.
    """

    row: RowName
    probabilities: Float32Array
    predicted: IntArray
    gate_weights: Float32Array | None


@dataclass(frozen=True)
class Predictions:
    """What every row of a benchmark predicted, out of fold.

    Attributes
    ----------
    rows : tuple of RowPredictions
        In the order of the table.
    backbones : tuple of str
        In the order of the experts.
    class_names : tuple of str
        In the order of the labels.
    sample_ids : tuple of str
        Of the n usable images.
    usable_rows : ndarray (n,), int64
        Where each of them stands in the stores.
    labels : ndarray (n,), int64
    tested_in : ndarray (n_repeats, n), int64
        Number of the part that tested the image; -1 for none.
    groups : ndarray (n,), int64, or None
        Images with equal numbers were kept on one side of every split; None where each was dealt by itself.
    """

    rows: tuple[RowPredictions, ...]
    backbones: tuple[str, ...]
    class_names: tuple[str, ...]
    sample_ids: tuple[str, ...]
    usable_rows: IntArray
    labels: IntArray
    tested_in: IntArray
    groups: IntArray | None

    @classmethod
    def of(cls, found: Benchmark, stores: AlignedStores) -> Predictions:
        """Return what a benchmark on `stores` found."""
        n, repeats = len(found.labels), len(found.rows[0].probabilities)
        tested_in = np.full((repeats, n), -1, dtype=np.int64)
        folds = len(found.tests) // repeats
        for number, rows in enumerate(found.tests):
            tested_in[number // folds, rows] = number % folds
        return cls(
            tuple(_of_row(result.row, result.probabilities, result.gate_weights) for result in found.rows),
            stores.backbones,
            stores.class_names,
            stores.sample_ids,
            stores.usable_rows,
            found.labels,
            tested_in,
            found.groups,
        )

    def row(self, text: str) -> RowPredictions | None:
        """Return what the row that the table calls `text` predicted; None if the table has no such row."""
        return next((each for each in self.rows if each.row.text == text), None)

    def to_bytes(self) -> bytes:
        """Return the file: the same predictions are the same bytes."""
        tensors: dict[str, NDArray[Any]] = {
            "labels": self.labels,
            "usable_rows": self.usable_rows,
            "tested_in": self.tested_in,
        }
        if self.groups is not None:
            tensors["groups"] = self.groups
        for number, each in enumerate(self.rows):
            tensors[f"probabilities.{number}"] = each.probabilities
            tensors[f"predicted.{number}"] = each.predicted
            if each.gate_weights is not None:
                tensors[f"gate_weights.{number}"] = each.gate_weights
        facts = {
            "format": FORMAT,
            "grouped": self.groups is not None,
            "rows": [asdict(each.row) for each in self.rows],
            "backbones": list(self.backbones),
            "class_names": list(self.class_names),
            "sample_ids": list(self.sample_ids),
        }
        whole = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
        return save_tensors(whole, metadata={FACTS: canonical_json(facts).decode()})


def _of_row(row: RowName, probabilities: NDArray[Any], gate_weights: NDArray[Any] | None) -> RowPredictions:
    tested = ~np.isnan(probabilities[:, :, 0])
    predicted = np.where(tested, np.nan_to_num(probabilities).argmax(axis=2), -1)
    weights = None if gate_weights is None else gate_weights.astype(np.float32)
    return RowPredictions(row, probabilities.astype(np.float32), predicted.astype(np.int64), weights)


def read_predictions(folder: Path, sha256: str) -> Predictions:
    """Return the predictions that a benchmark left in its run folder.

    Parameters
    ----------
    folder : Path
    sha256 : str
        Of the file, as `benchmark.json` says.

    Raises
    ------
    IncompleteError
        If there are none.
    IntegrityError
        If the file is not what the benchmark wrote.
    FormatError
        If this version does not know what it holds.
    """
    content = LocalBackend(folder).read(PREDICTIONS_FILE)
    path = printable(str(folder / PREDICTIONS_FILE))
    if content is None:
        raise IncompleteError(f"'{path}' is missing. Run the same 'fusion benchmark' again: it computes nothing anew.")
    if hashlib.sha256(content).hexdigest() != sha256.removeprefix("sha256:"):
        raise IntegrityError(f"'{path}' is not what the benchmark wrote. Run the same 'fusion benchmark' again.")
    try:
        return _predictions(content)
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError):
        raise FormatError(
            f"This version of fusion cannot read '{path}'. Run the same 'fusion benchmark' again."
        ) from None


def _predictions(content: bytes) -> Predictions:
    tensors, facts = load_tensors(content), tensor_facts(content)
    if facts["format"] != FORMAT:
        raise ValueError(facts["format"])
    rows = tuple(
        RowPredictions(
            RowName(**record),
            tensors[f"probabilities.{number}"],
            tensors[f"predicted.{number}"],
            tensors.get(f"gate_weights.{number}"),
        )
        for number, record in enumerate(facts["rows"])
    )
    return Predictions(
        rows,
        backbones=tuple(facts["backbones"]),
        class_names=tuple(facts["class_names"]),
        sample_ids=tuple(facts["sample_ids"]),
        usable_rows=tensors["usable_rows"],
        labels=tensors["labels"],
        tested_in=tensors["tested_in"],
        groups=tensors["groups"] if facts["grouped"] else None,
    )
