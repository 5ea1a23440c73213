"""Row 25: on machines whose clocks are hours off nothing is stolen, collected, or taken for older than it is."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from fusion_pipeline.store import Cache
from tests.builders import tree_bytes, write_picture
from tests.faults.before import Clock
from tests.faults.desk import DATASET, ONE, Desk, check_shared, contents, stores_of, wait_until
from tests.faults.tally import Tally

HOURS = [2, -2]


@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.soak)])
def test_work_is_shared(desk: Desk, tally: Tally, tmp_path: Path, times: int) -> None:
    for number in range(times):
        cache = tmp_path / f"cache-{number}"
        with tally.fault():
            commands = [desk.start(cache, *ONE, before=[Clock(hours)], name=f"{hours}") for hours in HOURS]
            check_shared(desk, commands)
            desk.check_whole(cache)


@pytest.mark.parametrize("end", [signal.SIGSTOP, signal.SIGKILL])
@pytest.mark.parametrize("hours", HOURS)
def test_nothing_is_collected(desk: Desk, tally: Tally, tmp_path: Path, hours: int, end: signal.Signals) -> None:
    """Neither what somebody is at work on, nor what a killed run left a moment ago."""
    cache = tmp_path / "cache"
    collect = ("cache", "gc", "--delete", "--grace", "0.01", "--cache", str(cache))
    with tally.fault():
        extraction = desk.start(cache, *ONE, name="extraction")
        wait_until(lambda: list(cache.glob(f"{DATASET}/attempts/small_resnet-*/done/*.json")), extraction)
        extraction.send(end)
        before = tree_bytes(cache)
        collection = desk.command(*collect, before=[Clock(hours)])
        assert collection.wait() == 0, collection.errors
        assert tree_bytes(cache) == before
        if end is signal.SIGSTOP:
            os.kill(extraction.process.pid or 0, signal.SIGCONT)
            assert extraction.wait() == 0, extraction.errors
            assert not any(store["overtaken"] for store in stores_of(extraction))
        assert contents(desk.extract(cache)) == desk.undisturbed


def test_the_last_extraction_counts(desk: Desk, tally: Tally, tmp_path: Path) -> None:
    """Whoever extracts last says what is current, be its clock four hours behind that of who was first."""
    data, cache = shutil.copytree(desk.folder / DATASET, tmp_path / DATASET), tmp_path / "cache"
    with tally.fault():
        desk.extract(cache, *ONE, "--data", str(data), before=[Clock(2)])
        write_picture(data / "rose" / "new.png", seed=99)
        desk.extract(cache, *ONE, "--data", str(data), before=[Clock(-2)])
        stores = Cache(cache)[DATASET]
        created = {store.rows: store.manifest.created for store in stores.stores() if store.is_backbone}
        assert stores["small_resnet"].rows == stores.index().rows == max(created)
        assert created[max(created)] < created[min(created)]
