"""Extractions whose partitions others make: in this process for what they tell, on Dask clusters for how they end."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster

from fusion_pipeline.cluster import Cluster
from fusion_pipeline.errors import ClusterError, UnusableDataError, UsageError
from fusion_pipeline.extract import backbone_target, passes, targets
from fusion_pipeline.extract.cluster.assignment import Assignment
from fusion_pipeline.extract.cluster.station import Station
from fusion_pipeline.extract.cluster.worker import Worker
from fusion_pipeline.extract.options import Options
from fusion_pipeline.extract.run import Extraction, extract
from fusion_pipeline.images.index import list_image_folder
from fusion_pipeline.store import Cache
from fusion_pipeline.store.care.verify import verify_dataset
from tests import calls
from tests.builders import Tiny, tree_bytes, write_picture
from tests.extract.made import contents, run

CHOSEN = Options(device="cpu", workers=2, partition_rows=4, batch_size=4)
N = 40

Change = Callable[[Any], Any]


class Here:
    """Makes calls one after the other in this process; what they are told and tell is pickled, as on the way elsewhere.

    Parameters
    ----------
    told, tells : callable, optional
        Change the assignment, and what a call returns.
    around : callable, optional
        The context in which each call is made.
    """

    def __init__(self, told: Change | None = None, tells: Change | None = None, around: Any = None) -> None:
        self._told = told or (lambda assignment: assignment)
        self._tells = tells or (lambda done: done)
        self._around: Callable[[], AbstractContextManager[Any]] = around or threading.Lock

    def map(self, function: Any, shared: Any, items: Any, _names: Any) -> Iterator[tuple[int, Any]]:
        for item in items:
            with self._around():
                done = function(pickle.loads(pickle.dumps(self._told(shared))), item)
            yield item, self._tells(pickle.loads(pickle.dumps(done)))

    def everywhere(self, function: Any, *arguments: Any) -> None:
        asyncio.run(function(*arguments))


@pytest.fixture(autouse=True)
def _no_stations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget those that other tests left: where the scheduler is lost, nobody can tell them to leave."""
    monkeypatch.setattr(Station, "_all", {})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "flowers"
    for row in range(N):
        write_picture(folder / ("rose" if row % 2 else "iris") / f"{row:02}.png", seed=row, size=(50, 40))
    return folder


def started(workers: int, *, processes: bool = False) -> Any:
    return LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=workers, threads_per_worker=1, processes=processes, protocol="tcp", dashboard_address=":0"
    )


@pytest.fixture(scope="module")
def workers() -> Iterator[Any]:
    with started(2) as workers:
        yield workers


@pytest.fixture
def cluster(workers: Any) -> Iterator[Cluster]:
    with Cluster(workers.scheduler_address) as opened:
        yield opened


def run_on(spread: Any, data: Path, cache: Path, *backbones: Tiny, **options: Any) -> Extraction:
    records = [tiny.backbone for tiny in backbones]
    return extract(list_image_folder(data), records, Cache(cache), replace(CHOSEN, **options), spread=spread)


def after(partitions: int, then: Callable[[], object]) -> Any:
    """Return what shows the progress of a run: it does something after some partitions."""

    def progress(_description: str, _images: int) -> Any:
        done = iter(range(1, N))

        def advance(_images: int) -> None:
            if next(done) == partitions:
                then()

        return passes.nullcontext(advance)

    return progress


def test_a_cluster_makes_the_same_bytes(cluster: Cluster, data: Path, tmp_path: Path, tiny_resnet: Tiny) -> None:
    alone = run(data, tmp_path / "alone", tiny_resnet)
    together = run_on(cluster, data, tmp_path / "together", tiny_resnet)
    assert contents(together) == contents(alone)
    assert [item.computed for item in (together.index, *together.backbones)] == [N, N]
    assert together.opens == N
    made, before = (dict(found.backbones[0].store.manifest.made) for found in (together, alone))
    assert made.pop("created") != before.pop("created")
    assert made == before
    assert contents(run_on(cluster, data, tmp_path / "together", tiny_resnet)) == contents(alone)
    assert not list((tmp_path / "together" / "flowers" / "attempts").glob("*"))
    assert not Station._all


@pytest.mark.parametrize("workers", [1, 3])
def test_a_worker_is_killed(
    data: Path, tmp_path: Path, tiny_resnet: Tiny, tiny_efficientnet: Tiny, workers: int
) -> None:
    """Of several, or the only one."""
    records = [tiny_resnet.backbone, tiny_efficientnet.backbone]
    cache = Cache(tmp_path / "together")
    with started(workers, processes=True) as local, Cluster(local.scheduler_address) as cluster:
        victim, *others = (worker.pid for worker in local.workers.values())
        assert len(others) == workers - 1
        progress = after(3, lambda: os.kill(victim, signal.SIGKILL))
        together = extract(list_image_folder(data), records, cache, CHOSEN, progress, spread=cluster)
        assert victim not in [worker.pid for worker in local.workers.values()]
    assert contents(together) == contents(run(data, tmp_path / "alone", tiny_resnet, tiny_efficientnet))
    assert [damage for report in verify_dataset(cache["flowers"]) for damage in report.damage] == []


