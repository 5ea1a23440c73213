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


def test_an_extraction_is_compared_with_a_plain_loop(tmp_path: Path) -> None:
    backbones = ["--backbones", "timm:test_resnet", "--together", "timm:test_resnet", "timm:test_efficientnet"]
    few = ["--made", "6", "--few", "4", "--many", "8", "--repeat", "1", "--engines", "eager"]
    run = subprocess.run(
        [sys.executable, BENCHMARKS / "extract.py", *backbones, *few, "--device", "cpu", "--scratch", tmp_path],
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    assert re.findall(r"^(\w+)$", run.stdout, re.MULTILINE) == ["speed", "pass", "memory", "ceilings"]
    assert re.search(r"eager +[\d.]+ images/s +[\d.]+ times the plain loop", run.stdout)
    assert "eager outputs differ from the eager ones on the CPU by 0.0e+00" in run.stdout
    assert "opened 6 files for 6 images" in run.stdout
    assert re.search(r"ratio \d+\.\d+; at most 1.05: (reached|MISSED)", run.stdout)
    assert re.search(r"8 images: [\d,]+ MiB at most\n.*times as much; at most 1.1: (reached|MISSED)", run.stdout)
    assert run.stdout.count("of the lower") == 2
    assert list(tmp_path.iterdir()) == []
