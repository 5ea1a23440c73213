"""Row 27: collecting while an extraction goes on removes nothing live, whatever the moment, however slow the work."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from fusion_pipeline.errors import FusionError
from fusion_pipeline.store.care.gc import collect
from fusion_pipeline.store.storage.backend import Backend
from tests.faults.harness import FLIP, HICCUP, KILL, Fault, FaultyBackend, Killed, delay
from tests.faults.scene import ROWS, Scene
from tests.faults.tally import Tally

A_MONTH = 30 * 86_400.0

STEPS = [pytest.param(61, id="some"), pytest.param(1, id="all", marks=pytest.mark.soak)]


def after_a_month(scene: Scene, storage: Backend, removed: list[str]) -> Callable[[], None]:
    """Return what collects when everything looks a month old."""

    def collect_all() -> None:
        with pytest.MonkeyPatch.context() as patch:
            now = storage.now()
            patch.setattr(storage, "now", lambda: now + A_MONTH)
            found = collect(scene.cache(storage), delete=True)
        removed.extend(item.path for item in found.items)

    return collect_all


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kind", ["folder", "objects"])
def test_collected_at_any_moment(scene: Scene, tally: Tally, tmp_path: Path, kind: str, step: int) -> None:
    for number in itertools.count(1, step):
        storage, removed = scene.storage(kind, tmp_path / "cache"), list[str]()
        backend = FaultyBackend(storage, delay(after_a_month(scene, storage, removed)), number)
        ending = scene.run(backend, alive=True)
        if not backend.struck:
            break
        with tally.fault():
            assert ending.error is None, (backend.struck, removed)
            assert set(ending.rows.values()) == {ROWS}, (backend.struck, removed)
            scene.check_finished(storage)


@pytest.mark.parametrize("step", [pytest.param(7, id="some"), pytest.param(1, id="all", marks=pytest.mark.soak)])
@pytest.mark.parametrize("fault", [HICCUP, KILL, FLIP], ids=str)
def test_collecting_on_a_storage_that_fails(
    scene: Scene, tally: Tally, tmp_path: Path, fault: Fault, step: int
) -> None:
    """What cannot be read or listed ends a collection; what is published stays, and what is unfinished is finished."""
    for number in itertools.count(1, step):
        storage, removed = scene.storage("folder", tmp_path / "cache"), list[str]()
        scene.run(FaultyBackend(storage, KILL, 120))
        backend = FaultyBackend(storage, fault, number)
        with suppress(FusionError, Killed):
            after_a_month(scene, backend, removed)()
        if not backend.struck:
            assert "attempts" in {item.split("/")[1] for item in removed}  # where the killed run was
            break
        with tally.fault():
            scene.check_sound(storage)
            scene.finish(storage)
