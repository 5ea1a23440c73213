"""What was asked of `fusion benchmark` into the library's call, and what that found into lines for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from fusion_pipeline.commands import clusters, inputs
from fusion_pipeline.commands.label_options import label_choice, refuse_idle
from fusion_pipeline.config import Settings
from fusion_pipeline.errors import IncompleteError, UsageError, printable

if TYPE_CHECKING:
    from fusion_pipeline.executors import Executor
    from fusion_pipeline.train.benchmark_run import BenchmarkRun
    from fusion_pipeline.train.benchmark_scores import ScoredRow
    from fusion_pipeline.train.labels.choice import LabelChoice
    from fusion_pipeline.train.rows import RowName


@dataclass(frozen=True)
class Asked:
    """The command's own options, by their names."""

    names: tuple[str, ...]
    index: str | None
    wanted: tuple[str, ...]
    repeats: int
    holdout: str
    groups: str
    mode: str
    experts: str
    embeddings: tuple[str, ...]
    label_vectors: str | None
    fine_tune_labels: bool
    top: int | None
    readouts: tuple[str, ...]
    in_sample: bool
    transductive: bool


def run(
    settings: Settings, asked: Asked, progress: Callable[[int, int], None], warn: Callable[[str], None]
) -> BenchmarkRun:
    """Run what was asked for."""
    from fusion_pipeline.extract.networks.backbones import expand_names
    from fusion_pipeline.store.care.trust import expect_manifests
    from fusion_pipeline.train.benchmark import Protocol
    from fusion_pipeline.train.benchmark_run import benchmark
    from fusion_pipeline.train.folds import Split
    from fusion_pipeline.train.run import choose_stores

    names = expand_names(asked.names or settings.backbones, settings.backbones)
    stores = choose_stores(inputs.opened_cache(settings), inputs.chosen_dataset(settings), names, asked.index)
    expect_manifests([stores[0].index, *stores], settings.expect_manifest)
    labels = _label_choices(asked, warn)
    rows = _rows([store.name for store in stores], asked, labels)
    split = Split(settings.folds, settings.seed, asked.holdout)
    protocol = Protocol(split, asked.repeats, asked.groups, settings.seed, labels)
    with _executor(settings) as executor:
        return benchmark(stores, rows, protocol, executor, settings.runs, progress)


def _label_choices(asked: Asked, warn: Callable[[str], None]) -> dict[str, LabelChoice]:
    """Return the label embeddings of the rows; of those that nobody named, the ones that can be had."""
    from fusion_pipeline.train.labels.choice import FEATURES_ALONE

    kinds = asked.embeddings or ("learned", "glove")
    refuse_idle(kinds, asked.label_vectors, asked.fine_tune_labels, asked.top)
    found = {"none": FEATURES_ALONE}
    for kind in kinds:
        try:
            found[kind] = label_choice(kind, asked.label_vectors, asked.fine_tune_labels, asked.top)
        except IncompleteError as error:
            if asked.embeddings or asked.label_vectors:
                raise
            warn(f"rows with GloVe label embeddings are left out: {error}")
    for note in (choice.summary for choice in found.values() if choice.summary):
        warn(note)
    return found


def _rows(backbones: Sequence[str], asked: Asked, labels: dict[str, LabelChoice]) -> tuple[RowName, ...]:
    from fusion_pipeline.train.concat import MODES
    from fusion_pipeline.train.rows import all_rows, literal_rows

    modes = MODES if asked.mode == "both" else (asked.mode,)
    rows = all_rows(backbones, [kind for kind in labels if kind != "none"], modes, asked.experts)
    rows += literal_rows(asked.readouts, in_sample=asked.in_sample, transductive=asked.transductive)
    chosen = tuple(row for row in rows if not asked.wanted or any(_matches(row, each) for each in asked.wanted))
    if not chosen:
        known = ", ".join(printable(row.text) for row in rows)
        raise UsageError(f"No row is called {', '.join(map(printable, asked.wanted))}. Known ones: {known}.")
    return chosen


def _matches(row: RowName, pattern: str) -> bool:
    return fnmatchcase(row.text, pattern) or fnmatchcase(row.method, pattern)


