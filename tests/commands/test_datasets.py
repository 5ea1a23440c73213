"""`fusion datasets`, and data sets that go by name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fusion_pipeline.commands import inputs
from fusion_pipeline.config import load_settings
from tests.commands.made import failure, fusion
from tests.images.datasets.made import flowers17, flowers102, pets


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FUSION_DATA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_all_seven(home: Path) -> None:
    flowers17(home / "flowers17")
    pets(Path("pets"))
    outcome = fusion("datasets")
    assert outcome.code == 0
    lines = outcome.output.splitlines()
    assert len(lines) == 7
    assert lines[0].split() == ["actions40", "9,532", "images", "40", "classes", "no", "copy", "here"]
    assert lines[5].endswith(f"complete  {home}/flowers17")
    assert "incomplete: 3 images, 2 classes" in lines[6]
    found = fusion("datasets", "--json").document["datasets"]
    assert [item["complete"] for item in found] == [False] * 5 + [True, False]
    assert found[5]["found"] == {"images": 1360, "classes": 17}
    assert found[0]["path"] is None
    assert {archive["hash"] for archive in found[0]["archives"]} == {None}


def test_what_is_missing_from_one(home: Path) -> None:
    folder = flowers17(home / "elsewhere")
    assert fusion("datasets", "flowers17", "--data", str(folder)).code == 0
    (folder / "jpg" / "image_0009.jpg").unlink()
    outcome = fusion("datasets", "flowers17", "--data", str(folder))
    assert outcome.code == 10
    assert "incomplete: 1,359 images" in outcome.output
    assert "missing  jpg/image_0009.jpg" in outcome.output
    document = fusion("datasets", "flowers17", "--data", str(folder), "--json").document
    assert (document["complete"], document["absent"]) == (False, ["jpg/image_0009.jpg"])
    assert fusion("datasets", "pets").code == 10
    assert "no copy here" in fusion("datasets", "pets").output


def test_wrong_calls(home: Path) -> None:
    assert "is not a data set of the paper" in failure(2, "datasets", "flowers18")
    assert "Which data set?" in failure(2, "datasets", "--download")
    assert f"There is nothing at '{Path.cwd()}/nowhere'" in failure(10, "datasets", "pets", "--data", "nowhere")
    Path("pets.tar").touch()
    assert "pets.tar' is no folder. Unpack it" in failure(13, "datasets", "pets", "--data", "pets.tar")


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("Flowers17", "Did you mean the data set 'flowers17'?"),
        ("caltech-101", "Did you mean the data set 'caltech101'?"),
        ("flowers.csv", "Check the path given as the data set."),
    ],
)
def test_what_is_neither_there_nor_known(home: Path, given: str, hint: str) -> None:
    message = failure(10, "extract", "--data", given, "--backbone", "xception")
    assert message == f"Error: There is nothing at '{Path.cwd()}/{given}'. {hint}"


def test_a_name_is_looked_up(home: Path) -> None:
    settings = load_settings({"data": "flowers102"}, {"FUSION_DATA_HOME": str(home)}, Path.cwd())
    message = failure(10, "extract", "--data", "flowers102", "--backbone", "xception")
    assert "There is no folder 'flowers102' here" in message
    assert "'fusion datasets flowers102 --download' fetches it from www.robots.ox.ac.uk; or unpack" in message
    assert "'fusion datasets pets --download --data-home 'my home'' fetches it from" in failure(
        10, "cache", "verify", "--source", "--data", "pets", "--data-home", "my home"
    )
    flowers102(home / "flowers102")
    assert inputs.image_folder(settings).root == home / "flowers102"
    Path("fusion.toml").write_text('data = "flowers102"\n')
    from_file = load_settings({}, {"FUSION_DATA_HOME": str(home)}, Path.cwd())
    assert inputs.image_folder(from_file).root == home / "flowers102"
    shutil.copytree(home / "flowers102", "flowers102")
    assert inputs.image_folder(settings).root == Path.cwd() / "flowers102"
    assert inputs.chosen_dataset(settings) == inputs.chosen_dataset(from_file) == "flowers102"
