"""The simulation of a cluster agrees with what can be worked out by hand."""

from __future__ import annotations

import importlib.util
import math
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


cluster = load("scale_cluster")
PLAN = cluster.ClusterPlan(images=64_000, partition_rows=500, workers=8, rate=100.0)


@pytest.mark.parametrize(("workers", "rounds"), [(1, 128), (8, 16), (100, 2), (128, 1), (500, 1)])
def test_without_failures_it_takes_whole_rounds(workers: int, rounds: int) -> None:
    run = cluster.simulate(replace(PLAN, workers=workers, overhead=1.0))
    assert run.seconds == pytest.approx(rounds * (500 / 100 + 1.0))
    assert (run.lost, run.deaths, run.stops) == (0, 0, False)


def test_workers_without_a_partition_in_the_last_round_are_idle() -> None:
    run = cluster.simulate(replace(PLAN, workers=100))
    assert run.idle == pytest.approx(72 / 200)  # 28 of 100 have work in the second of two rounds


def test_the_last_partition_may_be_shorter() -> None:
    run = cluster.simulate(replace(PLAN, images=64_050, workers=1))
    assert run.seconds == pytest.approx(640.5)


def test_storage_that_is_too_narrow_sets_the_pace() -> None:
    run = cluster.simulate(replace(PLAN, bytes_per_image=1e5, bandwidth=2e7))
    assert run.seconds == pytest.approx(64_000 * 1e5 / 2e7)
    assert run.waited > 0.5
    wide = cluster.simulate(replace(PLAN, bytes_per_image=1e5, bandwidth=1e12))
    assert wide.seconds == pytest.approx(80, rel=0.001)


def test_what_a_failure_costs() -> None:
    """A worker dies in the first partition only: the other takes it on once that is noticed and the lease lapsed."""
    plan = replace(PLAN, images=1_000, workers=2, noticed=7.0, lease=2.0, away=1e6)
    seeds = (replace(plan, between_failures=20.0, seed=seed) for seed in range(200))
    run = next(run for run in map(cluster.simulate, seeds) if run.deaths == 1)
    died = 10.0 * run.lost / (1 - run.lost)  # the share of all computing, of which 10 s were not in vain
    assert 0 < died < 5
    assert run.seconds == pytest.approx(died + 7.0 + 2.0 + 5.0)


def test_larger_partitions_lose_more_work() -> None:
    """A life of mean m loses m (exp(t / m) - 1) - t seconds for each partition of t seconds that gets done."""
    for rows in (500, 2_000, 8_000):
        plan = replace(PLAN, images=16_000_000, workers=16, partition_rows=rows, between_failures=400.0)
        life = 400.0 * math.expm1(rows / 100 / 400.0)
        assert cluster.simulate(plan).lost == pytest.approx(1 - rows / 100 / life, rel=0.15)


def test_a_partition_that_no_worker_survives_stops_the_run() -> None:
    plan = replace(PLAN, images=16_000, partition_rows=4_000, between_failures=25.0)
    assert cluster.simulate(plan).stops
    assert not cluster.simulate(replace(plan, between_failures=25_000.0)).stops


def test_who_comes_back_checks_what_is_finished() -> None:
    plan = replace(PLAN, images=6_400_000, between_failures=400.0, away=1.0)
    quick = cluster.simulate(plan)
    slow = cluster.simulate(replace(plan, checked_bytes=1e5, read_rate=1e9))
    assert slow.seconds > 1.05 * quick.seconds
    assert slow.waited > quick.waited


def test_a_seed_makes_it_the_same_again() -> None:
    plan = replace(PLAN, between_failures=100.0, seed=3)
    assert cluster.simulate(plan) == cluster.simulate(plan)
    assert cluster.simulate(plan) != cluster.simulate(replace(plan, seed=4))
