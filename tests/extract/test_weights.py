"""Weights files: found where they are named, refused when damaged, hostile or of another model, never executed."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save

from fusion_pipeline.errors import IncompleteError, RefusedError, UsageError
from fusion_pipeline.extract.networks.backbones import Backbone
from fusion_pipeline.extract.networks.weights import file_sha256, fit_tensors, load_tensors, locate_weights
from tests.builders import N_CLASSES, Tiny, random_module


@pytest.fixture
def tensors(tiny_resnet: Tiny) -> dict[str, torch.Tensor]:
    return load_file(tiny_resnet.weights)


class Canary:
    """A pickle payload that makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["weights.pth", "weights.pt", "weights.bin", "weights.safetensors"])
@pytest.mark.parametrize("by", ["torch", "pickle"])
def test_a_payload_is_never_run(tmp_path: Path, name: str, by: str) -> None:
    canary, path = tmp_path / "canary", tmp_path / name
    payload = {"fc.weight": Canary(canary)}
    if by == "torch":
        torch.save(payload, path)
    else:
        path.write_bytes(pickle.dumps(payload))
    with pytest.raises(RefusedError, match="holds more than tensors") as caught:
        load_tensors(path)
    assert not canary.exists()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 3, 0.5, -1])
def test_truncated_safetensors(tmp_path: Path, tiny_resnet: Tiny, keep: float) -> None:
    content = tiny_resnet.weights.read_bytes()
    path = tmp_path / "cut.safetensors"
    path.write_bytes(content[: int(len(content) * keep) if keep == 0.5 else int(keep)])
    with pytest.raises(RefusedError, match="damaged" if keep else "is empty"):
        load_tensors(path)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff" * 8 + b"{}",
        (2**40).to_bytes(8, "little") + b"{}",
        (100_002).to_bytes(8, "little") + b'{"a":' * 20_000 + b"12",
        b"",
    ],
)
def test_hostile_headers(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "evil.safetensors"
    path.write_bytes(content)
    with pytest.raises(RefusedError):
        load_tensors(path)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x02}q\x00.", b"hello", b"\x80\x04\x95" + b"\xff" * 50]
)
def test_files_that_are_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "junk.pth"
    path.write_bytes(content)
    with pytest.raises(RefusedError):
        load_tensors(path)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensors: tensors,
        lambda tensors: {"state_dict": tensors, "epoch": 3},
        lambda tensors: {"model": {f"module.{name}": value for name, value in tensors.items()}},
    ],
)
def test_checkpoints_as_people_save_them(tmp_path: Path, tensors: dict[str, torch.Tensor], wrap: Any) -> None:
    path = tmp_path / "weights.pth"
    torch.save(wrap(tensors), path)
    loaded = load_tensors(path)
    assert set(loaded) == set(tensors)
    assert torch.equal(loaded["conv1.0.weight"], tensors["conv1.0.weight"])


def test_a_checkpoint_without_tensors(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"epoch": 3}, path)
    with pytest.raises(RefusedError, match="holds no state dict"):
        load_tensors(path)


def fit(tensors: dict[str, torch.Tensor], *, in_order: bool = False) -> torch.nn.Module:
    module: torch.nn.Module = random_module("test_resnet", seed=5, num_classes=N_CLASSES)
    backbone = Backbone("small", "timm:test_resnet", in_order=in_order)
    fit_tensors(module, tensors, backbone, Path("w.safetensors"))
    return module


def test_half_precision_weights_become_float32(tensors: dict[str, torch.Tensor]) -> None:
    module = fit({name: value.half() for name, value in tensors.items()})
    weight = module.state_dict()["fc.weight"]
    assert weight.dtype == torch.float32
    assert torch.equal(weight, tensors["fc.weight"].half().float())


