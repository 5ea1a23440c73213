"""The benchmarks run and print what they promise; what they print of the time is not judged here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fusion_pipeline.train.rows import all_rows

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SMALL = ["--rows", "2048", "--partition-rows", "512", "--repeat", "1", "--stores", "20"]


@pytest.fixture(scope="module")
def scale() -> str:
    """Return what all parts print that plan for many images."""
    assumed = ["--photo-bytes", "2e5", "--cpu-images-per-second", "10"]
    command = [BENCHMARKS / "scale.py", "measure", "plan", "simulate", "--sizes", "1024", "4096", *assumed]
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True, timeout=240).stdout


@pytest.mark.slow
def test_what_each_further_image_costs(scale: str) -> None:
    costs = dict(re.findall(r"^  (.+?) {2,}(\S+) (?:bytes|files|s) a ", scale, re.MULTILINE))
    assert float(costs["2048 features: features"]) == pytest.approx(4096, abs=20)
    assert float(costs["index: sha256"]) == pytest.approx(32, abs=0.1)
    assert float(costs["files of a backbone"]) == pytest.approx(3)
    assert 50 < float(costs["listing"]) < 500
    assert 0 < float(costs["a call through the scheduler"]) < 1


@pytest.mark.slow
def test_the_plan_grows_with_the_images(scale: str) -> None:
    table = {line.split(" | ")[0].strip(): line.split(" | ")[1:] for line in scale.splitlines() if " | " in line}
    assert [cell.strip() for cell in table["images"]][::5] == ["10,000", "1,000,000,000"]
    assert [cell.strip() for cell in table["photographs"]][::5] == ["2 GB", "200 TB"]
    assert table["laptop's CPU"][0].strip() == "16.7 min"
    assert "what breaks first" in scale


@pytest.mark.slow
def test_clusters_are_simulated(scale: str) -> None:
    lines = re.findall(r"^ +[\d,]+ +[\d,]+ +(\d+) +[\d.]+ +([\d.]+) ", scale, re.MULTILINE)
    assert {workers for workers, _ in lines} == {"8", "64"}
    assert all(float(of_ideal) >= 1 for _, of_ideal in lines)


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
    backbones = ["--backbones", "timm:test_resnet", "--together", "timm:test_resnet", "torchvision:shufflenet_v2_x0_5"]
    few = ["--made", "6", "--few", "4", "--many", "8", "--repeat", "1", "--engines", "eager", "--batch-sizes", "2", "4"]
    run = subprocess.run(
        [sys.executable, BENCHMARKS / "extract.py", *backbones, *few, "--device", "cpu", "--scratch", tmp_path],
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    assert re.findall(r"^(\w+)$", run.stdout, re.MULTILINE) == ["speed", "batches", "pass", "memory", "ceilings"]
    assert re.search(r"eager +[\d.]+ images/s +[\d.]+ times the plain loop", run.stdout)
    assert "eager outputs differ from the eager ones on the CPU by 0.0e+00" in run.stdout
    assert re.search(r"images/s: [\d.,]+ in batches of 2, [\d.,]+ in batches of 4", run.stdout)
    assert "opened 6 files for 6 images" in run.stdout
    assert re.search(r"ratio \d+\.\d+; at most 1.05: (reached|MISSED)", run.stdout)
    assert re.search(r"8 images: [\d,]+ MiB at most\n.*times as much; at most 1.1: (reached|MISSED)", run.stdout)
    assert run.stdout.count("of the lower") == 2
    assert list(tmp_path.iterdir()) == []


def test_solvers_are_compared_with_those_of_scikit_learn() -> None:
    small = ["--rows", "240", "--classes", "4", "--widths", "150", "200", "--reference-classes", "2"]
    run = subprocess.run(
        [sys.executable, BENCHMARKS / "train.py", *small, "--sizes", "60", "120", "240"],
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    assert re.findall(r"^(\w+)$", run.stdout, re.MULTILINE) == ["svm", "logistic", "growth", "turns", "memory"]
    assert re.search(r"LinearSVC +[\d.]+ s, from 2 of the classes", run.stdout)
    assert "(at most 1e-05: reached)" in run.stdout
    ratios = re.findall(r"[\d.]+ times faster  \(at least (\d+): \w+\); [\d.]+ without the holding", run.stdout)
    tolerances = re.findall(r"([\d,]+ features): LogisticRegression, tol (\S+): [\d.]+ s, objective", run.stdout)
    assert ratios[0] == "20"
    assert set(ratios[1:]) == {"3"}
    assert 2 <= len(ratios[1:]) <= len(tolerances)
    for features in ("350 features", "150 features"):
        tried = [tolerance for there, tolerance in tolerances if there == features]
        assert tried == ["1e-04", "1e-05", "1e-06", "1e-07", "1e-08"][: len(tried)]
        assert tried
    assert re.findall(r"(\d+) features: objective .* \(no higher: reached\)", run.stdout) == ["350", "150"]
    assert re.findall(r"^  (\w+) grows with the rows to the power of -?\d", run.stdout, re.MULTILINE) == [
        "hold",
        "svm",
        "logistic",
    ]
    assert re.search(r"after a product by NumPy, [\d.]+ s after one by SciPy: [\d.]+ times as long", run.stdout)
    assert re.search(r"[\d.]+ times the features, of which n x n numbers are [\d.]+  \(at most 2: \w+\)", run.stdout)


@pytest.mark.slow
def test_a_whole_benchmark_is_compared_with_plain_scripts_that_fit_the_same_rows() -> None:
    run = subprocess.run(
        [sys.executable, BENCHMARKS / "train.py", "--part", "benchmark"],
        capture_output=True,
        text=True,
        check=True,
        timeout=480,
    )
    assert "extrapolated: 1 of 2 folds fitted" in run.stdout
    assert "extrapolated: penalties searched in 1 of 5 inner folds" in run.stdout
    reference = re.findall(r"^  reference: (.+?) {2,}[\d.]+ % of 12 +[\d.]+ s, of which", run.stdout, re.MULTILINE)
    both = re.findall(r"^  (.+?) +[\d.]+ +[\d.]+$", run.stdout, re.MULTILINE)
    assert reference == both == [row.text for row in all_rows(["backbone1", "backbone2"])]
    assert re.search(r"fusion benchmark [\d.]+ s  \(under 300 s: (reached|MISSED)\)", run.stdout)
    assert re.search(r"[\d.]+ times faster  \(at least 10: (reached|MISSED)\)", run.stdout)
    assert re.search(r"memory: [\d,]+ MiB in \d+ processes at most, of which a made-up data set", run.stdout)
    assert re.search(r"0.00 times the features beyond the made-up data set  \(at most 2: reached\)", run.stdout)


@pytest.mark.slow
def test_rows_of_the_reference_can_be_chosen_and_come_after_what_they_need(tmp_path: Path) -> None:
    program = f"from made import *; make_cache(Path({str(tmp_path)!r}), 24, (6, 8), 2)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=BENCHMARKS, timeout=120)
    run = subprocess.run(
        [sys.executable, BENCHMARKS / "reference.py", "--cache", tmp_path, "--rows", "stacking", "concat-soft*"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    rows = re.findall(r"^(\S+) +[\d.]+ % of 24 +[\d.]+ s$", run.stdout, re.MULTILINE)
    assert rows == ["backbone1", "backbone2", "concat-softmax", "stacking"]
    assert "extrapolated" not in run.stdout
