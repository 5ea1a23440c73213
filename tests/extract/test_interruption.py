"""Real processes are killed or stopped while they extract: the next run ends with the bytes of an undisturbed one."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fusion_pipeline.store import Cache
from fusion_pipeline.store.care.verify import verify
from tests.builders import Tiny, write_pictures, write_settings
from tests.extract.made import contents, run
from tests.processes import Command

PER_CLASS = 24
N = 3 * PER_CLASS
ARGUMENTS = ("extract", "--partition-rows", "4", "--batch-size", "4", "--json")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("interrupted") / "flowers", per_class=PER_CLASS)


@pytest.fixture(scope="module")
def undisturbed(data: Path, tiny_resnet: Tiny, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Content digests of the index and the backbone when nothing happens."""
    return contents(run(data, tmp_path_factory.mktemp("undisturbed"), tiny_resnet))


@pytest.fixture
def folder(tmp_path: Path, data: Path, tiny_resnet: Tiny) -> Path:
    return write_settings(tmp_path, data, [tiny_resnet])


def wait_for(condition: Callable[[], object], command: Command) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert command.process.is_alive(), f"ended too early: {command.errors}"
        assert time.monotonic() < deadline
        time.sleep(0.002)


def done(folder: Path) -> list[Path]:
    return list((folder / "cache").glob("flowers/attempts/small_resnet-*/done/*.json"))


def check(command: Command, folder: Path, undisturbed: list[str]) -> list[int]:
    """Check that a command ended well, with the stores of an undisturbed run; return the numbers of rows computed."""
    assert command.wait() == 0, command.errors
    stores = [command.document["index"], *command.document["stores"]]
    assert [store["content"] for store in stores] == undisturbed
    found = Cache(folder / "cache")["flowers"].stores()
    assert sorted(store.manifest.content for store in found) == sorted(undisturbed)
    assert [damage for store in found for damage in verify(store)] == []
    return [store["computed"] for store in stores]


@pytest.mark.parametrize(
    ("partitions", "options"), [(1, ()), (9, ()), (5, ("--decode-in", "processes"))], ids=["early", "late", "processes"]
)
def test_sigkill(folder: Path, undisturbed: list[str], partitions: int, options: tuple[str, ...]) -> None:
    command = Command(folder, *ARGUMENTS, *options)
    wait_for(lambda: len(done(folder)) >= partitions, command)
    command.process.kill()
    assert command.wait() == -signal.SIGKILL
    finished = len(done(folder))
    assert Cache(folder / "cache")["flowers"].stores() == ()
    computed = check(Command(folder, *ARGUMENTS), folder, undisturbed)
    assert computed[1] == N - 4 * finished  # at most the partition in flight was lost
    assert check(Command(folder, *ARGUMENTS), folder, undisturbed) == [0, 0]


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "Interrupted"), (signal.SIGTERM, 143, "Term")]
)
def test_polite_signals(folder: Path, undisturbed: list[str], number: int, code: int, word: str) -> None:
    command = Command(folder, *ARGUMENTS)
    wait_for(lambda: len(done(folder)) >= 3, command)
    assert command.process.pid is not None
    os.kill(command.process.pid, number)
    assert command.wait() == code
    assert word in command.errors
    assert "Traceback" not in command.errors
    assert command.document["error"]["exit_code"] == code
    computed = check(Command(folder, *ARGUMENTS), folder, undisturbed)
    assert 0 < computed[1] <= N - 12


def test_two_at_once(folder: Path, undisturbed: list[str]) -> None:
    commands = [Command(folder, *ARGUMENTS, name=name) for name in ("one", "two")]
    for command in commands:
        check(command, folder, undisturbed)
    manifests = {tuple(store["manifest"] for store in command.document["stores"]) for command in commands}
    assert len(manifests) == 1
    assert list((folder / "cache" / "flowers" / "attempts").iterdir()) == []