def test_after_a_lost_scheduler_the_same_call_goes_on(data: Path, tmp_path: Path, tiny_resnet: Tiny) -> None:
    records, cache = [tiny_resnet.backbone], Cache(tmp_path / "cache")
    with started(1) as workers, Cluster(workers.scheduler_address) as cluster:
        progress = after(5, workers.close)
        with pytest.raises(ClusterError, match=r"scheduler at .* was lost .* run the same command again"):
            extract(list_image_folder(data), records, cache, CHOSEN, progress, spread=cluster)
    assert len([path for path in tree_bytes(tmp_path / "cache") if "/done/" in path]) >= 10  # index and backbone
    again = run(data, tmp_path / "cache", tiny_resnet)
    assert again.backbones[0].computed <= N - 5 * 4
    assert contents(again) == contents(run(data, tmp_path / "alone", tiny_resnet))


def test_who_interrupts_need_not_wait_for_partitions(
    cluster: Cluster, data: Path, tmp_path: Path, tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    true, begun, go_on, interrupted = Worker.work_on, iter(range(N)), threading.Event(), []

    def slow(self: Worker, number: int) -> Any:
        if next(begun) >= 5:
            go_on.wait(60)
        return true(self, number)

    def interrupt() -> None:
        interrupted.append(time.monotonic())
        raise KeyboardInterrupt

    monkeypatch.setattr(Worker, "work_on", slow)
    records, cache = [tiny_resnet.backbone], Cache(tmp_path / "cache")
    try:
        with pytest.raises(KeyboardInterrupt):
            extract(list_image_folder(data), records, cache, CHOSEN, after(5, interrupt), spread=cluster)
        cluster.everywhere(calls.touch, str(tmp_path / "answered"))
        assert time.monotonic() - interrupted[0] < 5
        assert (tmp_path / "answered").exists()
    finally:
        go_on.set()
    deadline = time.monotonic() + 30
    while Station._all and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Station._all
    again = run_on(cluster, data, tmp_path / "cache", tiny_resnet)
    assert again.backbones[0].computed <= N - 5 * 4
    assert contents(again) == contents(run(data, tmp_path / "alone", tiny_resnet))


def test_two_extractions_on_one_cluster(
    workers: Any, data: Path, tmp_path: Path, tiny_resnet: Tiny, tiny_efficientnet: Tiny
) -> None:
    backbones, ended = {"a": tiny_resnet, "b": tiny_efficientnet}, {}

    def one(name: str) -> None:
        with Cluster(workers.scheduler_address) as cluster:
            ended[name] = run_on(cluster, data, tmp_path / name, backbones[name])

    threads = [threading.Thread(target=one, args=(name,)) for name in backbones]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, tiny in backbones.items():
        assert contents(ended[name]) == contents(run(data, tmp_path / "alone", tiny))


def test_bad_images_are_named(cluster: Cluster, data: Path, tmp_path: Path, tiny_resnet: Tiny) -> None:
    for source in sorted(data.rglob("*.png"))[:8]:
        target = tmp_path / "spoilt" / source.relative_to(data)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"" if source.name == "04.png" else source.read_bytes())
    (tmp_path / "spoilt" / "rose").mkdir(exist_ok=True)
    write_picture(tmp_path / "spoilt" / "rose" / "x.png", seed=99, size=(50, 40))
    with pytest.raises(UnusableDataError, match=r"1 of 9 images cannot be used(.|\n)*iris/04\.png: empty file"):
        run_on(cluster, tmp_path / "spoilt", tmp_path / "cache", tiny_resnet)
    skipped = run_on(cluster, tmp_path / "spoilt", tmp_path / "cache", tiny_resnet, on_bad="skip")
    assert list(skipped.bad) == ["iris/04.png"]


def test_what_held_the_workers_back(data: Path, tmp_path: Path, tiny_resnet: Tiny) -> None:
    """Two workers of three threads each take turns; they are told apart by name."""
    turns = iter(range(N))

    def tells(done: Any) -> Any:
        done.meter.seconds = {"decode": 3.0, "forward": 4.0}
        done.meter.duration = 5.0
        return replace(
            done, maker=replace(done.maker, name=f"worker {next(turns) % 2}", decoders=3, readers=3, device="cuda")
        )

    verdict = run_on(Here(tells=tells), data, tmp_path, tiny_resnet).verdict
    calls_made = N // CHOSEN.partition_rows
    assert verdict.seconds == pytest.approx(5.0 * calls_made / 2, abs=0.1)
    assert verdict.stages["decode"].share == pytest.approx(3.0 / 5.0 / 3, abs=0.01)
    assert verdict.stages["forward"].share == pytest.approx(4.0 / 5.0, abs=0.01)
    assert verdict.limits["forward"] == pytest.approx(N / (4.0 * calls_made / 2), rel=0.01)
    assert verdict.text == "forward held it back: busy 80 % of the time. --precision float16 would help most."


