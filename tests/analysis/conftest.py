"""Runs that several test files read; nobody writes into them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusion_pipeline.analysis.kept_run import KeptRun
from fusion_pipeline.analysis.measures import Measures, measure
from tests.analysis.made import publish_telling, run_benchmark_on

COSTS = {"alpha": 2e9, "beta": 5e8}


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two repeats, whose gate `embedding` learns whom to trust."""
    home = tmp_path_factory.mktemp("analysis")
    stores = publish_telling(home / "cache")
    return run_benchmark_on(stores, home / "runs", ["average", "constant", "embedding"]).folder


@pytest.fixture(scope="session")
def kept(run_folder: Path) -> KeptRun:
    return KeptRun.open(run_folder)


@pytest.fixture(scope="session")
def measured(kept: KeptRun) -> Measures:
    return measure(kept, stores=kept.stores(), multiply_adds=COSTS)


@pytest.fixture(scope="session")
def lonely(tmp_path_factory: pytest.TempPathFactory) -> Measures:
    """One backbone, two classes, half of the images tested once, no fused row, no stores."""
    home = tmp_path_factory.mktemp("lonely")
    stores = publish_telling(home / "cache", most=1, classes=2)
    return measure(KeptRun.open(run_benchmark_on(stores, home / "runs", [], repeats=1, holdout="0.5").folder))
