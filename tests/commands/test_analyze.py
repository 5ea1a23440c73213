"""`fusion analyze`: what people and machines are told, where it writes, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.analysis.made import publish_telling, run_benchmark_on
from tests.commands.made import failure, fusion


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("analyze")
    run_benchmark_on(publish_telling(home / "cache", 90), home / "runs", ["average", "constant"], repeats=1)
    return home


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the copy of a run, in a folder of runs, in the working folder; its cache is elsewhere."""
    monkeypatch.chdir(tmp_path)
    (run,) = (made / "runs").glob("*-benchmark-*")
    return Path(shutil.copytree(run, tmp_path / "runs" / run.name))


def test_people_read_a_sentence_for_each_figure(here: Path) -> None:
    outcome = fusion("analyze", str(here))
    assert outcome.code == 0, outcome
    lines = outcome.output.splitlines()
    assert lines[0] == "made: 89 images, 2 backbones, the fused row is constant"
    assert lines[1].startswith("  Two backbones, alpha and beta, agree with a kappa of ")
    assert lines[1].endswith(" (agreement.svg)")
    assert lines[-1] == f"9 figures, 13 tables and analysis.json in {here / 'analysis'}"
    assert all(line.isprintable() for line in lines)
    assert (here / "analysis" / "confused-pair.svg").is_file()


def test_networks_that_cannot_be_built_leave_the_costs_out(here: Path) -> None:
    """The stores of these tests name no network."""
    outcome = fusion("analyze", str(here))
    notes = outcome.errors.splitlines()
    assert "Note: What was made of backbone 'alpha' does not say which network it is." in notes
    assert (
        "Note: made: The multiply-adds of the backbones are not known, so that gain cannot be drawn against cost."
        in notes
    )
    assert not (here / "analysis" / "subsets.svg").exists()


def test_machines_get_the_document(here: Path) -> None:
    document = fusion("analyze", str(here), "--row", "average", "--format", "png", "--json").document
    assert document.pop("folder") == str(here / "analysis")
    assert document == json.loads((here / "analysis" / "analysis.json").read_text())
    assert document["runs"][0]["fused"] == "average"
    assert {each["picture"].rpartition(".")[2] for each in document["figures"]} == {"png"}


def test_without_a_run_it_is_the_newest_one(here: Path, tmp_path: Path) -> None:
    outcome = fusion("analyze", "--out", "figures")
    assert outcome.code == 0, outcome
    assert outcome.output.splitlines()[-1].endswith(str(tmp_path / "figures"))
    assert (tmp_path / "figures" / "analysis.json").is_file()


def test_several_runs_land_beside_them(here: Path) -> None:
    other = here.with_name(f"{here.name[:-8]}00000000")
    shutil.copytree(here, other)
    outcome = fusion("analyze", str(here), str(other))
    assert outcome.code == 0, outcome
    end = here.name.rpartition("-")[2]
    assert outcome.output.startswith(f"made ({end}): 89 images")
    assert (here.parent / "analysis" / "confused-pair-2-made--00000000-.svg").is_file()


def test_a_cache_that_moved(here: Path, made: Path) -> None:
    """Without it there are no projections; with the place where it is, there are."""
    seconds = here / "seconds.json"
    seconds.write_text(seconds.read_text().replace(json.dumps(str(made / "cache")), json.dumps(str(here / "gone"))))
    outcome = fusion("analyze", str(here))
    assert outcome.code == 0, outcome
    assert "Note: what needs features or thumbnails is left out: Cache" in outcome.errors
    projections = here / "analysis" / "confused-pair-projections.csv"
    assert len(projections.read_text().splitlines()) == 1
    outcome = fusion("analyze", str(here), "--cache", str(made / "cache"))
    assert "left out" not in outcome.errors
    assert len(projections.read_text().splitlines()) > 2


def test_a_cache_of_other_stores_is_refused(here: Path, tmp_path: Path) -> None:
    publish_telling(tmp_path / "other", 90, bad=7)
    line = failure(14, "analyze", str(here), "--cache", str(tmp_path / "other"))
    assert "does not have the store of backbone 'alpha'" in line


@pytest.mark.parametrize(
    ("code", "arguments", "message"),
    [
        (10, ("nowhere",), "There is no run at"),
        (10, ("--runs", "nowhere"), "There is no finished run of a benchmark in"),
        (2, (".",), "is not the run of a benchmark"),
    ],
    ids=["no folder", "no runs", "another folder"],
)
def test_what_is_no_run(code: int, arguments: tuple[str, ...], message: str, here: Path) -> None:
    assert message in failure(code, "analyze", *arguments)


def test_a_row_that_is_none(here: Path) -> None:
    assert "The run has no fused row 'embedding'. It has: average, constant." in failure(
        2, "analyze", str(here), "--row", "embedding"
    )


def test_a_damaged_run(here: Path) -> None:
    (here / "predictions.safetensors").write_bytes(b"x")
    assert "not what the benchmark wrote" in failure(12, "analyze", str(here))


def test_a_folder_that_cannot_be_written(here: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    failure(15, "analyze", str(here), "--out", str(tmp_path / "file"))
