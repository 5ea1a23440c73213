"""Row 6: two extractions and a training meet in one cache."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusion_pipeline.store import Cache
from tests.faults.before import Variables
from tests.faults.desk import DATASET, ONE, Desk, check_shared, failure, wait_until
from tests.faults.tally import Tally
from tests.servers import BUCKET, seaweedfs, variables


@pytest.fixture(scope="module")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Variables]:
    """An S3 server that keeps conditions, as processes find it."""
    with seaweedfs(tmp_path_factory.mktemp("seaweed")) as server:
        yield Variables(variables(server.endpoint))


@pytest.mark.parametrize("times", [1, pytest.param(15, marks=pytest.mark.soak)])
def test_one_backbone_twice_in_a_folder(desk: Desk, tally: Tally, tmp_path: Path, times: int) -> None:
    shared = []
    for number in range(times):
        cache = tmp_path / f"cache-{number}"
        with tally.fault():
            shared.append(check_shared(desk, [desk.start(cache, *ONE, name=name) for name in ("one", "two")]))
            desk.check_whole(cache)
            assert list((cache / DATASET / "attempts").iterdir()) == []
    assert times == 1 or any(shared)


@pytest.mark.soak
@pytest.mark.parametrize("times", [10])
def test_one_backbone_twice_on_s3(desk: Desk, tally: Tally, seaweed: Variables, times: int) -> None:
    shared = []
    for number in range(times):
        cache = f"s3://{BUCKET}/together-{number}"
        with tally.fault():
            commands = [desk.start(cache, *ONE, before=[seaweed], name=name) for name in ("one", "two")]
            shared.append(check_shared(desk, commands))
            desk.check_whole(cache, before=[seaweed])
    assert any(shared)


@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.soak)])
def test_two_backbones(desk: Desk, tally: Tally, tmp_path: Path, times: int) -> None:
    for number in range(times):
        cache = tmp_path / f"cache-{number}"
        with tally.fault():
            names = ("small_resnet", "small_efficientnet")
            check_shared(desk, [desk.start(cache, "--backbone", name, name=name) for name in names])
            desk.check_whole(cache)
            assert {store.name for store in Cache(cache)[DATASET].stores()} == {"index", *names}


def test_training_during_an_extraction(desk: Desk, tally: Tally, tmp_path: Path) -> None:
    """What is not finished is not there: training says what is missing."""
    cache = tmp_path / "cache"
    desk.extract(cache, *ONE)
    train = ("train", "--cache", str(cache), "--gate", "average", "--executor", "loop", "--runs", str(tmp_path))
    with tally.fault():
        extraction = desk.start(cache, name="extraction")
        wait_until(lambda: list(cache.glob(f"{DATASET}/attempts/small_efficientnet-*/done/*.json")), extraction)
        extraction.send(signal.SIGSTOP)
        line = failure(desk.command(*train), 10)
        os.kill(extraction.process.pid or 0, signal.SIGCONT)
        assert "no finished store of backbone 'small_efficientnet'" in line
        assert "Run 'fusion extract --backbone small_efficientnet'" in line
        check_shared(desk, [extraction])
