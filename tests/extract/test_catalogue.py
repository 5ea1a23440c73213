"""The catalogue finds what the libraries have, and says of each what building it would show."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fusion_pipeline.errors import UsageError
from fusion_pipeline.extract.networks.backbones import KNOWN, Backbone, find_backbone
from fusion_pipeline.extract.networks.catalogue import Entry, describe, describe_all, library_models, search
from tests.builders import Tiny


def test_an_entry_is_what_the_network_is(tiny_resnet: Tiny) -> None:
    entry, module = describe(tiny_resnet.backbone), tiny_resnet.module()
    assert entry.parameters == sum(parameter.numel() for parameter in module.parameters())
    assert (entry.n_features, entry.n_classes, entry.input_size) == (96, 10, 32)
    assert (entry.at_hand, entry.url) == (tiny_resnet.weights, None)


@pytest.mark.parametrize(
    ("name", "features", "size", "classes"),
    [
        ("timm:vit_small_patch14_dinov2.lvd142m", 384, 518, 0),
        ("timm:vit_base_patch32_clip_224.openai", 768, 224, 0),
        ("timm:deit_tiny_distilled_patch16_224.fb_in1k", 192, 224, 1000),
        ("timm:vit_tiny_patch16_224.augreg_in21k", 192, 224, 21843),
        ("timm:mobilenetv3_small_050.lamb_in1k", 1024, 224, 1000),
        ("timm:vit_small_patch16_rope_mixed_224", 384, 224, 1000),  # computes with what it fills
        ("torchvision:squeezenet1_1", 512, 224, 1000),
        ("torchvision:regnet_x_400mf.IMAGENET1K_V1", 400, 224, 1000),
        ("torchvision:vit_b_16.IMAGENET1K_SWAG_E2E_V1", 768, 384, 1000),
    ],
)
def test_models_of_the_libraries(
    name: str, features: int, size: int, classes: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    entry = describe(find_backbone(name, {}))
    assert (entry.n_features, entry.input_size, entry.n_classes) == (features, size, classes)
    assert entry.at_hand is None
    assert entry.url is not None
    assert entry.url.startswith("https://")


def test_a_pattern_is_a_part_of_a_name_or_a_whole_one() -> None:
    assert search("Resnet18*v1", {}) == ("torchvision:resnet18.IMAGENET1K_V1",)
    assert search("timm:test_vit?.*", {}) == tuple(f"timm:test_vit{number}.r160_in1k" for number in (2, 3))
    assert search("dinov2", {}) == search("timm:*dinov2*", {})


def test_the_named_ones_come_first() -> None:
    mine = {"mine": "timm:test_vit"}
    assert search("test_vit.", mine) == ("timm:test_vit.r160_in1k",)
    assert search("mine", mine)[0] == "mine"
    assert search("legacy_xception", {name: found.model for name, found in KNOWN.items()}) == (
        "xception",
        "timm:legacy_xception.tf_in1k",
    )


def test_every_name_can_be_given() -> None:
    names = library_models()
    assert len(names) > 1000
    assert len(set(names)) == len(names)
    for name in names[:: len(names) // 20]:
        assert find_backbone(name, {}).model == name


@pytest.mark.parametrize(
    ("pattern", "nearest"),
    [("resnet50x9", "resnet50"), ("dinov22x", "dinov2"), ("timm:efficientnet_b77", "efficientnet_b7")],
)
def test_a_pattern_that_matches_nothing(pattern: str, nearest: str) -> None:
    with pytest.raises(UsageError, match=rf"No backbone matches '{pattern}'\..*\b{nearest}\b"):
        search(pattern, {})


@pytest.mark.parametrize(
    "wrong",
    [
        Backbone("wrong", "timm:test_vit", arguments={"wings": 2}),
        Backbone("wrong", "timm:test_resnat"),
        Backbone("wrong", "timm:test_resnet", arguments={"features_only": True}),
        Backbone("wrong", "timm:test_resnet", preprocessing={"crop_pct": 7}),
        UsageError("Its table is wrong."),
    ],
    ids=str,
)
def test_one_that_is_wrong_hides_no_other(wrong: Backbone | UsageError, tiny_resnet: Tiny) -> None:
    rows = describe_all({"wrong": wrong, "right": tiny_resnet.backbone})
    assert [row.name for row in rows] == ["wrong", "right"]
    assert isinstance(rows[0].found, UsageError)
    assert rows[0].backbone is (wrong if isinstance(wrong, Backbone) else None)
    assert isinstance(rows[1].found, Entry)


def test_what_weights_are_at_hand(tmp_path: Path) -> None:
    assert describe(Backbone("x", "timm:test_vit", weights=str(tmp_path / "gone.pth"))).at_hand is None
    assert describe(Backbone("x", "timm:test_vit", weights="package:no_such/w.pth")).at_hand is None
    assert describe(Backbone("x", "timm:test_vit", weights="package:timm/version.py")).at_hand is not None
