"""Executors: the same calls give the same results, in the order of their needs, wherever they run."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from fusion_pipeline.errors import ClusterError, UnusableDataError, UsageError
from fusion_pipeline.executors import DaskExecutor, Executor, LoopExecutor, available_cores, make_executor

ALL = ["loop", "threads", "processes"]


def add(first: int, second: int) -> int:
    return first + second


def fail(_: object) -> None:
    raise UnusableDataError("Class 'rose' has 1 image.")


def die(_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def process_id() -> int:
    return os.getpid()


inherited = False


def inherits() -> bool:
    return inherited


def blas_threads(_: object) -> set[int]:
    np.ones((2, 2)) @ np.ones((2, 2))
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def leave_a_mark(path: Path) -> str:
    with path.open("a") as stream:
        stream.write("x")
    return path.name


def chain(executor: Executor) -> tuple[list[int], list[int]]:
    seen: list[int] = []
    one = executor.submit(add, 0, 1)
    two = executor.submit(add, one, one)
    return executor.gather([executor.submit(add, two, one), one], seen.append), seen


@pytest.mark.parametrize("name", ALL)
def test_results_feed_other_calls_and_progress_counts_every_call(name: str) -> None:
    assert chain(make_executor(name, 2)) == ([3, 1], [1, 2, 3])


@pytest.mark.parametrize("name", ["loop", "threads"])
def test_a_call_that_two_others_wait_for_runs_once(name: str, tmp_path: Path) -> None:
    executor = make_executor(name, 2)
    mark = executor.submit(leave_a_mark, tmp_path / "mark")
    assert executor.gather([executor.submit(len, mark), executor.submit(str.upper, mark), mark]) == [4, "MARK", "mark"]
    assert (tmp_path / "mark").read_text() == "x"


@pytest.mark.parametrize("name", ALL)
def test_an_error_arrives_as_it_was_raised(name: str) -> None:
    executor = make_executor(name, 1)
    with pytest.raises(UnusableDataError) as caught:
        executor.gather([executor.submit(fail, 0)])
    assert str(caught.value) == "Class 'rose' has 1 image."
    assert type(caught.value) is UnusableDataError


def test_a_dead_worker_names_its_task() -> None:
    executor = DaskExecutor(workers=1)
    fine = executor.submit(add, 1, 1, name="expert xception, fold 1 of 2")
    with pytest.raises(ClusterError, match=r"while it ran 'expert xception, fold 2 of 2'") as caught:
        executor.gather([fine, executor.submit(die, fine, name="expert xception, fold 2 of 2")])
    assert caught.value.exit_code == 18


def test_processes_are_other_processes_and_threads_are_not() -> None:
    for kind, elsewhere in (("processes", True), ("threads", False)):
        executor = make_executor(kind, 1)
        assert (executor.gather([executor.submit(process_id)])[0] != os.getpid()) is elsewhere


@pytest.mark.parametrize("name", ["loop", "threads"])
def test_nothing_to_do_is_done(name: str) -> None:
    assert make_executor(name).gather([]) == []


def test_arguments_are_passed_as_they_are() -> None:
    executor = make_executor("threads", 1)
    # A string like the name of another call must stay a string.
    named = executor.submit(add, 1, 1, name="one")
    assert executor.gather([named, executor.submit(str.upper, "0: one"), executor.submit(sorted, [2, 1])])[1:] == [
        "0: ONE",
        [1, 2],
    ]


def test_unknown_executors_and_no_workers_are_refused() -> None:
    with pytest.raises(UsageError, match="Did you mean 'processes'"):
        make_executor("process")
    with pytest.raises(UsageError, match="at least 1"):
        make_executor("loop", 0)


def test_the_loop_needs_no_choice_of_cores() -> None:
    assert isinstance(make_executor("loop", 3), LoopExecutor)
    assert available_cores() >= 1


def test_processes_inherit_nothing_from_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "inherited", True)
    for kind, copies in (("processes", False), ("threads", True)):
        executor = make_executor(kind, 1)
        assert executor.gather([executor.submit(inherits)]) == [copies]


def test_calls_in_threads_have_one_blas_thread_each() -> None:
    with threadpool_limits(2):
        assert blas_threads(None) == {2}
        executor = make_executor("threads", 2)
        assert executor.gather([executor.submit(blas_threads, number) for number in range(4)]) == [{1}] * 4
        assert blas_threads(None) == {2}
