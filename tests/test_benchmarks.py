"""The benchmarks run and print what they promise; what they print of the time is not judged here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SMALL = ["--rows", "2048", "--partition-rows", "512", "--repeat", "1", "--stores", "20"]


def test_the_store_is_compared_in_all_that_it_does(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, BENCHMARKS / "store.py", *SMALL, "--folder", tmp_path],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    ratios = re.findall(r"^(.+?)  +(\d+\.\d\d) ", run.stdout, re.MULTILINE)
    assert [title for title, _ in ratios] == [
        "listing and opening 20 stores",
        "reading, CRC-32C checked",
        "reading, sha256 checked",
        "reading, Zarr alone",
        "verifying, 4 threads",
        "writing, synced",
        "writing, synced",
    ]
    assert all(float(ratio) > 0 for _, ratio in ratios)
    assert list(tmp_path.iterdir()) == []
