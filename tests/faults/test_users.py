"""Rows 5 and 26: who may only read a cache trains from it, and two users share one whatever their umask."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.builders import tree_bytes
from tests.faults.before import Rehearsal, Umask, User
from tests.faults.desk import DATASET, EXTRACT, PARTITION_ROWS, ROWS, Desk, contents, failure, stores_of, wait_until
from tests.faults.tally import Tally

GROUP, ANNA, BERT = 54000, 54001, 54002

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")


@pytest.fixture
def place(desk: Desk) -> Iterator[Path]:
    """A new folder at the desk."""
    folder = Path(tempfile.mkdtemp(dir=desk.folder))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def of(user: int, place: Path, *rehearsed: str, umask: int = 0o022) -> list[Callable[[], object]]:
    """Return what makes a process that user's, after a rehearsal elsewhere as root."""
    elsewhere = place / "rehearsal"
    return [Rehearsal((*rehearsed, "--cache", str(elsewhere))), Umask(umask), User(user, GROUP)]


def test_a_cache_that_may_only_be_read(desk: Desk, tally: Tally, place: Path) -> None:
    cache, runs = place / "cache", place / "runs"
    desk.extract(cache)
    desk.extract(place / "rehearsal")
    before = tree_bytes(cache)
    runs.mkdir()
    os.chown(runs, ANNA, GROUP)
    train = ("train", "--gate", "average", "--executor", "loop")
    with tally.fault():
        line = failure(desk.start(cache, before=of(ANNA, place, *EXTRACT)), 15)
        assert "Permission denied" in line
        rehearsal = of(ANNA, place, *train, "--runs", str(place / "rehearsed"))
        command = desk.command(*train, "--cache", str(cache), "--runs", str(runs), before=rehearsal)
        assert command.wait() == 0, command.errors
        desk.check_whole(cache, before=of(ANNA, place, "cache", "verify"))
    assert tree_bytes(cache) == before


@pytest.fixture
def team(place: Path) -> Path:
    """A folder that a group shares."""
    folder = place / "team"
    folder.mkdir()
    os.chown(folder, 0, GROUP)
    folder.chmod(0o2775)
    return folder


def modes(cache: Path) -> dict[Path, tuple[int, int]]:
    """Return the mode and the owner of everything in a cache."""
    found = {path: path.lstat() for path in cache.rglob("*")}
    return {path: (status.st_mode, status.st_uid) for path, status in found.items()}


def check_shared(cache: Path) -> None:
    """Check that the group may read everything, and write into every folder."""
    for path in cache.rglob("*"):
        status = path.lstat()
        needed = stat.S_ISGID | 0o070 if path.is_dir() else 0o040
        assert status.st_gid == GROUP, path
        assert status.st_mode & needed == needed, (path, oct(status.st_mode))


@pytest.mark.parametrize("umask", [0o077, 0o002])
def test_two_users(desk: Desk, tally: Tally, team: Path, place: Path, umask: int) -> None:
    """Anna extracts one backbone, Bert another one for the same images, and each reads what the other made."""
    cache = team / "cache"
    with tally.fault():
        anna = of(ANNA, place, *EXTRACT, umask=umask)
        bert = of(BERT, place, *EXTRACT, umask=umask)
        desk.extract(cache, "--backbone", "small_resnet", before=anna)
        check_shared(cache)
        before = modes(cache)
        second = desk.extract(cache, "--backbone", "small_efficientnet", before=bert)
        assert [store["computed"] for store in stores_of(second)] == [0, ROWS]
        check_shared(cache)
        after = modes(cache)
        changed = {path.name for path in before if path in after and after[path] != before[path]}
        assert changed <= {"current.json"}  # which Bert wrote anew, so that it is his
        for user in (ANNA, BERT):
            desk.check_whole(cache, before=of(user, place, "cache", "verify", umask=umask))


@pytest.mark.parametrize("umask", [0o077, 0o002])
def test_one_user_finishes_what_another_began(desk: Desk, tally: Tally, team: Path, place: Path, umask: int) -> None:
    cache = team / "cache"
    with tally.fault():
        command = desk.start(cache, before=of(ANNA, place, *EXTRACT, umask=umask))
        wait_until(lambda: len(list(cache.glob(f"{DATASET}/attempts/small_resnet-*/done/*.json"))) >= 2, command)
        command.process.kill()
        assert command.wait() == -signal.SIGKILL
        finished = len(list(cache.glob(f"{DATASET}/attempts/small_resnet-*/done/*.json")))
        before = modes(cache)
        second = desk.extract(cache, before=of(BERT, place, *EXTRACT, umask=umask))
        assert contents(second) == desk.undisturbed
        assert stores_of(second)[1]["computed"] == ROWS - PARTITION_ROWS * finished
        check_shared(cache)
        after = modes(cache)
        assert [path for path in before if path in after and after[path] != before[path]] == []
