"""A folder of figures and tables: what is in it, that it repeats to the byte, and what it leaves alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fusion_pipeline.analysis.analyze import analyze, name_runs
from fusion_pipeline.analysis.kept_run import KeptRun
from fusion_pipeline.analysis.measures import Measures
from fusion_pipeline.errors import UsageError


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def test_the_folder_holds_what_its_document_names(measured: Measures, tmp_path: Path) -> None:
    result = analyze({"made": measured}, tmp_path / "out")
    found = contents(tmp_path / "out")
    assert json.loads(found["analysis.json"]) == result.document
    assert sorted(found) == sorted([*result.document["files"], "analysis.json"])
    named = [name for each in result.document["figures"] for name in (each["picture"], *each["tables"])]
    assert sorted(named) == result.document["files"]


def test_the_same_runs_are_the_same_bytes(measured: Measures, tmp_path: Path) -> None:
    for name in ("one", "two"):
        analyze({"made": measured}, tmp_path / name)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert str(tmp_path).encode() not in b"".join(contents(tmp_path / "one").values())


def test_what_an_earlier_analysis_left_is_removed_and_nothing_else(
    measured: Measures, lonely: Measures, tmp_path: Path
) -> None:
    analyze({"made": measured}, tmp_path)
    (tmp_path / "mine.svg").write_text("mine")
    analyze({"lonely": lonely}, tmp_path, "png")
    found = contents(tmp_path)
    assert "trust.svg" not in found
    assert "calibration.png" in found
    assert found["mine.svg"] == b"mine"


@pytest.mark.parametrize("files", ['["../precious.csv", "a/b.svg", ".hidden.svg", 7]', "7", '{"a": 1}'])
def test_a_forged_document_removes_nothing_elsewhere(files: str, lonely: Measures, tmp_path: Path) -> None:
    (tmp_path / "precious.csv").write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "analysis.json").write_text(f'{{"format": "fusion-analysis 1", "files": {files}}}')
    analyze({"lonely": lonely}, tmp_path / "out")
    assert (tmp_path / "precious.csv").read_text() == "precious"


def test_the_document_has_the_numbers(measured: Measures, tmp_path: Path) -> None:
    (run,) = analyze({"made": measured}, tmp_path).document["runs"]
    assert (run["dataset"], run["fused"], run["votes"]) == ("made", "embedding", 298)
    assert run["agreement"]["pairs"][0]["kappa"] == measured.agreement.pairs[0].kappa
    assert run["correct"]["counts"] == list(measured.correct.counts)
    assert measured.confused is not None
    assert run["confused"]["confusions"] == measured.confused.confusions
    assert run["subsets"]["tried"] == 3
    assert list(run["trust"]["weights"]) == ["alpha", "beta"]
    image = run["trust"]["most"]["alpha"][0]["image"]
    assert image in measured.run.predictions.sample_ids


def test_figures_in_no_known_format(measured: Measures, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be written as 'pdf'\. Give one of svg, png"):
        analyze({"made": measured}, tmp_path, "pdf")


def test_names_of_runs(kept: KeptRun, lonely: Measures, tmp_path: Path) -> None:
    assert name_runs([kept]) == ("made",)
    again = KeptRun.open(shutil.copytree(kept.folder, tmp_path / kept.folder.name))
    end = kept.folder.name.rpartition("-")[2]
    other = lonely.run.folder.name.rpartition("-")[2]
    assert name_runs([kept, lonely.run]) == (f"made ({end})", f"made ({other})")
    assert name_runs([kept, again]) == (f"made ({end}, 1)", f"made ({end}, 2)")
    with pytest.raises(UsageError, match="named twice"):
        name_runs([kept, kept])
