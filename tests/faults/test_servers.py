"""Rows 23 and 24: S3 servers that die, stop, come back, or ignore conditions, while an extraction goes on."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fusion_pipeline.errors import StorageError
from fusion_pipeline.store.storage.backend import Backend
from fusion_pipeline.store.storage.places import open_backend
from tests.faults.before import Variables
from tests.faults.desk import DATASET, PARTITION_ROWS, ROWS, Desk, contents, failure, stores_of, wait_until
from tests.faults.proxy import Mishap, Proxy, busy, denied, half_a_body, lost_answer, proxy
from tests.faults.scene import ROWS as SCENE_ROWS
from tests.faults.scene import Ending, Scene
from tests.faults.tally import Tally
from tests.servers import BUCKET, Seaweed, rclone, seaweedfs, variables

PATIENCE = 60
"""Seconds after which a run has ended whose server does not answer any more."""

_NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def way(moto_endpoint: str) -> Iterator[Proxy]:
    with proxy(moto_endpoint) as made:
        yield made


@pytest.fixture
def storage(scene: Scene, way: Proxy, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Backend]:
    """Makes storages on the other side of the proxy, each with the neighbour in it."""
    for name, value in variables(way.endpoint).items():
        monkeypatch.setenv(name, value)

    def make() -> Backend:
        way.clear()
        made = open_backend(f"s3://{BUCKET}/scene-{next(_NUMBERS)}")
        made.write_all(scene.neighbour)
        return made

    return make


def disturbed(
    scene: Scene, storage: Callable[[], Backend], way: Proxy, mishap: Mishap, step: int
) -> Iterator[tuple[Backend, Ending]]:
    """Yield how runs end of which one request meets a mishap, until a run meets none."""
    for number in itertools.count(1, step):
        place = storage()
        way.plan(mishap, number)
        ending = scene.run(place)
        if not way.met:
            assert ending.error is None
            return
        yield open_backend(place.location), ending


@pytest.mark.soak
@pytest.mark.parametrize("mishap", [busy, lost_answer])
def test_asked_again(scene: Scene, storage: Callable[[], Backend], way: Proxy, tally: Tally, mishap: Mishap) -> None:
    """One request that is refused, or done without a word, changes nothing; what is ours is not taken for another's."""
    for place, ending in disturbed(scene, storage, way, mishap, 9):
        with tally.fault():
            assert ending.extraction is not None, (way.met, ending.error)
            assert set(ending.rows.values()) == {SCENE_ROWS}
            assert not any(item.overtaken for item in (ending.extraction.index, *ending.extraction.backbones))
            scene.check_finished(place)


@pytest.mark.soak
@pytest.mark.parametrize("mishap", [denied, half_a_body])
def test_failing(scene: Scene, storage: Callable[[], Backend], way: Proxy, tally: Tally, mishap: Mishap) -> None:
    """A request that fails ends the run, or only its tidying up; the next run finishes."""
    for place, ending in disturbed(scene, storage, way, mishap, 9):
        with tally.fault():
            assert ending.error is None or isinstance(ending.error, StorageError), (way.met, ending.error)
            scene.check_sound(place)
            scene.finish(place)


@pytest.fixture(scope="module")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    with seaweedfs(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


class Run:
    """An extraction onto a server that is in the midst of its work."""

    def __init__(self, desk: Desk, endpoint: str, monkeypatch: pytest.MonkeyPatch, done: int) -> None:
        for name, value in variables(endpoint).items():
            monkeypatch.setenv(name, value)
        self.cache = f"s3://{BUCKET}/run-{next(_NUMBERS)}"
        self._desk = desk
        self._before = [Variables(variables(endpoint))]
        self.command = desk.start(self.cache, before=self._before)
        wait_until(lambda: self.finished() >= done, self.command)

    def finished(self) -> int:
        """Return how many partitions of the backbone are recorded."""
        storage = open_backend(self.cache)
        attempts = storage.entries(f"{DATASET}/attempts").folders
        return sum(
            len(storage.list(f"{DATASET}/attempts/{name}/done")) for name in attempts if name.startswith("small_resnet")
        )

    def check_rerun(self) -> None:
        """Check that the next run computes only what is missing, and ends as an undisturbed one."""
        finished = self.finished()
        again = self._desk.extract(self.cache, before=self._before)
        assert contents(again) == self._desk.undisturbed
        (backbone,) = [store for store in stores_of(again) if store["backbone"] == "small_resnet"]
        assert backbone["computed"] <= ROWS - PARTITION_ROWS * finished
        self._desk.check_whole(self.cache, before=self._before)


@pytest.mark.soak
@pytest.mark.parametrize("done", [1, 3, 5])
def test_a_server_that_dies(
    desk: Desk, seaweed: Seaweed, tally: Tally, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    with tally.fault():
        run = Run(desk, seaweed.endpoint, monkeypatch, done)
        seaweed.kill()
        started = time.monotonic()
        try:
            assert "cannot be reached" in failure(run.command, 15)
            assert time.monotonic() - started < PATIENCE
        finally:
            seaweed.start()
            seaweed.wait()
        run.check_rerun()


@pytest.mark.soak
@pytest.mark.parametrize("done", [1, 3, 5])
def test_a_server_that_dies_and_comes_back(
    desk: Desk, seaweed: Seaweed, tally: Tally, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    """It takes about as long to start as a run is patient."""
    with tally.fault():
        run = Run(desk, seaweed.endpoint, monkeypatch, done)
        seaweed.kill()
        seaweed.start()
        assert run.command.wait() in (0, 15), run.command.errors
        seaweed.wait()
        run.check_rerun()


@pytest.mark.soak
@pytest.mark.parametrize("done", [1, 3])
def test_a_server_that_stops(
    desk: Desk, seaweed: Seaweed, tally: Tally, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    with tally.fault():
        run = Run(desk, seaweed.endpoint, monkeypatch, done)
        seaweed.freeze()
        started = time.monotonic()
        try:
            assert "no answer in time" in failure(run.command, 15)
            assert time.monotonic() - started < PATIENCE
        finally:
            seaweed.thaw()
        run.check_rerun()


@pytest.mark.soak
def test_a_server_that_is_busy_for_good(desk: Desk, way: Proxy, tally: Tally, monkeypatch: pytest.MonkeyPatch) -> None:
    with tally.fault():
        way.clear()
        run = Run(desk, way.endpoint, monkeypatch, 2)
        way.plan(busy, lasts=True)
        started = time.monotonic()
        failure(run.command, 15)
        assert time.monotonic() - started < PATIENCE
        way.clear()
        run.check_rerun()


@pytest.mark.soak
def test_a_server_that_ignores_conditions(desk: Desk, tally: Tally, tmp_path: Path) -> None:
    """Two writers could both believe that they published: only who vouches for being alone may write there."""
    with tally.fault(), rclone(tmp_path) as endpoint:
        cache, before = f"s3://{BUCKET}/alone", [Variables(variables(endpoint))]
        assert "ignores If-None-Match" in failure(desk.start(cache, before=before), 16)
        assert [path for path in (tmp_path / "files").rglob("*") if path.is_file()] == []
        alone = desk.extract(cache, "--single-writer", before=before)
        assert contents(alone) == desk.undisturbed
        desk.check_whole(cache, before=before)
