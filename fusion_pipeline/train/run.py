"""The stores of one data set into a scored cross-validation, kept as a run folder with the final model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusion_pipeline.errors import StaleError, UsageError, printable
from fusion_pipeline.executors import Executor
from fusion_pipeline.store import Cache, DatasetStores, Store
from fusion_pipeline.store.identity import digest, short, slug
from fusion_pipeline.store.storage.local import LocalBackend
from fusion_pipeline.train.aligned import Aligned
from fusion_pipeline.train.crossval import CrossValidation, cross_validate
from fusion_pipeline.train.folds import Split
from fusion_pipeline.train.fusion import Fusion
from fusion_pipeline.train.ledger import LEDGER_FILE, refuse_leaks
from fusion_pipeline.train.ledger_sources import with_sources
from fusion_pipeline.train.model import save_model
from fusion_pipeline.train.model_folder import json_bytes
from fusion_pipeline.train.provenance import describe_backbones, versions
from fusion_pipeline.train.statistics.comparisons import Comparison
from fusion_pipeline.train.statistics.scores import Row
from fusion_pipeline.train.table import as_records, compare_methods, score_rows

MODEL_FOLDER = "model"
SCORES_FILE = "scores.json"


@dataclass(frozen=True)
class Training:
    """What `train` found.

    Parameters
    ----------
    rows : tuple of Row
        Scores of each expert, the average and the gate.
    comparisons : tuple of Comparison
        The gate against the average, the concatenation if it is an expert, and the best backbone.
    found : CrossValidation
        The out-of-fold predictions and the final model.
    run : Path
        The run folder: ``scores.json``, ``ledger.json`` (which rows each fitted parameter saw) and the model folder
        ``model``.
    summary : dict
        What ``scores.json`` holds.
    """

    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]
    found: CrossValidation
    run: Path
    summary: dict[str, Any]

    @property
    def model(self) -> Path:
        """The model folder."""
        return self.run / MODEL_FOLDER


def train(
    stores: Sequence[Store],
    *,
    fusion: Fusion,
    split: Split,
    executor: Executor,
    runs: str | Path,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Training:
    """Cross-validate experts and a gate on the stores of one data set, fit the final model and keep both.

    Parameters
    ----------
    stores : sequence of Store
        One for each backbone, of one version of the images.
    fusion : Fusion
        Which experts, and how they are fused.
    split : Split
        The outer folds.
    executor : Executor
        Runs the tasks.
    runs : str or Path
        Folder for run folders. The run's name follows from stores, protocol, gate and seed: the same call writes the
        same folder again.
    seed : int
        Of inner folds and gates.
    progress : callable, optional
        Called with the number of finished tasks and of all tasks.

    Returns
    -------
    Training

    Raises
    ------
    UsageError
        As of `Fusion.check`.
    UnusableDataError
        If a class has too few images.
    IntegrityError
        If a store is damaged.
    RefusedError
        If a parameter predicted rows that it saw, other than on purpose.
    StorageError
        If `runs` cannot be written.
    """
    aligned = Aligned.of(stores)
    fusion.check(aligned.backbones)
    protocol = {**fusion.to_json(), "folds": split.folds, "split_seed": split.seed, "seed": seed}
    name = f"{slug(stores[0].dataset)}-{slug(fusion.gate)}-{_run_key(stores, protocol)}"
    home = LocalBackend(Path(runs).expanduser().absolute())
    home.check_writable()
    folder = home.path(name)
    found = cross_validate(aligned, fusion, split, executor, seed, progress)
    ledger = with_sources(found.ledger, aligned)
    LocalBackend(folder).write(LEDGER_FILE, json_bytes(ledger.to_json()))
    refuse_leaks(ledger)
    training = _training(stores[0], protocol, found, folder)
    save_model(training.model, found.classifier, _description(stores, training.summary))
    LocalBackend(folder).write(SCORES_FILE, json_bytes(training.summary))
    return training


def choose_stores(cache: Cache, dataset: str | None, backbones: Sequence[str], index: str | None = None) -> list[Store]:
    """Return the stores to train from.

    Parameters
    ----------
    cache : Cache
        Where they are.
    dataset : str or None
        Name of the data set; may be None if the cache has only one.
    backbones : sequence of str
        Names; empty for all that the cache has for these images.
    index : str, optional
        Key of a version of the images; the one last extracted by default.

    Returns
    -------
    list of Store

    Raises
    ------
    UsageError
        If the data set is left open and the cache has several.
    IncompleteError
        If something is not in the cache.
    StaleError
        If a backbone's store belongs to another version of the images.
    """
    stores = cache[dataset or _only_dataset(cache)]
    version_index = stores.index(index)
    names = tuple(backbones) or _all_backbones(stores, version_index)
    return [stores.store(name, version_index) for name in names]


def _all_backbones(stores: DatasetStores, index: Store) -> tuple[str, ...]:
    """Return the backbones of a version; refuse to pass over one that has stores of other versions only."""
    names = stores.backbones(index)
    stale = sorted({store.name for store in stores.found().stores if store.is_backbone}.difference(names))
    if stale:
        listed = ", ".join(printable(name) for name in stale)
        raise StaleError(
            f"Of {listed} there are only stores of other versions of the images of '{printable(stores.name)}'. "
            f"Run 'fusion extract --backbone {','.join(map(printable, stale))}' with the same --data and --cache, or "
            "name the backbones to train with by --backbone."
        )
    return names


def _only_dataset(cache: Cache) -> str:
    names = [name for name in cache if _may_have_index(cache[name])] or list(cache)
    if len(names) > 1:
        raise UsageError(
            f"Which data set? The cache has {', '.join(printable(name) for name in names)}. Give --dataset NAME."
        )
    return names[0] if names else "(none named)"


def _may_have_index(stores: DatasetStores) -> bool:
    found = stores.found()
    return bool(found.indexes or found.errors)


def _training(store: Store, protocol: Mapping[str, Any], found: CrossValidation, folder: Path) -> Training:
    rows, comparisons = score_rows(found), compare_methods(found)
    summary = {
        "dataset": _dataset(store, found),
        "protocol": dict(protocol),
        "rows": as_records(rows),
        "comparisons": as_records(comparisons),
        "penalties": {name: list(method.penalties) for name, method in found.methods.items() if method.penalties},
        "model": {
            "path": str(folder / MODEL_FOLDER),
            "fallback": found.classifier.fallback_,
            "leaks": found.classifier.gate_.leaks,
        },
        "run": str(folder),
    }
    return Training(tuple(rows), tuple(comparisons), found, folder, summary)


def _run_key(stores: Sequence[Store], protocol: Mapping[str, Any]) -> str:
    content = {"manifests": [store.manifest_digest for store in stores], "protocol": dict(protocol)}
    return short(digest(content))[:8]


def _dataset(store: Store, found: CrossValidation) -> dict[str, Any]:
    return {
        "name": store.dataset,
        "digest": store.manifest.dataset,
        "index": store.index.folder,
        "images": store.rows,
        "usable": len(found.rows),
        "classes": len(store.class_names),
    }


def _description(stores: Sequence[Store], summary: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "backbones": describe_backbones(stores),
        "dataset": summary["dataset"],
        "protocol": summary["protocol"],
        "rows": summary["rows"],
        "versions": versions(),
    }