def test_a_call_tells_how_long_it_took(data: Path, tmp_path: Path, tiny_resnet: Tiny) -> None:
    took = []

    def tells(done: Any) -> Any:
        took.append(done.meter)
        return done

    verdict = run_on(Here(tells=tells), data, tmp_path, tiny_resnet).verdict
    assert all(0 < meter.seconds["forward"] < meter.duration for meter in took)
    assert verdict.seconds == pytest.approx(sum(meter.duration for meter in took), abs=0.1)
    assert all(0 < stage.share <= 1 for stage in verdict.stages.values())


def test_the_manifest_tells_of_who_made_the_rows(
    data: Path, tmp_path: Path, tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = threading.Lock()
    monkeypatch.setattr(
        passes,
        "describe_device",
        lambda _: {"device": "H100"} if elsewhere.locked() else {"device": "cpu", "threads": 2},
    )
    deviations = iter([1e-4, 3e-4, 2e-4] * N)

    def tells(done: Any) -> Any:
        return replace(done, measured={tiny_resnet.name: {"deviation": next(deviations), "batch_drift": 1e-5}})

    found = run_on(Here(around=lambda: elsewhere, tells=tells), data, tmp_path, tiny_resnet)
    for item in (found.index, *found.backbones):
        made = item.store.manifest.made
        assert made["device"] == "H100"
        assert not {"threads", "also_made_with"} & {*made}
    assert (made["deviation"], made["batch_drift"]) == (3e-4, 1e-5)
    assert (made["engine"], made["batch_size"]) == ("eager", 4)


def test_all_take_the_engine_that_the_whole_work_is_worth(
    data: Path, tmp_path: Path, tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    true, elsewhere, plans = backbone_target.choose_engine, threading.Lock(), []

    def choose(*arguments: Any, **named: Any) -> Any:
        plans.append(arguments[3])
        return true(*arguments[:3], replace(arguments[3], engine="eager"), **named)

    # What this machine finds, others would not, with another number of threads.
    monkeypatch.setattr(backbone_target, "is_worth_compiling", lambda _cost, _images: not elsewhere.locked())
    monkeypatch.setattr(backbone_target, "choose_engine", choose)
    run_on(Here(around=lambda: elsewhere), data, tmp_path, tiny_resnet)
    assert [(plan.engine, plan.worth_compiling) for plan in plans] == [("auto", True)]


def test_workers_compare_only_the_partitions_that_they_are_given(
    data: Path, tmp_path: Path, tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    true, elsewhere, opened = targets.Attempt.open, threading.Lock(), []

    def note(*arguments: Any, compare_when_asked: bool, **named: Any) -> Any:
        opened.append((elsewhere.locked(), compare_when_asked))
        return true(*arguments, compare_when_asked=compare_when_asked, **named)

    monkeypatch.setattr(targets.Attempt, "open", note)
    run_on(Here(around=lambda: elsewhere), data, tmp_path, tiny_resnet)
    assert opened == [(False, False)] * 2 + [(True, True)] * 2  # index and backbone, here and there


def test_only_the_workers_need_the_device(data: Path, tmp_path: Path, tiny_resnet: Tiny) -> None:
    asked = []

    def told(assignment: Assignment) -> Assignment:
        asked.append(assignment.options.device)
        return replace(assignment, options=CHOSEN)

    found = run_on(Here(told), data, tmp_path / "together", tiny_resnet, device="cuda:7")
    assert {*asked} == {"cuda:7"}
    assert contents(found) == contents(run(data, tmp_path / "alone", tiny_resnet))
    with pytest.raises(ClusterError, match=r"Worker .* cannot begin: Device 'cuda:7' is not on this machine"):
        run_on(Here(), data, tmp_path / "none", tiny_resnet, device="cuda:7")


def test_weights_may_be_named_from_here(
    data: Path, tmp_path: Path, tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tiny_resnet.weights.parent)
    record = replace(tiny_resnet.backbone, weights=tiny_resnet.weights.name)
    spread = Here(around=lambda: chdir(tmp_path / "elsewhere"))
    found = extract(list_image_folder(data), [record], Cache(tmp_path / "cache"), CHOSEN, spread=spread)
    assert found.backbones[0].computed == N


def test_a_single_writer_has_no_workers(data: Path, tmp_path: Path, tiny_resnet: Tiny) -> None:
    cache = Cache(tmp_path, single_writer=True)
    with pytest.raises(UsageError, match="--single-writer and --scheduler exclude each other"):
        extract(list_image_folder(data), [tiny_resnet.backbone], cache, CHOSEN, spread=Here())
