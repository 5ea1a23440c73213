"""Rows 2 and 21: a benchmark, or a worker that it runs on, dies between folds, and the bytes are what they would be."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from distributed import LocalCluster

from tests.commands.made import fusion
from tests.faults.tally import Tally
from tests.processes import Command
from tests.train.made import make_features, make_labels, publish

LABELS = make_labels(12, 3)
ASKED = ("benchmark", "--groups", "none", "--label-embedding", "none", "--repeats", "3", "--json")
ROWS = ("alpha", "beta", "concat-*", "average", "constant", "stacking", "embedding")
MEASURED = "seconds.json"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmarks") / "cache"
    publish(folder, {name: make_features(LABELS, 30, seed) for seed, name in enumerate(("alpha", "beta"))}, LABELS)
    return folder


def arguments(cache: Path, runs: Path, *more: str) -> tuple[str, ...]:
    chosen = tuple(each for row in ROWS for each in ("--row", row))
    return (*ASKED, *chosen, "--cache", str(cache), "--runs", str(runs), *more)


def written(runs: Path) -> dict[str, bytes]:
    """Return what a benchmark found, file by file."""
    return {path.name: path.read_bytes() for path in runs.glob("*-benchmark-*/*.*") if path.name != MEASURED}


def pieces(runs: Path) -> int:
    """Return how many tasks of a benchmark are finished and kept."""
    return len(list(runs.glob("pieces/*.piece")))


@pytest.fixture(scope="module")
def undisturbed(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    runs = tmp_path_factory.mktemp("undisturbed")
    outcome = fusion(*arguments(cache, runs, "--executor", "loop"))
    assert outcome.code == 0, outcome
    return written(runs)


@contextmanager
def after(runs: Path, finished: int, then: Callable[[], object]) -> Iterator[None]:
    """Do something while the body runs, as soon as so many tasks are finished."""

    def watch() -> None:
        while pieces(runs) < finished:
            time.sleep(0.002)
        then()

    thread = Thread(target=watch, daemon=True)
    thread.start()
    yield
    thread.join(10)
    assert not thread.is_alive(), "nothing happened: the benchmark was over before"


@pytest.mark.parametrize("times", [1, pytest.param(12, marks=pytest.mark.soak)])
def test_a_worker_is_killed_between_folds(
    cache: Path, undisturbed: dict[str, bytes], tally: Tally, tmp_path: Path, times: int
) -> None:
    """Of two; the command ends well, with the bytes of a run on this machine alone."""
    generator = random.Random(times)
    while tally.tried < times:
        runs, finished = tmp_path / str(tally.tried), generator.randrange(1, 40)
        local: Any = LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=2, threads_per_worker=1, processes=True, protocol="tcp", dashboard_address=":0"
        )
        with local as workers, tally.fault():
            victim = generator.choice([worker.pid for worker in workers.workers.values()])
            with after(runs, finished, lambda pid=victim: os.kill(pid, signal.SIGKILL)):  # type: ignore[misc]
                outcome = fusion(*arguments(cache, runs, "--scheduler", workers.scheduler_address))
            assert outcome.code == 0, outcome
            assert written(runs) == undisturbed


@pytest.mark.parametrize("times", [1, pytest.param(12, marks=pytest.mark.soak)])
def test_a_benchmark_is_killed_between_folds(
    cache: Path, undisturbed: dict[str, bytes], tally: Tally, tmp_path: Path, times: int
) -> None:
    """What was finished is kept; the same command does the rest, and ends with the same bytes."""
    generator = random.Random(times)
    while tally.tried < times:
        runs, finished = tmp_path / str(tally.tried), generator.randrange(1, 40)
        asked = arguments(cache, runs, "--executor", "loop")
        with tally.fault():
            command = Command(tmp_path, *asked, name="killed")
            with after(runs, finished, command.process.kill):
                assert command.wait() == -signal.SIGKILL, command.errors
            assert written(runs) == {}
            kept = pieces(runs)
            again = fusion(*asked)
            assert again.code == 0, again
            assert again.document["tasks"]["found"] >= kept >= finished
            assert written(runs) == undisturbed
