"""Stores and a protocol become a run folder: every row of the table, what was predicted, and who saw what."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fusion_pipeline.executors import Executor
from fusion_pipeline.store.identity import digest, short, slug
from fusion_pipeline.store.reader import Store
from fusion_pipeline.store.storage.local import LocalBackend
from fusion_pipeline.train.aligned import Aligned
from fusion_pipeline.train.benchmark import Benchmark, Protocol, run_benchmark
from fusion_pipeline.train.benchmark_scores import Scores, score_benchmark, to_csv
from fusion_pipeline.train.ledger import LEDGER_FILE, refuse_leaks
from fusion_pipeline.train.ledger_sources import with_sources
from fusion_pipeline.train.model_folder import json_bytes
from fusion_pipeline.train.pieces import Pieces
from fusion_pipeline.train.predictions import PREDICTIONS_FILE, Predictions
from fusion_pipeline.train.provenance import describe_backbones, versions
from fusion_pipeline.train.rows import RowName

PIECES = "pieces"
"""Folder beside the run folders: what a task found serves every run that needs it."""

SCORES_FILE = "benchmark.json"
TABLE_FILE = "rows.csv"
SECONDS_FILE = "seconds.json"
"""The one file that is not the same bytes from run to run."""


@dataclass(frozen=True)
class BenchmarkRun:
    """What a benchmark found, and where it is kept.

    Attributes
    ----------
    found : Benchmark
    scores : Scores
    folder : Path
    summary : dict
        The JSON document. `SCORES_FILE` has all of it that is the same in every run.
    """

    found: Benchmark
    scores: Scores
    folder: Path
    summary: dict[str, Any]


def benchmark(
    stores: Sequence[Store],
    rows: Sequence[RowName],
    protocol: Protocol,
    executor: Executor,
    runs: str | Path,
    progress: Callable[[int, int], None] | None = None,
) -> BenchmarkRun:
    """Run every row on the stores of one data set, or what is left of that, and keep what it found.

    Parameters
    ----------
    stores : sequence of Store
        One for each backbone, of one version of the images.
    rows : sequence of RowName
    protocol : Protocol
    executor : Executor
    runs : str or Path
        Folder for run folders. The run's name follows from stores, protocol and rows: the same call writes the same
        folder, and computes only what no call before it did.
    progress : callable, optional
        Called with the number of finished tasks and of all tasks.

    Returns
    -------
    BenchmarkRun

    Raises
    ------
    UnusableDataError
        If the images cannot be split so.
    RefusedError
        If a parameter predicted rows that it saw.
    StorageError
        If `runs` cannot be written.
    """
    aligned = Aligned.of(stores)
    told = _protocol(protocol)
    name = f"{slug(stores[0].dataset)}-benchmark-{_run_key(stores, told, rows)}"
    home = LocalBackend(Path(runs).expanduser().absolute())
    home.check_writable()
    folder = home.path(name)
    found = run_benchmark(aligned, rows, protocol, executor, Pieces(home.path(PIECES)), progress)
    ledger = with_sources(found.ledger, aligned)
    LocalBackend(folder).write(LEDGER_FILE, json_bytes(ledger.to_json()))
    refuse_leaks(ledger, found.groups)
    scores = score_benchmark(found, stores[0].dataset)
    predictions = Predictions.of(found, aligned.open()).to_bytes()
    summary = {
        **_summary(stores, told, found, scores, folder),
        "files": {PREDICTIONS_FILE: f"sha256:{hashlib.sha256(predictions).hexdigest()}"},
    }
    files = {
        PREDICTIONS_FILE: predictions,
        SCORES_FILE: json_bytes(_lasting(summary)),
        TABLE_FILE: to_csv(scores.rows).encode(),
        SECONDS_FILE: json_bytes(_passing(summary)),
    }
    LocalBackend(folder).write_all(files)
    return BenchmarkRun(found, scores, folder, summary)


def _protocol(protocol: Protocol) -> dict[str, Any]:
    split = protocol.split
    return {
        **({"holdout": split.holdout} if split.holdout else {"folds": split.folds}),
        "repeats": protocol.repeats,
        "groups": protocol.grouping,
        "split_seed": split.seed,
        "seed": protocol.seed,
        "label_embeddings": {
            kind: {key: value for key, value in choice.to_json().items() if key != "kind"}
            for kind, choice in protocol.labels.items()
            if kind != "none"
        },
    }


def _run_key(stores: Sequence[Store], protocol: Mapping[str, Any], rows: Sequence[RowName]) -> str:
    manifests = [store.manifest_digest for store in stores]
    content = {"manifests": manifests, "protocol": protocol, "rows": [row.text for row in rows]}
    return short(digest(content))[:8]


def _summary(
    stores: Sequence[Store], protocol: Mapping[str, Any], found: Benchmark, scores: Scores, folder: Path
) -> dict[str, Any]:
    store = stores[0]
    groups = 0 if found.groups is None else len(found.labels) - len(set(found.groups.tolist()))
    return {
        "dataset": {
            "name": store.dataset,
            "digest": store.manifest.dataset,
            "index": store.index.folder,
            "images": store.rows,
            "usable": len(found.labels),
            "classes": len(store.class_names),
            "near_duplicates": groups,
        },
        "protocol": dict(protocol),
        "rows": [_plain(asdict(row)) for row in scores.rows],
        "comparisons": [_plain(asdict(comparison)) for comparison in scores.comparisons],
        "gain": [_plain(asdict(step)) for step in scores.gain],
        "predictions": scores.predictions,
        "tasks": {"computed": found.computed, "found": found.found},
        "backbones": describe_backbones(stores),
        "run": str(folder),
        "cache": stores[0].ref.cache,
        "versions": versions(),
    }


_SECONDS = "_seconds"
_OF_ONE_RUN = ("tasks", "run", "cache", "versions")


def _lasting(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what every run of these stores and this protocol finds, to the byte."""
    rows = [{key: value for key, value in row.items() if not key.endswith(_SECONDS)} for row in summary["rows"]]
    return {**{key: value for key, value in summary.items() if key not in _OF_ONE_RUN}, "rows": rows}


def _passing(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is of this run alone: how long rows took where their tasks ran, how many ran, where, with what."""
    named = ("method", "label_embedding", "mode")
    rows = [
        {key: value for key, value in row.items() if key in named or key.endswith(_SECONDS)} for row in summary["rows"]
    ]
    return {"rows": rows, **{key: summary[key] for key in _OF_ONE_RUN if key != "run"}}


def _plain(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in record.items()}
