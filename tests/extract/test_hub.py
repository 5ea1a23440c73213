"""Published weights: taken from this machine where they are, fetched where not, remembered with their commit."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError
from safetensors.torch import save

from fusion_pipeline.errors import IncompleteError, RefusedError, UsageError
from fusion_pipeline.extract.networks.backbones import Backbone, find_backbone
from fusion_pipeline.extract.networks.hub import HubFile, fetch_published, find_published, pinned, published_files
from fusion_pipeline.extract.networks.weights import (
    file_sha256,
    lasting_name,
    load_tensors,
    locate_weights,
    weights_at_hand,
)
from tests.builders import HUB_COMMIT as COMMIT
from tests.builders import Tiny, put_into_hub, write_pictures
from tests.extract.made import run

TINY = "timm/test_resnet.r160_in1k"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty cache of the hub, which this test alone sees."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


class Hub:
    """Stands in for the hub: has some files, and notes what is asked for."""

    def __init__(self, cache: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
        self.cache, self.files, self.asked = cache, files, list[str]()
        monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", self.metadata)
        monkeypatch.setattr("huggingface_hub.hf_hub_download", self.download)

    def metadata(self, url: str, timeout: float) -> SimpleNamespace:
        self.asked.append(url)
        if url.rsplit("/", 1)[1] not in self.files:
            raise EntryNotFoundError.__new__(EntryNotFoundError)  # its __init__ differs from release to release
        return SimpleNamespace(commit_hash=COMMIT)

    def download(self, repository: str, file: str, revision: str) -> str:
        return str(put_into_hub(self.cache, repository, file, self.files[file]))


def test_the_hub_is_asked_for_what_timm_publishes(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(cache, {"model.safetensors": b"weights"}, monkeypatch)
    backbone = find_backbone("timm:test_resnet.r160_in1k", {})
    assert (find_published(backbone), weights_at_hand(backbone)) == (None, None)
    path = locate_weights(backbone)
    assert path.read_bytes() == b"weights"
    assert hub.asked == [f"https://huggingface.co/{TINY}/resolve/main/model.safetensors"]
    assert locate_weights(backbone) == find_published(backbone) == weights_at_hand(backbone) == path
    assert len(hub.asked) == 1  # what is at hand needs no network
    locate_weights(find_backbone("resnet50", {}))
    assert hub.asked[1] == "https://huggingface.co/timm/resnet50.tv_in1k/resolve/main/model.safetensors"


def test_tensors_alone_come_before_a_pickle(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(cache, {"pytorch_model.bin": b"pickled"}, monkeypatch)
    path = fetch_published(find_backbone("timm:test_resnet.r160_in1k", {}))
    assert path.name == "pytorch_model.bin"
    assert [url.rsplit("/", 1)[1] for url in hub.asked] == ["model.safetensors", "pytorch_model.bin"]
    hub.files = {}
    with pytest.raises(IncompleteError, match=r"there is no such file\. Get https://huggingface\.co/timm/test_vit"):
        fetch_published(find_backbone("timm:test_vit.r160_in1k", {}))


def test_what_was_fetched_is_remembered_with_its_commit(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(cache, {"model.safetensors": b"weights"}, monkeypatch)
    backbone = find_backbone("timm:test_resnet.r160_in1k", {})
    name = lasting_name(backbone, locate_weights(backbone))
    assert name == f"hub:{TINY}@{COMMIT}/model.safetensors"
    again = Backbone("again", "timm:test_resnet", weights=name)
    assert locate_weights(again) == locate_weights(backbone)
    assert lasting_name(again, locate_weights(again)) == name


def test_a_store_names_the_commit_and_the_sha256(
    cache: Path, tmp_path: Path, tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    Hub(cache, {"w.safetensors": tiny_resnet.weights.read_bytes()}, monkeypatch)
    table = {**tiny_resnet.table, "weights": "hub:me/mine/w.safetensors"}

    class Published(Tiny):
        backbone = find_backbone("small", {"small": table})

    pictures = write_pictures(tmp_path / "flowers", per_class=1)
    made = run(pictures, tmp_path / "cache", Published("small", "test_resnet", tiny_resnet.weights)).backbones[0].store
    assert made.manifest.made["source"]["weights"] == f"hub:me/mine@{COMMIT}/w.safetensors"
    assert made.manifest.identity["weights"] == file_sha256(tiny_resnet.weights)


def test_a_file_of_the_hub_that_changed_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = save({"a": torch.zeros(1)})
    Hub(cache, {"model.safetensors": content}, monkeypatch)
    path = fetch_published(find_backbone("timm:test_resnet.r160_in1k", {}))
    seen = file_sha256(path)
    assert load_tensors(path, seen).keys() == {"a"}
    path.write_bytes(save({"a": torch.ones(1)}))
    with pytest.raises(RefusedError, match="changed while it was in use"):
        load_tensors(path, seen)


def test_a_hub_that_is_out_of_reach(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host\nand a long story\x1b[2J")

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", fail)
    with pytest.raises(IncompleteError, match="could not be downloaded: no route to host") as caught:
        locate_weights(find_backbone("resnet50", {}))
    assert caught.value.exit_code == 10
    message = str(caught.value)
    assert "\n" not in message
    assert "Get https://huggingface.co/timm/resnet50.tv_in1k/resolve/main/model.safetensors" in message
    assert message.endswith("give it with --weights FILE, or in fusion.toml.")


@pytest.mark.parametrize("name", ["me/w.pth", "me/mine", "me/mine@a@b/w.pth", "me/mine/../../w.pth", "", "a b/c/d"])
def test_a_file_of_the_hub_without_owner_name_or_file(name: str) -> None:
    with pytest.raises(UsageError, match="Write hub:OWNER/NAME@REVISION/FILE"):
        locate_weights(Backbone("x", "timm:test_resnet", weights=f"hub:{name}"))


def test_only_a_file_in_the_cache_of_the_hub_has_a_commit(tmp_path: Path) -> None:
    path = put_into_hub(tmp_path, "a/b.c", "folder/w.pth", b"")
    assert pinned(path) == HubFile("a/b.c", "folder/w.pth", COMMIT)
    assert pinned(tmp_path / "models--a" / "w.pth") is None
    own = Backbone("x", "timm:test_resnet", weights=str(path))
    assert lasting_name(own, path) == str(path)
    packaged = Backbone("x", "timm:test_resnet", weights="package:timm/version.py")
    assert lasting_name(packaged, path) == "package:timm/version.py"


def test_a_download_behind_an_address_checks_the_hash_in_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str | None]] = []

    def download(url: str, path: str, hash_prefix: str | None = None) -> None:
        asked.append((url, hash_prefix))
        Path(path).write_bytes(b"weights")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    backbone = find_backbone("torchvision:squeezenet1_1", {})
    assert weights_at_hand(backbone) is None
    path = locate_weights(backbone)
    assert path.read_bytes() == b"weights"
    assert locate_weights(backbone) == weights_at_hand(backbone) == path
    assert lasting_name(backbone, path) is None
    assert [(url.rsplit("/")[-1], prefix) for url, prefix in asked] == [("squeezenet1_1-b8a52dc0.pth", "b8a52dc0")]


def test_a_download_with_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(url: str, path: str, hash_prefix: str) -> None:
        raise RuntimeError(f'invalid hash value (expected "{hash_prefix}", got "00")')

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    with pytest.raises(
        RefusedError, match=r'b8a52dc0\.pth is not what .* \(invalid hash value \(expected "b8a5'
    ) as caught:
        locate_weights(find_backbone("torchvision:squeezenet1_1", {}))
    assert caught.value.exit_code == 16


def test_a_folder_in_the_place_of_a_file_is_not_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints" / "squeezenet1_1-b8a52dc0.pth").mkdir(parents=True)
    assert weights_at_hand(find_backbone("torchvision:squeezenet1_1", {})) is None


def test_a_tag_chooses_among_torchvisions_weights() -> None:
    files = [published_files(find_backbone(f"torchvision:resnet50{tag}", {}))[0] for tag in ("", ".IMAGENET1K_V1")]
    assert [file.url.rsplit("/")[-1] for file in files] == ["resnet50-11ad3fa6.pth", "resnet50-0676ba61.pth"]


def test_a_model_without_published_weights() -> None:
    with pytest.raises(IncompleteError, match=r"timm publishes no weights for 'coatnet_0_224' of backbone 'x'\. Give"):
        locate_weights(Backbone("x", "timm:coatnet_0_224"))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("timm:test_resnet.none", r"timm publishes no weights 'none' of 'test_resnet'\. It has r160_in1k\."),
        ("torchvision:resnet50.V9", r"no weights 'V9' of 'resnet50'\. It has IMAGENET1K_V1, IMAGENET1K_V2\."),
    ],
)
def test_a_tag_that_nobody_publishes(model: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        locate_weights(Backbone("x", model))
