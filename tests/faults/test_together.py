"""Row 6: two extractions and a training meet in one cache."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusion_pipeline.store import Cache
from tests.builders import Tiny
from tests.faults.before import Variables
from tests.faults.desk import DATASET, PARTITION_ROWS, ROWS, Desk, contents, failure, stores_of, wait_until
from tests.faults.tally import Tally
from tests.processes import Command
from tests.servers import BUCKET, seaweedfs, variables


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, tiny_resnet: Tiny, tiny_efficientnet: Tiny) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"), tiny_resnet, tiny_efficientnet)


@pytest.fixture(scope="module")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Variables]:
    """An S3 server that keeps conditions, as processes find it."""
    with seaweedfs(tmp_path_factory.mktemp("seaweed")) as server:
        yield Variables(variables(server.endpoint))


def check_shared(desk: Desk, commands: list[Command]) -> bool:
    """Check that all ended well, with one store of each name, and computed hardly anything twice.

    Return whether several of them had a part in one store.
    """
    for command in commands:
        assert command.wait() == 0, command.errors
        assert contents(command).items() <= desk.undisturbed.items()
    stores = [store for command in commands for store in stores_of(command)]
    for name in {store["backbone"] for store in stores}:
        same = [store for store in stores if store["backbone"] == name]
        assert len({store["manifest"] for store in same}) == 1
        assert sum(store["computed"] for store in same) <= ROWS + PARTITION_ROWS * len(same)
    return any(0 < store["computed"] < ROWS for store in stores)


@pytest.mark.parametrize("times", [1, pytest.param(15, marks=pytest.mark.soak)])
def test_one_backbone_twice_in_a_folder(desk: Desk, tally: Tally, tmp_path: Path, times: int) -> None:
    shared = []
    for number in range(times):
        cache = tmp_path / f"cache-{number}"
        with tally.fault():
            one = ("--backbone", "small_resnet")
            shared.append(check_shared(desk, [desk.start(cache, *one, name=name) for name in ("one", "two")]))
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
            one = ("--backbone", "small_resnet")
            commands = [desk.start(cache, *one, before=[seaweed], name=name) for name in ("one", "two")]
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
    """What is not finished is not there: training says what is missing, and works once it is."""
    cache = tmp_path / "cache"
    desk.extract(cache, "--backbone", "small_resnet")
    train = ("train", "--cache", str(cache), "--gate", "average", "--executor", "loop", "--runs", str(tmp_path))
    with tally.fault():
        extraction = desk.start(cache, name="extraction")
        wait_until(lambda: list(cache.glob(f"{DATASET}/attempts/small_efficientnet-*/done/*.json")), extraction)
        os.kill(extraction.process.pid or 0, signal.SIGSTOP)
        line = failure(desk.command(*train), 10)
        os.kill(extraction.process.pid or 0, signal.SIGCONT)
        assert "no finished store of backbone 'small_efficientnet'" in line
        assert "Run 'fusion extract --backbone small_efficientnet'" in line
        check_shared(desk, [extraction])
        command = desk.command(*train)
        assert command.wait() == 0, command.errors
