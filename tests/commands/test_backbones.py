"""`fusion backbones` lists what has a name, searches what has none, and says where weights are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from tests.builders import Tiny, put_into_hub, write_pictures, write_settings
from tests.commands.made import failure, fusion


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_resnet: Tiny) -> Path:
    write_settings(tmp_path, write_pictures(tmp_path / "flowers", per_class=1), [tiny_resnet])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    return tmp_path


def test_the_named_ones(here: Path) -> None:
    lines = fusion("backbones").output.splitlines()
    assert lines[0].split() == ["name", "params", "features", "input", "classes", "weights"]
    assert any(line.startswith("small_resnet = timm:test_resnet ") and "at hand: " in line for line in lines)
    assert any(
        line.startswith("vgg16 = ") and "138.4 M    4,096   224   1,000  to be downloaded" in line for line in lines
    )


def test_a_search(here: Path) -> None:
    found = fusion("backbones", "test_vit", "--json").document
    assert found["more"] == 0
    first = found["backbones"][0]
    assert first["name"] == first["model"] == "timm:test_vit.r160_in1k"
    assert (first["features"], first["input_size"], first["classes"]) == (64, 160, 1000)
    assert (first["at_hand"], first["problem"]) == (None, None)
    assert first["url"] == "https://huggingface.co/timm/test_vit.r160_in1k/resolve/main/model.safetensors"


def test_a_long_list_is_cut(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["fusion_pipeline.commands.backbones"], "_SHOWN", 2)
    cut, whole = (fusion("backbones", "torchvision:resnet*", *more).output.splitlines() for more in ((), ("--all",)))
    assert len(cut) == 4
    assert cut[-1] == f"and {len(whole) - 3} more: --all shows them"
    assert fusion("backbones", "torchvision:resnet*", "--json").document["more"] == len(whole) - 3


def test_weights_that_cannot_be_had(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", fail)
    line = failure(10, "extract", "--backbone", "timm:test_vit")
    assert "Get https://huggingface.co/timm/test_vit.r160_in1k/resolve/main/model.safetensors" in line
    assert "--weights FILE" in line


def test_weights_that_are_not_what_their_name_states(here: Path, tiny_resnet: Tiny) -> None:
    """Both are at hand for the list, which reads none; whoever would run them is told."""
    content = tiny_resnet.weights.read_bytes()
    kept = here / "torch" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(content)
    put_into_hub(here / "hub", "timm/test_resnet.r160_in1k", "model.safetensors", content, stated="0" * 64)
    for name, said in (("torchvision:squeezenet1_1", "b8a52dc0"), ("timm:test_resnet", "000000000000")):
        assert all(item["at_hand"] for item in fusion("backbones", f"{name}.*", "--json").document["backbones"])
        line = failure(16, "extract", "--backbone", name)
        assert "is not what its name states" in line
        assert said in line
    assert not list((here / "cache").rglob("manifest.json"))


def test_a_folder_of_weights(here: Path, tiny_resnet: Tiny) -> None:
    (here / "weights").mkdir()
    file = here / "weights" / "vgg16.safetensors"
    file.write_bytes(b"")
    found = {item["name"]: item for item in fusion("backbones", "--weights", "weights", "--json").document["backbones"]}
    assert found["vgg16"]["at_hand"] == "weights/vgg16.safetensors"
    assert found["vgg19"]["at_hand"] is None


def test_a_pattern_that_matches_nothing(here: Path) -> None:
    line = failure(2, "backbones", "dinov22x")
    assert line.startswith("Error: No backbone matches 'dinov22x'. The nearest are dinov2")


def test_a_backbone_that_cannot_be_built_says_why(here: Path) -> None:
    with open("fusion.toml", "a", encoding="utf-8") as file:
        file.write('\n[backbone.odd]\nmodel = "timm:test_resnat"\n')
    assert "timm has no model 'test_resnat'" in fusion("backbones").output
    listed = {item["name"]: item for item in fusion("backbones", "--json").document["backbones"]}
    assert listed["odd"]["parameters"] is None
    assert "Did you mean 'test_resnet'" in listed["odd"]["problem"]


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ('model = "tmm:test_resnet"', "write timm:NAME or torchvision:NAME"),
        ('weights = "w.pth"', 'says not which network it is. Add model = "timm:NAME"'),
    ],
)
def test_a_table_that_is_wrong_hides_no_other(here: Path, table: str, problem: str) -> None:
    with open("fusion.toml", "a", encoding="utf-8") as file:
        file.write(f"\n[backbone.odd]\n{table}\n")
    (line,) = [line for line in fusion("backbones").output.splitlines() if line.startswith("odd ")]
    assert problem in line
    listed = {item["name"]: item for item in fusion("backbones", "--json").document["backbones"]}
    assert (listed["odd"]["model"], listed["odd"]["at_hand"]) == (None, None)
    assert problem in listed["odd"]["problem"]
    assert listed["small_resnet"]["problem"] is None
    assert "odd" not in fusion("backbones", "test_vit.").output
    assert problem in fusion("backbones", "odd").output
    assert problem in failure(2, "extract", "--backbone", "odd")
