"""A published file is what its name states, or it is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from fusion_pipeline.errors import RefusedError
from fusion_pipeline.extract.networks.backbones import Backbone, find_backbone
from fusion_pipeline.extract.networks.stated import StatedHash, hash_in_link, hash_in_name
from fusion_pipeline.extract.networks.weights import checked_sha256, file_sha256, locate_weights
from tests.builders import put_into_hub

HELLO = "ce013625030ba8dba906f756967f9e9ca394464a"  # of git hash-object, for "hello" and a newline


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with empty caches, of the hub and of torch, which this test alone sees."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    (tmp_path / "torch" / "checkpoints").mkdir(parents=True)
    return tmp_path


def hub_file(content: bytes, stated: str | None, caches: Path) -> tuple[Backbone, Path]:
    put_into_hub(caches / "hub", "me/mine", "w.safetensors", content, stated)
    backbone = Backbone("x", "timm:test_resnet", weights="hub:me/mine/w.safetensors")
    return backbone, locate_weights(backbone)


@pytest.mark.parametrize(("content", "stated"), [(b"weights", None), (b"hello\n", HELLO), (b"weights", "no-hash")])
def test_a_file_of_the_hub_that_is_what_it_is_kept_as(content: bytes, stated: str | None, caches: Path) -> None:
    assert checked_sha256(*hub_file(content, stated, caches)) == f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.mark.parametrize(("stated", "said"), [("0" * 64, "sha256 000000000000"), (HELLO, "git sha1 ce013625030b")])
def test_a_file_of_the_hub_with_other_bytes(stated: str, said: str, caches: Path) -> None:
    backbone, path = hub_file(b"others", stated, caches)
    with pytest.raises(RefusedError, match=f"is not what its name states, {said}: it is damaged, or") as caught:
        checked_sha256(backbone, path)
    # The blob, not the link: without it alone the hub would take the same bytes again.
    assert str(caught.value).startswith(f"Weights file '{path.parents[2] / 'blobs' / stated}'")
    assert caught.value.exit_code == 16


def test_a_cache_of_the_hub_without_links_states_no_hash(caches: Path) -> None:
    backbone, path = hub_file(b"weights", None, caches)
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    assert hash_in_link(path) is None
    assert checked_sha256(backbone, path) == file_sha256(path)


def test_a_file_of_torch_with_other_bytes(caches: Path) -> None:
    backbone = find_backbone("torchvision:squeezenet1_1", {})
    path = caches / "torch" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    path.write_bytes(b"others")
    with pytest.raises(RefusedError, match=r"squeezenet1_1-b8a52dc0\.pth' is not what its name states.*Remove it"):
        checked_sha256(backbone, locate_weights(backbone))


def test_a_file_of_ones_own_may_be_called_anything(tmp_path: Path) -> None:
    path = tmp_path / "tuned-b8a52dc0.pth"
    path.write_bytes(b"others")
    assert checked_sha256(Backbone("x", "timm:test_resnet", weights=str(path)), path) == file_sha256(path)


@pytest.mark.parametrize("name", ["w.pth", "IN1K-vit.h.14-300e.pth.tar", "resnet18-F37072FD.pth", "-0123456.pth"])
def test_a_name_without_a_hash(name: str) -> None:
    assert hash_in_name(name) is None


def test_a_name_may_state_more_than_eight_digits() -> None:
    assert hash_in_name("xception-43020ad28.pth") == StatedHash("sha256", "43020ad28")
