"""`fusion report`: the answer in words, the page as a file, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.analysis.report.made import make_run
from tests.commands.made import failure, fusion


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    make_run(folder)
    return folder


@pytest.fixture
def run(home: Path) -> Path:
    (found,) = (home / "runs").glob("*-benchmark-*")
    return found


def test_people_get_the_answer_and_the_path(run: Path) -> None:
    outcome = fusion("report", str(run))
    assert outcome.code == 0, outcome
    first, *_, last = outcome.output.splitlines()
    assert first == "Fusing 2 backbones raises accuracy from 76.00 % to 87.33 %."
    assert last == f"report: {run / 'report.html'}"
    assert "\u2068" not in outcome.output
    assert (run / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert sorted(path.name for path in run.iterdir() if path.name.startswith("report")) == ["report.html"]


def test_machines_get_a_document(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "new" / "page.html"
    document = fusion("report", str(run), "--out", str(page), "--row", "stacking", "--images", "7", "--json").document
    assert document["report"] == str(page)
    assert document["bytes"] == page.stat().st_size
    assert document["row"] == "stacking"
    assert document["images"] == {"shown": 7, "tested": 150}
    assert [point["heading"] for point in document["answer"]["points"]][:2] == [
        "Which backbone is best?",
        "What does fusing gain?",
    ]
    again = tmp_path / "again.html"
    fusion("report", str(run), "--out", str(again), "--row", "stacking", "--images", "7")
    assert again.read_bytes() == page.read_bytes()


def test_the_cache_may_have_moved(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home, tmp_path / "here")
    (tmp_path / "here" / "cache").rename(tmp_path / "moved")
    (run,) = (tmp_path / "here" / "runs").glob("*-benchmark-*")
    seconds = run / "seconds.json"
    seconds.write_text(seconds.read_text().replace(str(home), str(tmp_path / "here")))
    failure(10, "report", str(run))
    assert fusion("report", str(run), "--cache", str(tmp_path / "moved"), "--images", "3").code == 0


def test_what_is_refused(run: Path, tmp_path: Path) -> None:
    assert "There is no run at" in failure(10, "report", str(tmp_path / "none"))
    assert "has no fused row 'stackin'. Did you mean 'stacking'?" in failure(2, "report", str(run), "--row", "stackin")
    (tmp_path / "file").write_text("")
    failure(15, "report", str(run), "--images", "1", "--out", str(tmp_path / "file" / "page.html"))
