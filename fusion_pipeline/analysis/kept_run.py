"""The folder of a benchmark's run becomes what the run found, checked, and the stores that it was made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from fusion_pipeline.errors import FormatError, IncompleteError, IntegrityError, StaleError, UsageError, printable
from fusion_pipeline.store.cache import Cache
from fusion_pipeline.store.reader import Store
from fusion_pipeline.store.storage.local import LocalBackend
from fusion_pipeline.train.benchmark_run import SCORES_FILE, SECONDS_FILE
from fusion_pipeline.train.expert_sets import expert_names
from fusion_pipeline.train.predictions import PREDICTIONS_FILE, Predictions, RowPredictions, read_predictions
from fusion_pipeline.train.rows import RowName

_AGAIN = "Run the same 'fusion benchmark' again: it computes nothing anew."


@dataclass(frozen=True)
class KeptStores:
    """The stores that a run was made from, opened.

    Attributes
    ----------
    index : Store
        Labels, names and thumbnails of the images.
    backbones : mapping of str to Store
        By name, in the order of the experts.
    """

    index: Store
    backbones: Mapping[str, Store]


@dataclass(frozen=True)
class KeptRun:
    """What a benchmark left in its run folder.

    Attributes
    ----------
    folder : Path
    summary : dict
        The document in `benchmark.json`: `dataset`, `protocol`, `rows`, `comparisons`, `gain`, `backbones`, `files`.
    predictions : Predictions
    cache : str or None
        Where the stores were; None if the run does not say.
    """

    folder: Path
    summary: Mapping[str, Any]
    predictions: Predictions
    cache: str | None

    @classmethod
    def open(cls, folder: str | Path) -> KeptRun:
        """Read a run folder.

        Parameters
        ----------
        folder : str or Path

        Raises
        ------
        IncompleteError
            If nothing is there, or the run has not finished, or lacks a file.
        UsageError
            If it is the folder of something else.
        IntegrityError
            If its predictions are not what the benchmark wrote, or belong to another table.
        FormatError
            If this version does not know what it holds.
        """
        place = Path(folder).expanduser().absolute()
        summary = _read_summary(place)
        predictions = read_predictions(place, summary["files"][PREDICTIONS_FILE])
        _refuse_strangers(place, summary, predictions)
        return cls(place, summary, predictions, _recorded_cache(place))

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return str(self.summary["dataset"]["name"])

    def scored(self, row: str) -> Mapping[str, Any]:
        """Return what the table says of one of its rows, such as its `fallbacks`."""
        position = [each.row.text for each in self.predictions.rows].index(row)
        found: Mapping[str, Any] = self.summary["rows"][position]
        return found

    def experts_of(self, gate: RowPredictions) -> tuple[str, ...]:
        """Return the names of the experts that a gate fuses, in the order of its weights."""
        return expert_names(self.predictions.backbones, gate.row.experts)

    def stores(self, cache: str | Path | None = None, copy: str | Path | None = None) -> KeptStores:
        """Open the stores that the run was made from, and no others.

        Parameters
        ----------
        cache : str or Path, optional
            Where they are; by default where the run found them.
        copy : str or Path, optional
            A folder for copies of what is read from a remote cache.

        Raises
        ------
        IncompleteError
            If the data set is not there.
        StaleError
            If one of the stores is not there, or another one is in its place.
        """
        place = cache if cache is not None else self.cache
        if place is None:
            raise IncompleteError(
                f"'{printable(str(self.folder))}' does not say where its cache is. Give the place with --cache."
            )
        home = Cache(place, copy=copy)
        wanted = {entry["manifest"]: name for name, entry in self.summary["backbones"].items()}
        published = home[self.dataset].found().stores
        found = {wanted[store.manifest_digest]: store for store in published if store.manifest_digest in wanted}
        for name in wanted.values():
            if name not in found:
                raise StaleError(
                    f"Cache '{printable(home.location)}' does not have the store of backbone '{printable(name)}' that "
                    f"'{printable(str(self.folder))}' was made from. Give the cache that has it with --cache, or run "
                    "'fusion benchmark' on the stores that are there."
                )
        index = found[self.predictions.backbones[0]].index
        self._refuse_other_images(index, home)
        return KeptStores(index, {name: found[name] for name in self.predictions.backbones})

    def _refuse_other_images(self, index: Store, home: Cache) -> None:
        rows, known = self.predictions.usable_rows, self.predictions
        fits = index.manifest.dataset == self.summary["dataset"]["digest"] and index.rows > int(rows.max())
        if not (fits and np.array_equal(index.labels[rows], known.labels) and index.class_names == known.class_names):
            raise StaleError(
                f"The images of '{printable(self.dataset)}' in cache '{printable(home.location)}' are not those of "
                f"'{printable(str(self.folder))}'. Give the cache that has these with --cache."
            )


def newest_runs(home: str | Path) -> list[KeptRun]:
    """Return the newest finished run of each data set in a folder of runs, by the name of the data set.

    Raises
    ------
    IncompleteError
        If there is none.
    UsageError, IntegrityError, FormatError
        As of `KeptRun.open`.
    """
    place = Path(home).expanduser().absolute()
    scores = sorted(place.glob(f"*/{SCORES_FILE}"), key=lambda file: (file.stat().st_mtime, file), reverse=True)
    newest: dict[str, Path] = {}
    for file in scores:
        newest.setdefault(str(_read_summary(file.parent)["dataset"]["name"]), file.parent)
    if not newest:
        raise IncompleteError(
            f"There is no finished run of a benchmark in '{printable(str(place))}'. Run 'fusion benchmark', or name a "
            "run, or the folder of runs with --runs."
        )
    return [KeptRun.open(newest[name]) for name in sorted(newest)]


def _read_summary(folder: Path) -> dict[str, Any]:
    shown = printable(str(folder))
    if not folder.is_dir():
        raise IncompleteError(f"There is no run at '{shown}'. Run 'fusion benchmark', or check the path.")
    content = LocalBackend(folder).read(SCORES_FILE)
    if content is None:
        if (folder / PREDICTIONS_FILE).is_file():
            raise IncompleteError(f"The run at '{shown}' has not finished. Run the same 'fusion benchmark' again.")
        raise UsageError(
            f"'{shown}' is not the run of a benchmark: it has no {SCORES_FILE}. Give a folder that 'fusion benchmark' "
            "printed as its run."
        )
    path = folder / SCORES_FILE
    try:
        return _checked(_json_object(content))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise FormatError(
            f"'{printable(str(path))}' is not what this version of 'fusion benchmark' writes. {_AGAIN}"
        ) from None


def _json_object(content: bytes) -> dict[str, Any]:
    """Return the object that strict JSON holds; TypeError, ValueError or RecursionError if it holds none."""

    def refuse(name: str) -> NoReturn:
        raise ValueError(name)

    value = json.loads(content, parse_constant=refuse)
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _checked(summary: dict[str, Any]) -> dict[str, Any]:
    """Return a document of which all is there that is used; KeyError, TypeError or ValueError otherwise."""
    dataset, rows, backbones = summary["dataset"], summary["rows"], summary["backbones"]
    kinds = [
        *((dataset[key], str) for key in ("name", "index", "digest")),
        *((dataset[key], int) for key in ("images", "usable", "classes")),
        *((summary["protocol"][key], int) for key in ("repeats", "split_seed", "seed")),
        (summary["protocol"]["groups"], str),
        (summary["protocol"]["label_embeddings"], dict),
        (summary["protocol"]["holdout" if "holdout" in summary["protocol"] else "folds"], int | str),
        (summary["predictions"], str),
        (summary["files"][PREDICTIONS_FILE], str),
        *((summary[key], list) for key in ("rows", "comparisons", "gain")),
        *((entry[key], str) for entry in backbones.values() for key in ("key", "manifest")),
        *((entry["identity"], dict) for entry in backbones.values()),
        *((row[key], str) for row in rows for key in ("method", "label_embedding", "mode", "experts", "leaks")),
        *((row[key], int) for row in rows for key in ("correct", "n")),
        *((row[key], list) for row in rows for key in ("fallbacks", "ci95")),
        *((row[key], int | float) for row in rows for key in ("accuracy", "macro_f1", "nll", "ece")),
        *((row["paper"], int | float | None) for row in rows),
        *(
            (step[key], str)
            for each in ("comparisons", "gain")
            for step in summary[each]
            for key in ("first", "second")
        ),
        *((step["p_holm"], float | int | None) for step in summary["comparisons"]),
        # Runs of earlier versions have no tests over parts.
        *((test["p"], float | int) for step in summary["comparisons"] for test in step.get("over_parts", ())),
        *((step["first_accuracy"], int | float) for step in summary["gain"]),
    ]
    for value, kind in kinds:
        if not isinstance(value, kind):
            raise TypeError(str(kind))
    return summary


def _refuse_strangers(folder: Path, summary: Mapping[str, Any], predictions: Predictions) -> None:
    """Refuse predictions that are not those of the table."""
    table = [(_text(row), row["correct"], row["n"]) for row in summary["rows"]]
    tested = predictions.tested_in >= 0
    found = [
        (each.row.text, int((each.predicted == predictions.labels)[tested].sum()), int(tested.sum()))
        for each in predictions.rows
    ]
    same_names = tuple(summary["backbones"]) == predictions.backbones
    if table != found or not same_names or summary["dataset"]["usable"] != len(predictions.labels):
        raise IntegrityError(
            f"The table and the predictions in '{printable(str(folder))}' do not belong together. {_AGAIN}"
        )


def _text(row: Mapping[str, Any]) -> str:
    return RowName("", row["method"], row["label_embedding"], row["mode"], row["experts"]).text


def _recorded_cache(folder: Path) -> str | None:
    """Return where the run found its stores, as the file beside says that is of this run alone."""
    content = LocalBackend(folder).read(SECONDS_FILE)
    if content is None:
        return None
    try:
        place = _json_object(content).get("cache")
    except (TypeError, ValueError, RecursionError):
        return None  # all that is lost is a hint
    return place if isinstance(place, str) else None
