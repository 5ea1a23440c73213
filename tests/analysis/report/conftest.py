"""What the tests of pages share: a run with hostile names, its report, and a page that explains predictions."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusion_pipeline.analysis.kept_run import KeptRun
from fusion_pipeline.analysis.measures import measure
from fusion_pipeline.analysis.report.report import Report, make_report
from tests.analysis.report.made import make_run


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="session")
def report(run_folder: Path) -> Report:
    run = KeptRun.open(run_folder)
    stores = run.stores()
    return make_report(measure(run, stores=stores), stores, {"alpha": 1e9, "beta": 2e9}, 2000)
