"""A cache becomes the time and memory of a whole ``fusion benchmark``, beside those of the reference script."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import reference
from made import DATASET, make_cache, make_label_vectors
from printing import verdict
from reference_data import read

from fusion_pipeline.train.rows import RowName

TIMES, SECONDS, MEMORY = 10.0, 300.0, 2.0

SMALL_ROWS, SMALL_WIDTHS, SMALL_CLASSES = 24, (12, 20), 2
"""Of the made-up data set: what a run of it needs is what every run needs."""

_PROGRAM = "import sys; from fusion_pipeline.commands import main; sys.exit(main())"

# Often enough to see what a task holds, seldom enough to cost it nothing.
_SAMPLED_SECONDS = 0.05


@dataclass(frozen=True)
class Source:
    """Where the images of both sides are.

    Parameters
    ----------
    cache, dataset : str
    label_vectors : str or None
    """

    cache: str
    dataset: str | None
    label_vectors: str | None

    @property
    def options(self) -> list[str]:
        """Those of ``fusion benchmark``."""
        files = {"--cache": self.cache, "--label-vectors": self.label_vectors}
        there = {option: str(Path(name).absolute()) for option, name in files.items() if name and Path(name).exists()}
        named = {**files, **there, "--dataset": self.dataset}
        return [text for option, value in named.items() if value is not None for text in (option, value)]


@dataclass(frozen=True)
class Run:
    """What one ``fusion benchmark`` said and took.

    Parameters
    ----------
    summary : dict
        Its JSON document.
    seconds : float
        From its start to its end, with all that it loads.
    peak : int
        Most bytes of their own that its processes had resident together: pages of files, such as libraries' code,
        are left out where the system tells them apart.
    processes : int
        Most of them at once.
    """

    summary: dict[str, Any]
    seconds: float
    peak: int
    processes: int


def run_benchmark(source: Source) -> Run:
    """Run all rows with no result at hand."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", _PROGRAM, "benchmark", *source.options, "--runs", folder, "--json"]
        started = time.perf_counter()
        # Elsewhere, lest a fusion.toml beside the caller has a say.
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=folder) as process:
            watch = _Watch(process.pid)
            watch.start()
            document, said = process.communicate()
        seconds = time.perf_counter() - started
        watch.join()
    if process.returncode:
        raise SystemExit(f"{said}fusion benchmark ended with {process.returncode}.")
    return Run(json.loads(document), seconds, watch.peak, watch.processes)


class _Watch(threading.Thread):
    """Looks at a process and all that it starts until it ends."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid = pid
        self.peak = self.processes = 0

    def run(self) -> None:
        """Note what there was at most."""
        try:
            watched = psutil.Process(self.pid)
            while watched.is_running() and watched.status() != psutil.STATUS_ZOMBIE:
                found = [_resident(each) for each in (watched, *watched.children(recursive=True))]
                self.peak, self.processes = max(self.peak, sum(found)), max(self.processes, len(found))
                time.sleep(_SAMPLED_SECONDS)
        except psutil.NoSuchProcess:
            return


def _resident(process: psutil.Process) -> int:
    try:
        found = process.memory_info()
        return int(found.rss - getattr(found, "shared", 0))
    except psutil.NoSuchProcess:
        return 0


def whole_benchmark(source: Source | None, fitted: int, searched: int) -> Iterator[str]:
    """Yield seconds, memory and accuracies of both sides, run one after the other.

    Parameters
    ----------
    source : Source or None
        None makes up a small data set, which shows that both run, and not how fast.
    fitted, searched : int
        Folds that the reference fits and searches in; see `reference.fit_all`.
    """
    with tempfile.TemporaryDirectory() as folder:
        small = _made(Path(folder))
        chosen = source or small
        data = read(chosen.cache, chosen.dataset, chosen.label_vectors)
        yield from reference.describe(data, fitted, searched)
        run = run_benchmark(chosen)
        yield f"fusion benchmark: {run.seconds:.1f} s for {len(run.summary['rows'])} rows"
        yield from _memory(run, run if source is None else run_benchmark(small), data.feature_bytes)
        found = []
        for step in reference.fit_all(data, fitted=fitted, searched=searched):
            found.append(step)
            yield f"reference: {step.text}"
    yield from _speed(run, found)
    yield from _accuracies(run, found)


def _made(folder: Path) -> Source:
    vectors = make_label_vectors(folder / "vectors.txt")
    return Source(make_cache(folder / "cache", SMALL_ROWS, SMALL_WIDTHS, SMALL_CLASSES), DATASET, vectors)


def _memory(run: Run, small: Run, feature_bytes: int) -> Iterator[str]:
    mib, beyond = 2**20, run.peak - small.peak
    yield (
        f"memory: {run.peak / mib:,.0f} MiB in {run.processes} processes at most, of which a made-up data set of "
        f"{SMALL_ROWS} images takes {small.peak / mib:,.0f}; {feature_bytes / mib:,.1f} MiB of features in float32"
    )
    yield (
        f"memory: {beyond / feature_bytes:.2f} times the features beyond the made-up data set  "
        f"{verdict(beyond <= MEMORY * feature_bytes, f'at most {MEMORY:.0f}')}"
    )


def _speed(run: Run, found: Sequence[reference.Found]) -> Iterator[str]:
    seconds, ran = sum(step.seconds for step in found), sum(step.ran for step in found)
    ratio = seconds / run.seconds
    yield f"fusion benchmark {run.seconds:,.1f} s  {verdict(run.seconds < SECONDS, f'under {SECONDS:.0f} s')}"
    yield f"reference {seconds:,.1f} s, of which {ran:,.1f} s ran"
    yield f"{ratio:.1f} times faster  {verdict(ratio >= TIMES, f'at least {TIMES:.0f}')}"


def _accuracies(run: Run, found: Sequence[reference.Found]) -> Iterator[str]:
    """Yield what both sides got right, row by row, and rows that one of them has not."""
    ours = {_name(row): row for row in run.summary["rows"]}
    theirs = {step.name: step for step in found if step.is_row}
    yield f"{'row':<24} {'fusion %':>9} {'reference %':>12}"
    for name in dict.fromkeys([*ours, *theirs]):
        mine = f"{100 * ours[name]['accuracy']:.2f}" if name in ours else "no row"
        other = f"{100 * theirs[name].correct / theirs[name].tested:.2f}" if name in theirs else "no row"
        yield f"{name:<24} {mine:>9} {other:>12}"


def _name(row: dict[str, Any]) -> str:
    return RowName("", row["method"], row["label_embedding"], row["mode"], row["experts"]).text
