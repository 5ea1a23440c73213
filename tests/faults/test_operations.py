"""Rows 1, 4, 6, 7 and 23: whatever happens at the Nth call of the storage, nothing is lost and nothing is wrong."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusion_pipeline.errors import FusionError, StorageError
from tests.faults.desk import IN_FLIGHT
from tests.faults.harness import DOWN, FLIP, FULL, HICCUP, KILL, KILL_AFTER, TRUNCATE, Fault, FaultyBackend, delay
from tests.faults.scene import PARTITION_ROWS, ROWS, Ending, Scene
from tests.faults.tally import Tally

# The quick part tries one operation in so many: a prime, so that it meets those of every step of the work.
STEPS = [pytest.param(97, id="some"), pytest.param(1, id="all", marks=pytest.mark.soak)]


def disturbed(
    scene: Scene, storage: str, place: Path, fault: Fault, step: int
) -> Iterator[tuple[FaultyBackend, Ending]]:
    """Yield how runs end whose Nth operation meets a fault, for N = 1, 1 + step, ... until a run meets none."""
    for number in itertools.count(1, step):
        backend = FaultyBackend(scene.storage(storage, place), fault, number)
        ending = scene.run(backend)
        if not backend.struck:
            assert ending.extraction is not None
            return
        yield backend, ending


def check_little_is_computed_twice(*endings: Ending) -> None:
    """Check that no more was computed twice than the partitions in flight, of each store."""
    for producer in set().union(*(ending.rows for ending in endings)):
        assert sum(ending.rows[producer] for ending in endings) <= ROWS + IN_FLIGHT * PARTITION_ROWS


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("fault", [KILL, KILL_AFTER], ids=str)
@pytest.mark.parametrize("storage", ["folder", "objects"])
def test_killed(scene: Scene, tally: Tally, tmp_path: Path, storage: str, fault: Fault, step: int) -> None:
    for backend, ending in disturbed(scene, storage, tmp_path / "cache", fault, step):
        with tally.fault():
            assert (ending.extraction, ending.error) == (None, None), backend.struck
            scene.check_sound(backend.inner)
            check_little_is_computed_twice(ending, scene.finish(backend.inner))


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("storage", "fault"),
    [("folder", HICCUP), ("folder", DOWN), ("folder", FULL), ("objects", HICCUP), ("objects", DOWN)],
    ids=str,
)
def test_failing(scene: Scene, tally: Tally, tmp_path: Path, storage: str, fault: Fault, step: int) -> None:
    for backend, ending in disturbed(scene, storage, tmp_path / "cache", fault, step):
        with tally.fault():
            # What only tidies up may fail, and the run is done all the same.
            assert ending.error is None or isinstance(ending.error, StorageError), backend.struck
            assert fault is not FULL or ending.error is None or is_told(ending.error), ending.error
            scene.check_sound(backend.inner)
            check_little_is_computed_twice(ending, scene.finish(backend.inner))


def is_told(error: FusionError) -> bool:
    """Return whether a message says how many bytes are needed, and how many free."""
    return "bytes needed" in str(error) and "free" in str(error)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("fault", [FLIP, TRUNCATE], ids=str)
@pytest.mark.parametrize("storage", ["folder", "objects"])
def test_lying(scene: Scene, tally: Tally, tmp_path: Path, storage: str, fault: Fault, step: int) -> None:
    """A storage that keeps, or gives, other bytes than it was given: published damage is named, and can be mended."""
    for backend, ending in disturbed(scene, storage, tmp_path / "cache", fault, step):
        with tally.fault():
            assert ending.extraction is not None or ending.error is not None, backend.struck
            scene.check_damage_is_named(backend.inner)
            scene.repair_and_finish(backend.inner)


@pytest.mark.parametrize("step", STEPS)
def test_overtaken(scene: Scene, tally: Tally, tmp_path: Path, step: int) -> None:
    """A machine falls asleep at the Nth operation; another one takes it for dead, and does all the work meanwhile."""
    for number in itertools.count(1, step):
        inner = scene.storage("objects", tmp_path / "cache")
        others: list[Ending] = []
        backend = FaultyBackend(inner, delay(lambda: others.append(scene.run(inner))), number)  # noqa: B023 - run at once
        ending = scene.run(backend)
        if not backend.struck:
            break
        if not others:
            continue
        with tally.fault():
            assert others[0].error is None, (backend.struck, others[0].error)
            assert ending.error is None, (backend.struck, ending.error)
            check_little_is_computed_twice(ending)  # its rows are those of both: one ran within the other
            scene.check_finished(inner)
