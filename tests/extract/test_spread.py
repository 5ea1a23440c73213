"""Extractions on a cluster of three worker processes on loopback: one store, the same bytes, whoever dies."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster

from fusion_pipeline.cluster import Cluster
from fusion_pipeline.errors import ClusterError, UnusableDataError
from fusion_pipeline.extract import spread
from fusion_pipeline.extract.index_target import IndexTarget
from fusion_pipeline.extract.options import Options
from fusion_pipeline.extract.run import Extraction, extract
from fusion_pipeline.extract.spread import Assignment, check_worker
from fusion_pipeline.images.index import list_image_folder
from fusion_pipeline.store import Cache
from fusion_pipeline.store.care.verify import verify_dataset
from tests.builders import Tiny, tree_bytes, write_picture
from tests.extract.made import contents, run

CHOSEN = Options(device="cpu", workers=2, partition_rows=4, batch_size=4)
N, WORKERS = 40, 3


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "flowers"
    for row in range(N):
        write_picture(folder / ("rose" if row % 2 else "iris") / f"{row:02}.png", seed=row, size=(50, 40))
    return folder


@pytest.fixture(scope="module")
def workers() -> Iterator[Any]:
    with LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=WORKERS, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as started:
        yield started


@pytest.fixture
def cluster(workers: Any) -> Iterator[Cluster]:
    workers.scale(WORKERS)
    with Cluster(workers.scheduler_address) as opened:
        yield opened


def run_on(cluster: Cluster, data: Path, cache: Path, *backbones: Tiny, **options: Any) -> Extraction:
    records = [tiny.backbone for tiny in backbones]
    return extract(list_image_folder(data), records, Cache(cache), replace(CHOSEN, **options), spread=cluster)


def pids(workers: Any) -> list[int]:
    return [worker.pid for worker in workers.workers.values() if worker.pid is not None]


def test_a_cluster_makes_the_same_bytes(cluster: Cluster, data: Path, tmp_path: Path, tiny_resnet: Tiny) -> None:
    alone = run(data, tmp_path / "alone", tiny_resnet)
    together = run_on(cluster, data, tmp_path / "together", tiny_resnet)
    assert contents(together) == contents(alone)
    assert [item.computed for item in (together.index, *together.backbones)] == [N, N]
    assert together.opens == N
    made, before = (found.backbones[0].store.manifest.made for found in (together, alone))
    assert (made["engine"], made["batch_size"], made["deviation"]) == (
        before["engine"],
        before["batch_size"],
        before["deviation"],
    )
    assert contents(run_on(cluster, data, tmp_path / "together", tiny_resnet)) == contents(alone)
    assert not list((tmp_path / "together" / "flowers" / "attempts").glob("*"))


def test_a_worker_that_is_killed_costs_its_partitions_in_flight(
    workers: Any, cluster: Cluster, data: Path, tmp_path: Path, tiny_resnet: Tiny, tiny_efficientnet: Tiny
) -> None:
    alone = run(data, tmp_path / "alone", tiny_resnet, tiny_efficientnet)
    cache = tmp_path / "together"
    done = cache / "flowers" / "attempts"
    in_time: list[bool] = []

    def kill_one() -> None:
        deadline = time.monotonic() + 120
        while len(list(done.glob("*/done/*"))) < 6 and time.monotonic() < deadline:
            time.sleep(0.005)
        os.kill(pids(workers)[0], signal.SIGKILL)
        in_time.append(not list(cache.glob("flowers/*/manifest.json")))

    killer = threading.Thread(target=kill_one)
    killer.start()
    together = run_on(cluster, data, cache, tiny_resnet, tiny_efficientnet)
    killer.join()
    assert in_time == [True]
    assert contents(together) == contents(alone)
    assert [damage for report in verify_dataset(Cache(cache)["flowers"]) for damage in report.damage] == []


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


def test_a_stopped_run_is_gone_on_with(cluster: Cluster, data: Path, tmp_path: Path, tiny_resnet: Tiny) -> None:
    class StoppedError(Exception):
        pass

    seen = 0

    class Stopping:
        def map(self, *arguments: Any) -> Iterator[Any]:
            nonlocal seen
            for item in cluster.map(*arguments):
                seen += 1
                if seen > 5:
                    raise StoppedError
                yield item

        everywhere = cluster.everywhere

    records = [tiny_resnet.backbone]
    with pytest.raises(StoppedError):
        extract(list_image_folder(data), records, Cache(tmp_path), CHOSEN, spread=Stopping())
    left = tree_bytes(tmp_path)
    assert len([path for path in left if "/done/" in path]) >= 10  # index and backbone
    again = run_on(cluster, data, tmp_path, tiny_resnet)
    assert again.backbones[0].computed <= N - 5 * 4
    assert contents(again) == contents(run(data, tmp_path / "alone", tiny_resnet))


def assignment(data: Path, tmp_path: Path, tiny: Tiny, **changes: Any) -> Assignment:
    values = {
        "folder": list_image_folder(data),
        "backbones": (tiny.backbone,),
        "cache": str(tmp_path),
        "single_writer": False,
        "options": CHOSEN,
        "wanted": {},
        "token": "one",
        **changes,
    }
    return Assignment(**values)


def test_a_worker_with_another_version_is_refused(data: Path, tmp_path: Path, tiny_resnet: Tiny) -> None:
    with pytest.raises(ClusterError, match=r"has fusion-pipeline .*, this machine 0\.0\.7\. Install the same"):
        check_worker(assignment(data, tmp_path, tiny_resnet, version="0.0.7"))


def test_a_worker_without_the_images_is_refused(data: Path, tmp_path: Path, tiny_resnet: Tiny) -> None:
    folder = replace(list_image_folder(data), root=tmp_path / "elsewhere")
    with pytest.raises(ClusterError, match=r"does not see the images at .*elsewhere"):
        check_worker(assignment(data, tmp_path, tiny_resnet, folder=folder))


def test_a_worker_that_would_make_other_features_is_refused(data: Path, tmp_path: Path, tiny_resnet: Tiny) -> None:
    wanted = {tiny_resnet.name: {"kind": "backbone", "weights": "others"}}
    with pytest.raises(ClusterError, match=f"would make '{tiny_resnet.name}' otherwise: .*weights"):
        spread._WorkerPasses(assignment(data, tmp_path, tiny_resnet, wanted=wanted))


def test_a_worker_with_a_cache_of_its_own_is_refused(data: Path, tmp_path: Path, tiny_resnet: Tiny) -> None:
    folder = list_image_folder(data)
    wanted = {"index": dict(IndexTarget(folder, CHOSEN.budget).recipe)}
    with pytest.raises(ClusterError, match="does not see the others in the cache"):
        spread._WorkerPasses(assignment(data, tmp_path, tiny_resnet, wanted=wanted, backbones=()))
