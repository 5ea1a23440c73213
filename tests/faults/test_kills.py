"""Row 1: real processes die while they extract, and the next one does only what is missing."""

from __future__ import annotations

import itertools
import random
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from fusion_pipeline.store import Cache
from fusion_pipeline.store.local import LocalBackend
from tests.builders import Tiny, tree_bytes, write_pictures, write_settings
from tests.faults.before import KilledAtRename, without_syncing
from tests.faults.scene import NEIGHBOUR, Scene
from tests.faults.tally import Tally
from tests.processes import Command

PER_CLASS, PARTITION_ROWS = 8, 4
ROWS = 3 * PER_CLASS
EXTRACT = ("extract", "--partition-rows", str(PARTITION_ROWS), "--batch-size", "4", "--json")
NAMES = ("index", "small_resnet")


@dataclass(frozen=True)
class Left:
    """What a killed run left of one store: whether it is published, or else its partitions begun and finished."""

    published: bool
    begun: int
    finished: int

    @property
    def missing(self) -> int:
        """Rows that nobody has."""
        return 0 if self.published else ROWS - PARTITION_ROWS * self.finished


class Desk:
    """A folder with settings in which commands run, and what an undisturbed extraction gives there."""

    def __init__(self, folder: Path, scene: Scene, tiny: Tiny) -> None:
        self.folder = write_settings(folder, write_pictures(folder / "flowers", per_class=PER_CLASS), [tiny])
        self.cache = folder / "cache"
        self._scene = scene
        self.clear()
        self.undisturbed = self._contents(self.run())
        self.clear()
        command = self.start()
        self.wait_until_it_writes(command)
        started = time.monotonic()
        assert command.wait() == 0, command.errors
        self.seconds = time.monotonic() - started

    def clear(self) -> None:
        """Begin again, with a cache that holds another data set."""
        shutil.rmtree(self.cache, ignore_errors=True)
        LocalBackend(self.cache).write_all(self._scene.neighbour)
        self._neighbour = tree_bytes(self.cache / NEIGHBOUR)

    def start(self, *before: KilledAtRename) -> Command:
        """Start an extraction."""
        return Command(self.folder, *EXTRACT, before=(without_syncing, *before))

    def wait_until_it_writes(self, command: Command) -> None:
        """Wait until an extraction begins to write."""
        while command.process.is_alive() and not (self.cache / "flowers").exists():
            time.sleep(0.001)

    def run(self) -> Command:
        """Extract to the end."""
        command = self.start()
        assert command.wait() == 0, command.errors
        return command

    def check(self) -> None:
        """Check what a killed run left, and that the next one computes what is missing and ends as it must."""
        stores = list(Cache(self.cache)["flowers"].stores()) if "flowers" in Cache(self.cache) else []
        published = {store.name: store.manifest.content for store in stores}
        assert published.items() <= self.undisturbed.items()
        left = [self._left(name, name in published) for name in NAMES]
        assert all(item.begun - item.finished <= 1 for item in left), left
        again = self.run()
        assert self._computed(again) == [item.missing for item in left]
        assert self._contents(again) == self.undisturbed
        verified = Command(self.folder, "cache", "verify", "--json")
        assert verified.wait() == 0, verified.errors
        assert tree_bytes(self.cache / NEIGHBOUR) == self._neighbour

    def _left(self, name: str, published: bool) -> Left:
        attempts = list(self.cache.glob(f"flowers/attempts/{name}-*"))
        if published:
            return Left(True, 0, 0)
        numbers = [
            {file.name.partition("-")[0] for attempt in attempts for file in (attempt / kind).glob("[0-9]*")}
            - {file.name for attempt in attempts for file in (attempt / kind).glob("*.partial-*")}
            for kind in ("claims", "done")
        ]
        return Left(False, len(numbers[0]), len(numbers[1]))

    @staticmethod
    def _contents(command: Command) -> dict[str, str]:
        stores = [command.document["index"], *command.document["stores"]]
        return {store["backbone"]: store["content"] for store in stores}

    @staticmethod
    def _computed(command: Command) -> list[int]:
        return [store["computed"] for store in (command.document["index"], *command.document["stores"])]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, scene: Scene, tiny_resnet: Tiny) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"), scene, tiny_resnet)


# In parts, so that several processors have something to do.
@pytest.mark.parametrize(
    ("first", "step"), [(11, 40), *(pytest.param(n, 4, marks=pytest.mark.soak) for n in (1, 2, 3, 4))]
)
def test_killed_at_every_rename(desk: Desk, tally: Tally, first: int, step: int) -> None:
    for number in itertools.count(first, step):
        desk.clear()
        code = desk.start(KilledAtRename(number)).wait()
        if code == 0:
            return
        with tally.fault():
            assert code == -signal.SIGKILL
            desk.check()


@pytest.mark.parametrize(
    ("seed", "times"), [(0, 4), *(pytest.param(n, 25, marks=pytest.mark.soak) for n in (1, 2, 3, 4))]
)
def test_killed_at_random_moments(desk: Desk, tally: Tally, seed: int, times: int) -> None:
    generator = random.Random(seed)
    while tally.tried < times:
        desk.clear()
        command = desk.start()
        desk.wait_until_it_writes(command)
        command.process.join(generator.uniform(0, desk.seconds))
        command.process.kill()
        if command.wait() == 0:  # too late
            continue
        with tally.fault():
            desk.check()
