"""Rows 1 and 2: real processes die while they extract or train, and the next one ends as if nothing had happened."""

from __future__ import annotations

import itertools
import random
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from fusion_pipeline.store.storage.local import LocalBackend
from tests.builders import tree_bytes
from tests.faults.before import KilledAtRename
from tests.faults.desk import IN_FLIGHT, LOADED_AHEAD, ONE, PARTITION_ROWS, ROWS, Desk, contents, published, stores_of
from tests.faults.scene import NEIGHBOUR, Scene
from tests.faults.tally import Tally
from tests.processes import Command

NAMES = ("index", "small_resnet")


@dataclass(frozen=True)
class Left:
    """What a killed run left of one store that is not published: the partitions begun, and those finished."""

    begun: int
    finished: int

    @classmethod
    def of(cls, cache: Path, name: str) -> Left:
        """Look into the attempts at a store."""
        begun, finished = (
            {
                file.name.partition("-")[0]
                for attempt in cache.glob(f"flowers/attempts/{name}-*")
                for file in (attempt / kind).glob("[0-9]*")
                if ".partial-" not in file.name
            }
            for kind in ("claims", "done")
        )
        return cls(len(begun), len(finished))


class Victim:
    """A cache with another data set in it, and extractions into it that are killed."""

    def __init__(self, cache: Path, desk: Desk, scene: Scene) -> None:
        self.cache = cache
        self._desk = desk
        self._scene = scene
        self._undisturbed = {name: desk.undisturbed[name] for name in NAMES}
        command = self.begin()
        started = time.monotonic()
        assert command.wait() == 0, command.errors
        self.seconds = time.monotonic() - started

    def start(self, *before: KilledAtRename) -> Command:
        """Start an extraction into a new cache."""
        shutil.rmtree(self.cache, ignore_errors=True)
        LocalBackend(self.cache).write_all(self._scene.neighbour)
        self._neighbour = tree_bytes(self.cache / NEIGHBOUR)
        return self._desk.start(self.cache, *ONE, before=before)

    def begin(self) -> Command:
        """Start an extraction, and wait until it begins to write."""
        command = self.start()
        while command.process.is_alive() and not (self.cache / "flowers").exists():
            time.sleep(0.001)
        return command

    def check(self) -> None:
        """Check what the killed run left, and that the next one computes what is missing, and ends as it must."""
        there = published(self.cache)
        assert there.items() <= self._undisturbed.items()
        left = {name: Left.of(self.cache, name) for name in NAMES if name not in there}
        assert all(item.begun - item.finished <= IN_FLIGHT + LOADED_AHEAD for item in left.values()), left
        again = self._desk.extract(self.cache, *ONE)
        for store in stores_of(again):
            finished = left[store["backbone"]].finished if store["backbone"] in left else ROWS // PARTITION_ROWS
            assert store["computed"] == ROWS - PARTITION_ROWS * finished
        assert contents(again) == published(self.cache) == self._undisturbed
        self._desk.check_whole(self.cache)
        assert tree_bytes(self.cache / NEIGHBOUR) == self._neighbour


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory, scene: Scene, desk: Desk) -> Victim:
    return Victim(tmp_path_factory.mktemp("victim") / "cache", desk, scene)


# In four parts, so that several processors have something to do.
@pytest.mark.parametrize(
    ("first", "step"), [(11, 40), *(pytest.param(n, 4, marks=pytest.mark.soak) for n in (1, 2, 3, 4))]
)
def test_killed_at_every_rename(victim: Victim, tally: Tally, first: int, step: int) -> None:
    for number in itertools.count(first, step):
        code = victim.start(KilledAtRename(number)).wait()
        if code == 0:
            break
        with tally.fault():
            assert code == -signal.SIGKILL
            victim.check()
    assert tally.tried > 1


@pytest.mark.parametrize(
    ("seed", "times"), [(0, 4), *(pytest.param(n, 25, marks=pytest.mark.soak) for n in (1, 2, 3, 4))]
)
def test_killed_at_random_moments(victim: Victim, tally: Tally, seed: int, times: int) -> None:
    generator = random.Random(seed)
    while tally.tried < times:
        command = victim.begin()
        command.process.join(generator.uniform(0, victim.seconds))
        command.process.kill()
        if command.wait() == 0:  # too late
            continue
        with tally.fault():
            victim.check()


def scores(command: Command) -> list[tuple[str, float, int]]:
    """Return what a training says of each method, but for how long it took."""
    return [(row["method"], row["accuracy"], row["correct"]) for row in command.document["rows"]]


@pytest.mark.soak
@pytest.mark.parametrize("times", [10])
def test_training_killed(desk: Desk, tally: Tally, tmp_path: Path, times: int) -> None:
    """The cache stays as it is, no half of a model is left, and the next run's scores are the same."""
    cache, runs = tmp_path / "cache", tmp_path / "runs"
    desk.extract(cache)
    before = tree_bytes(cache)
    train = ("train", "--gate", "average", "--executor", "loop", "--json", "--cache", str(cache), "--runs", str(runs))
    started = time.monotonic()
    undisturbed = desk.command(*train)
    assert undisturbed.wait() == 0, undisturbed.errors
    seconds, model = time.monotonic() - started, tree_bytes(runs)
    generator = random.Random(times)
    while tally.tried < times:
        shutil.rmtree(runs)
        command = desk.command(*train, name="killed")
        command.process.join(generator.uniform(seconds / 2, seconds))
        command.process.kill()
        if command.wait() == 0:  # too late: the machine was busier when the undisturbed run was timed
            seconds *= 0.9
            continue
        with tally.fault():
            assert tree_bytes(cache) == before
            left = tree_bytes(runs)
            assert not any(path.endswith("model.json") for path in left) or left.keys() == model.keys()
            again = desk.command(*train, name="again")
            assert again.wait() == 0, again.errors
            assert scores(again) == scores(undisturbed)
            assert tree_bytes(cache) == before
