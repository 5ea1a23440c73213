"""Calls on the workers of small Dask clusters on loopback: in processes where one has to die, in threads else."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, Future, LocalCluster

from fusion_pipeline import cluster as cluster_module
from fusion_pipeline.cluster import Cluster, check_address
from fusion_pipeline.cluster import calls as calls_module
from fusion_pipeline.errors import ClusterError, RefusedError, UsageError
from tests import calls

N = 24


def started(workers: int, *, processes: bool = False, **options: Any) -> Any:
    return LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=workers,
        threads_per_worker=1,
        processes=processes,
        protocol="tcp",
        dashboard_address=":0",
        **options,
    )


def names(count: int) -> list[str]:
    return [f"Call {number}" for number in range(count)]


def run(cluster: Cluster, at_third: Callable[[], object]) -> None:
    """Make calls on a cluster; do something in the midst of them."""
    for number, _ in cluster.map(calls.rest, 0.2, range(N), names(N)):
        if number == 2:
            at_third()


@pytest.fixture(scope="module")
def one() -> Iterator[Any]:
    with started(1, processes=True) as workers:
        yield workers


@pytest.fixture
def threads() -> Iterator[Any]:
    with started(2, resources={"GPU": 1, "MEM": 4}) as workers:
        yield workers


def test_a_worker_that_is_killed_costs_its_calls_in_flight(tmp_path: Path) -> None:
    log = tmp_path / "log"
    seen: Counter[int] = Counter()
    victim = 0
    with started(2, processes=True) as workers, Cluster(workers.scheduler_address) as cluster:
        for number, result in cluster.map(calls.note, str(log), range(N), names(N)):
            assert number == result
            seen[number] += 1
            if not victim and sum(seen.values()) >= N // 2 and len({pid for _, pid in calls.noted(log)}) == 2:
                victim = calls.noted(log)[0][1]
                os.kill(victim, signal.SIGKILL)
    assert victim
    assert seen == Counter(range(N))
    assert len(calls.noted(log)) <= N + 2  # what it was at, and what it had just finished


def test_the_only_worker_is_killed(one: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    seen = []
    with Cluster(one.scheduler_address) as cluster:
        for number, _ in cluster.map(calls.note, str(log), range(8), names(8)):
            seen.append(number)
            if len(seen) == 3:
                os.kill(calls.noted(log)[0][1], signal.SIGKILL)
    assert sorted(seen) == list(range(8))
    assert len({pid for _, pid in calls.noted(log)}) == 2


def test_a_call_that_kills_its_worker_is_named(one: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one.scheduler, "allowed_failures", 0)
    with (
        Cluster(one.scheduler_address) as cluster,
        pytest.raises(ClusterError, match=r"Call 3 was lost with its worker 1 times"),
    ):
        list(cluster.map(calls.die, None, range(4), names(4)))


def test_what_a_call_raises(threads: Any) -> None:
    with Cluster(threads.scheduler_address) as cluster, pytest.raises(ArithmeticError, match="number 0"):
        list(cluster.map(calls.fail, None, [0], names(1)))


def test_neither_side_holds_more_than_workers_are_at(threads: Any) -> None:
    with Cluster(threads.scheduler_address) as cluster:
        done = cluster.map(calls.rest, 0.0, range(N), names(N))
        held = [(len(cluster.client.futures), len(threads.scheduler.tasks)) for _ in done]
    assert len(held) == N
    assert max(futures for futures, _ in held) <= 2 * 2 + 1  # two calls for each of two threads, and what they share
    assert held[-1][0] <= 2
    assert max(tasks for _, tasks in held) < N / 2


def test_a_scheduler_that_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    with started(1) as workers:
        with (
            Cluster(workers.scheduler_address) as cluster,
            pytest.raises(ClusterError, match=r"The scheduler at .* was lost .*run the same command again"),
        ):
            run(cluster, workers.close)
        began = time.monotonic()
        cluster.everywhere(calls.sleep, 30.0)
        assert time.monotonic() - began < 1
    assert [record for record in caplog.records if record.name == "distributed.client" and record.levelno >= 40] == []


def test_calls_that_somebody_cancelled(threads: Any) -> None:
    with (
        Cluster(threads.scheduler_address) as cluster,
        Client(threads.scheduler_address, set_as_default=False) as other,  # type: ignore[no-untyped-call]
        pytest.raises(ClusterError, match="dropped the calls: somebody restarted it, or cancelled them"),
    ):
        run(cluster, lambda: other.cancel([Future(key, other) for key in cluster.client.futures], force=True))


def test_workers_that_never_come_back(threads: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls_module, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(calls_module, "LOOK_SECONDS", 0.1)
    with (
        Cluster(threads.scheduler_address) as cluster,
        pytest.raises(ClusterError, match="No worker has been there for"),
    ):
        run(cluster, lambda: threads.scale(0))


def test_a_function_is_called_everywhere(threads: Any, tmp_path: Path) -> None:
    with Cluster(threads.scheduler_address) as cluster:
        cluster.everywhere(calls.touch, str(tmp_path / "here"))
    assert (tmp_path / "here").exists()


def test_who_does_not_answer_is_not_waited_for(threads: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "EVERYWHERE_SECONDS", 0.2)
    with Cluster(threads.scheduler_address) as cluster:
        began = time.monotonic()
        cluster.everywhere(calls.sleep, 30.0)
        assert time.monotonic() - began < 5


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "CONNECT_SECONDS", 2)
    with pytest.raises(ClusterError, match=r"No scheduler answers at 'tcp://127\.0\.0\.1:1'.*'dask scheduler'"):
        Cluster("tcp://127.0.0.1:1")


def test_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "CONNECT_SECONDS", 1)
    with started(0) as empty, pytest.raises(ClusterError, match=r"has no workers\. Start some .* --nthreads 1"):
        Cluster(empty.scheduler_address)


def test_a_worker_must_have_all_resources(threads: Any) -> None:
    threads.scheduler.add_resources(worker=next(iter(threads.scheduler.workers)), resources={"GPU": 1, "TPU": 1})
    with Cluster(threads.scheduler_address, resources={"GPU": 1, "MEM": 4}):
        pass
    for wanted, told in (({"MEM": 5}, "MEM=5"), ({"GPU": 2, "TPU": 1}, "GPU=2 TPU=1"), ({"DISK": 1}, "DISK=1")):
        with pytest.raises(ClusterError, match=f"No worker of .* the resources {told}.*--resources"):
            Cluster(threads.scheduler_address, resources=wanted)


@pytest.mark.parametrize("address", ["", "8786", "http://127.0.0.1:8786", "tcp://127.0.0.1", "tcp://127.0.0.1:x"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(UsageError, match="is no scheduler"):
        check_address(address)


def test_a_scheduler_elsewhere_needs_tls() -> None:
    for here in ("tcp://localhost:1", "tcp://127.0.0.9:1", "tcp://[::1]:1"):
        check_address(here)
    for there in ("tcp://10.0.0.7:8786", "tcp://scheduler.example:8786"):
        with pytest.raises(RefusedError, match="not encrypted"):
            check_address(there)
        check_address(there, insecure=True)
    with pytest.raises(UsageError, match="needs --tls-ca"):
        check_address("tls://10.0.0.7:8786")
    check_address("tls://10.0.0.7:8786", has_tls=True)