@contextmanager
def _executor(settings: Settings) -> Iterator[Executor]:
    from fusion_pipeline.executors import make_executor

    if settings.scheduler is None:
        clusters.refuse_without_scheduler(settings)
        yield make_executor(settings.executor, settings.workers or None)
        return
    from fusion_pipeline.cluster.executor import ClusterExecutor

    with clusters.opened_cluster(settings, settings.scheduler) as cluster:
        yield ClusterExecutor(cluster)


def lines(result: BenchmarkRun) -> Iterator[str]:
    """Yield the data set with the protocol, the table, what comparisons are sure of, and the gain taken apart."""
    dataset, protocol = result.summary["dataset"], result.summary["protocol"]
    cut = f"holdout {protocol['holdout']}" if "holdout" in protocol else f"{protocol['folds']}-fold cross-validation"
    repeats = "1 repeat" if protocol["repeats"] == 1 else f"{protocol['repeats']} repeats"
    kept = {"none": "images split one by one", "duplicates": "near-duplicates kept together"}
    yield (
        f"{printable(dataset['name'])}: {dataset['usable']:,} images, {dataset['classes']} classes, {cut}, "
        f"{repeats}, seed {protocol['split_seed']}, {kept.get(protocol['groups'], 'groups kept')}"
    )
    yield from ("", *_table(result.scores.rows), "")
    yield from _comparisons(result)
    yield from _gain(result)
    tasks = result.summary["tasks"]
    yield f"{tasks['computed']} tasks computed, {tasks['found']} found; run: {printable(result.summary['run'])}"


_HEADINGS = ("method", "accuracy %", "95 % interval", "k/n", "macro F1", "NLL", "ECE", "fit s", "paper %", "")


def _table(rows: Sequence[ScoredRow]) -> Iterator[str]:
    cells = [_HEADINGS, *map(_cells, rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADINGS))]
    for name, *numbers, note in cells:
        padded = [number.rjust(width) for number, width in zip(numbers, widths[1:-1], strict=True)]
        yield "  ".join([name.ljust(widths[0]), *padded, note]).rstrip()


def _cells(row: ScoredRow) -> tuple[str, ...]:
    return (
        printable(row.text),
        f"{100 * row.accuracy:.2f}",
        f"{100 * row.ci95[0]:.1f} to {100 * row.ci95[1]:.1f}",
        f"{row.correct}/{row.n}",
        f"{row.macro_f1:.3f}",
        f"{row.nll:.3f}",
        f"{row.ece:.3f}",
        f"{row.fit_seconds:.1f}",
        "" if row.paper is None else f"{100 * row.paper:.2f}",
        _note(row),
    )


def _note(row: ScoredRow) -> str:
    """Return what to know of a row beside its numbers."""
    if row.leaks:
        return f"leaks: {row.leaks}"
    return f"averaged in {sum(row.fallbacks)} of {len(row.fallbacks)} parts" if row.fallback else ""


def _comparisons(result: BenchmarkRun) -> Iterator[str]:
    """Yield the comparisons that remain sure after Holm's adjustment, and how many there are."""
    found = result.scores.comparisons
    sure = [item for item in found if item.p_holm is not None and item.p_holm <= 0.05]
    for item in sure:
        yield (
            f"{printable(item.first)} against {printable(item.second)}: {100 * item.difference:+.2f} points, "
            f"{item.wins} won, {item.losses} lost (p = {item.p:.3g}, by Holm {item.p_holm:.3g}"
            + "".join(f"; {test.test} p = {test.p:.3g}" for test in item.over_parts)
            + ")"
        )
    if found:
        yield f"{len(sure)} of {len(found)} comparisons of fused rows are sure by Holm's adjustment at 5 %."
        yield ""


def _gain(result: BenchmarkRun) -> Iterator[str]:
    if not result.scores.gain:
        return
    yield "the gain, taken apart:"
    for step in result.scores.gain:
        chosen = f" (best by {step.first_chosen_by})" if step.first_chosen_by else ""
        points = 100 * (step.second_accuracy - step.first_accuracy)
        yield (
            f"  {printable(step.first)}{chosen} -> {printable(step.second)}: {points:+.2f} points, {step.wins} won, "
            f"{step.losses} lost (p = {step.p:.3g}, by Holm {step.p_holm:.3g})"
        )
    yield ""
