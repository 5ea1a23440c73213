"""Row 4: no space left, for a file or for the whole cache; the same command goes on once there is room."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.before import LargestFile
from tests.faults.desk import EXTRACT, PARTITION_ROWS, ROWS, Desk, contents, failure, published, stores_of
from tests.faults.tally import Tally

NEEDED_AND_FREE = re.compile(r"No space for '.*': [\d,]+ bytes needed, [\d,]+ free\. Make room, then run the same")


@pytest.mark.parametrize("length", [1_000, 20_000])
def test_files_that_may_not_grow(desk: Desk, tally: Tally, tmp_path: Path, length: int) -> None:
    """As after ``ulimit -f``."""
    cache = tmp_path / "cache"
    with tally.fault():
        line = failure(desk.start(cache, before=[LargestFile(length)]), 15)
        assert NEEDED_AND_FREE.search(line)
        assert published(cache) == {}
        finished = len(list(cache.glob("flowers/attempts/small_resnet-*/done/*.json")))
        again = desk.extract(cache)
        assert contents(again) == desk.undisturbed
        assert stores_of(again)[1]["computed"] == ROWS - PARTITION_ROWS * finished
        desk.check_whole(cache)


def may_mount() -> bool:
    """Return whether a user may mount something that nobody else sees."""
    try:
        return subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.soak
@pytest.mark.skipif(not may_mount(), reason="no mount name space of one's own is to be had")
@pytest.mark.parametrize("kilobytes", [40, 100, 200, 300, 400, 500])
def test_a_small_disk(desk: Desk, tally: Tally, tmp_path: Path, kilobytes: int) -> None:
    cache = tmp_path / "cache"
    small = [sys.executable, "-m", "tests.faults.small_disk", str(cache), str(kilobytes)]
    with tally.fault():
        run = subprocess.run(
            ["unshare", "-rm", *small, *EXTRACT, "--cache", str(cache)],
            cwd=desk.folder,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        found = json.loads(run.stdout)
        assert found["full"] == 15
        assert NEEDED_AND_FREE.search(found["line"])
        assert found["again"] == 0
        assert found["published"] == desk.undisturbed