def test_batch_counters_may_be_missing(tensors: dict[str, torch.Tensor]) -> None:
    module = fit({name: value for name, value in tensors.items() if not name.endswith("num_batches_tracked")})
    assert torch.equal(module.state_dict()["bn1.running_mean"], tensors["bn1.running_mean"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("fc.bias"), "'fc.bias' is missing"),
        (lambda tensors: tensors.update(extra=torch.zeros(1)), "'extra' is not of this model"),
        (lambda tensors: tensors.update({"fc.bias": torch.zeros(7)}), r"'fc.bias' is \(7,\), not \(10,\)"),
        (lambda tensors: tensors.pop("bn1.running_mean"), "'bn1.running_mean' is missing"),
    ],
)
def test_misfits_name_the_tensors(tensors: dict[str, torch.Tensor], change: Any, message: str) -> None:
    change(tensors)
    with pytest.raises(RefusedError, match=message) as caught:
        fit(tensors)
    assert "w.safetensors" in str(caught.value)
    assert caught.value.exit_code == 16


def test_many_misfits_are_counted() -> None:
    with pytest.raises(RefusedError, match=r"and \d+ more"):
        fit({"strange": torch.zeros(1)})


def test_weights_in_order_need_no_names(tensors: dict[str, torch.Tensor]) -> None:
    renamed = {f"other.{number}": value for number, value in enumerate(_without_counters(tensors).values())}
    module = fit(renamed, in_order=True)
    assert torch.equal(module.state_dict()["fc.weight"], tensors["fc.weight"])
    first = next(iter(renamed))
    with pytest.raises(RefusedError, match="is missing"):
        fit({name: value for name, value in renamed.items() if name != first}, in_order=True)
    with pytest.raises(RefusedError, match="not"):
        fit(dict(reversed(renamed.items())), in_order=True)


def _without_counters(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    names = random_module("test_resnet", num_classes=N_CLASSES).state_dict()
    return {name: tensors[name] for name in names if not name.endswith("num_batches_tracked")}


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(IncompleteError, match=r"not at '.*gone\.safetensors'\. Correct --weights"):
        locate_weights(Backbone("x", "timm:test_resnet", weights=str(tmp_path / "gone.safetensors")))


def test_a_package_that_is_not_installed() -> None:
    with pytest.raises(IncompleteError, match=r"'no-such-package', which is not installed\. Run pip install"):
        locate_weights(Backbone("x", "timm:test_resnet", weights="package:no_such_package/w.pth"))


def test_a_package_without_the_file() -> None:
    with pytest.raises(IncompleteError, match="cannot be read"):
        file_sha256(locate_weights(Backbone("x", "timm:test_resnet", weights="package:timm/no-such-file.pth")))


def test_a_file_in_a_package() -> None:
    path = locate_weights(Backbone("x", "timm:test_resnet", weights="package:timm/version.py"))
    assert path.is_file()


def test_sha256_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert file_sha256(tmp_path / "file") == ("sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")


def test_saved_weights_are_what_the_tests_think(tiny_resnet: Tiny, tensors: dict[str, torch.Tensor]) -> None:
    assert save(tensors) == save(tiny_resnet.module().state_dict())


@pytest.mark.parametrize("name", ["package:/w.pth", "package:module", "package:"])
def test_a_package_without_module_or_file_is_a_wrong_call(name: str) -> None:
    with pytest.raises(UsageError, match="Write package:MODULE/FILE"):
        locate_weights(Backbone("x", "timm:test_resnet", weights=name))


def test_a_package_inside_one_that_is_not_installed() -> None:
    with pytest.raises(IncompleteError, match="not installed"):
        locate_weights(Backbone("x", "timm:test_resnet", weights="package:no.such.package/w.pth"))


def test_content_tells_safetensors_not_the_name(tmp_path: Path, tiny_resnet: Tiny) -> None:
    path = tmp_path / "weights.txt"
    path.write_bytes(tiny_resnet.weights.read_bytes())
    assert load_tensors(path).keys() == load_tensors(tiny_resnet.weights).keys()


def test_other_bytes_than_were_hashed_are_refused(tiny_resnet: Tiny) -> None:
    assert load_tensors(tiny_resnet.weights, file_sha256(tiny_resnet.weights))
    with pytest.raises(RefusedError, match="changed while it was in use"):
        load_tensors(tiny_resnet.weights, "sha256:" + "0" * 64)
