"""`fusion demo` goes the whole way, here on few scans with tiny backbones."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import sklearn.datasets

from fusion_pipeline import demo
from fusion_pipeline.commands.console import RESUMES
from tests.builders import write_weights
from tests.commands.made import failure, fusion

SCANS = 53


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the demo has 50 scans of 5 digits, holds 3 out and knows two tiny backbones."""
    scans = sklearn.datasets.load_digits()
    rows = np.flatnonzero(scans.target < 5)[:SCANS]
    few = SimpleNamespace(images=scans.images[rows], target=scans.target[rows])
    monkeypatch.setattr(sklearn.datasets, "load_digits", lambda: few)
    tables = {}
    for architecture in ("test_resnet", "test_efficientnet"):
        weights = write_weights(tmp_path / f"{architecture}.safetensors", architecture)
        tables[architecture] = {"model": f"timm:{architecture}", "weights": str(weights), "input_size": 32}
    monkeypatch.setattr(demo, "BACKBONES", tables)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def held_out(home: Path) -> list[Path]:
    """Return the scans that were held out, in their order."""
    return sorted((home / "new").iterdir(), key=lambda path: path.stem.split("-")[1])


def test_the_whole_way(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUSION_CACHE", "elsewhere")  # everything is made in the demo's folder all the same
    outcome = fusion("demo", "--folder", "my-demo", "--gate", "average", "--device", "cpu", "--executor", "loop")
    assert outcome.code == 0, outcome
    lines = outcome.output.splitlines()
    assert [line[:2] for line in lines if line[:1].isdigit()] == ["1.", "2.", "3.", "4."]
    assert "50 scans in " in lines[1]
    assert lines[1].endswith("one folder per class; 3 held out")
    assert sum("50 rows computed" in line for line in lines) == 3
    assert any(line.strip().startswith("average") for line in lines)
    predicted = [line.split(":")[0].strip() for line in lines if line.endswith("test_efficientnet 0.50")]
    assert predicted == [str(path.relative_to(here)) for path in held_out(here / "my-demo")]
    assert sorted(path.name for path in here.iterdir() if path.is_dir()) == ["my-demo"]
    names = {path.name for path in (here / "my-demo").iterdir()}
    assert names == {".fusion-demo", "digits", "new", "cache", "runs", "fusion.toml"}


def test_again_as_a_document(here: Path) -> None:
    options = ("--device", "cpu", "--executor", "loop", "--gate", "average")
    first = fusion("demo", *options, "--json")
    assert first.code == 0, first
    document = first.document
    assert {row["method"] for row in document["rows"]} == {"test_resnet", "test_efficientnet", "average"}
    assert [Path(item["path"]).exists() for item in document["predictions"]] == [True] * 3
    again = fusion("demo", *options)
    assert again.output.count("up to date") == 3
    assert str(Path(document["run"]) / "model") in again.output
    assert fusion("cache", "verify", "--cache", "fusion-demo/cache").code == 0


def test_the_daily_commands_work_in_its_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fusion("demo", "--device", "cpu", "--executor", "loop", "--gate", "average").code == 0
    monkeypatch.chdir(here / "fusion-demo")
    extracted = fusion("extract", "--backbone", "all", "--json").document
    assert [store["computed"] for store in extracted["stores"]] == [0, 0]


def test_somebody_elses_folder_is_refused(here: Path) -> None:
    assert "is not empty" in failure(2, "demo", "--folder", ".")


def test_an_interrupted_demo_says_that_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fusion_pipeline.commands.inputs.run_extraction", stop)
    outcome = fusion("demo")
    assert (outcome.code, outcome.errors.splitlines()[-1]) == (130, f"Error: Interrupted. {RESUMES}")
