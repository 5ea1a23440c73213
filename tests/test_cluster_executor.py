"""Calls that wait for others, on the workers of small Dask clusters on loopback."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dask import config
from distributed import LocalCluster

from fusion_pipeline.cluster import Cluster
from fusion_pipeline.cluster.executor import ClusterExecutor
from fusion_pipeline.errors import ClusterError, UnusableDataError
from fusion_pipeline.executors import describe
from tests import calls


def started(workers: int, *, processes: bool = False) -> Any:
    return LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=workers, threads_per_worker=1, processes=processes, protocol="tcp", dashboard_address=":0"
    )


@pytest.fixture
def executor() -> Iterator[ClusterExecutor]:
    with started(2) as workers, Cluster(workers.scheduler_address) as cluster:
        yield ClusterExecutor(cluster)


def fail(_: object) -> None:
    raise UnusableDataError("Class 'rose' has 1 image.")


def die(_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_results_feed_other_calls(executor: ClusterExecutor) -> None:
    seen: list[int] = []
    told: dict[str, int] = {}
    one = executor.submit(max, 0, 1, name="one")
    two = executor.submit(sum, [1, 1], name="two")
    power = executor.submit(pow, two, one, name="power")
    found = executor.gather([power, one], seen.append, lambda call, result: told.update({call.name: result}))
    assert found == [2, 1]
    assert seen == [1, 2, 3]
    assert told == {"one": 1, "two": 2, "power": 2}


def test_an_error_arrives_as_it_was_raised(executor: ClusterExecutor) -> None:
    with pytest.raises(UnusableDataError, match="Class 'rose' has 1 image"):
        executor.gather([executor.submit(fail, executor.submit(max, 1, 2))])


def test_nothing_to_do_is_done(executor: ClusterExecutor) -> None:
    assert executor.gather([]) == []


def test_a_worker_that_is_killed_costs_what_it_held(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with started(2, processes=True) as workers, Cluster(workers.scheduler_address) as cluster:
        executor = ClusterExecutor(cluster)
        first = [executor.submit(calls.note, str(log), number) for number in range(12)]
        last = executor.submit(_total, *first)
        victims: list[int] = []

        def found(_call: object, _result: object) -> None:
            if not victims and len({pid for _, pid in calls.noted(log)}) == 2:
                victims.append(calls.noted(log)[0][1])
                os.kill(victims[0], signal.SIGKILL)

        assert executor.gather([last], found=found) == [sum(range(12))]
    assert victims


def test_a_call_that_kills_its_workers_is_named() -> None:
    with (
        config.set({"distributed.scheduler.allowed-failures": 0}),
        started(1, processes=True) as workers,
        Cluster(workers.scheduler_address) as cluster,
        pytest.raises(ClusterError, match=r"expert xception, fold 1 was lost with its worker 1 times"),
    ):
        ClusterExecutor(cluster).gather([describe(die, (0,), "expert xception, fold 1")])


def _total(*numbers: int) -> int:
    return sum(numbers)
