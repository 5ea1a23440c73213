"""Names become records: known ones, those of a configuration, and anything that the libraries have."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fusion_pipeline.errors import UsageError
from fusion_pipeline.extract.networks.backbones import (
    KNOWN,
    PAPER,
    Backbone,
    Preprocessing,
    expand_names,
    find_backbone,
)


def test_the_papers_five_are_known() -> None:
    assert {name: KNOWN[name].architecture for name in PAPER} == {
        "inception_v3": "inception_v3",
        "resnet50": "resnet50",
        "vgg16": "vgg16",
        "vgg19": "vgg19",
        "xception": "legacy_xception",
    }


def test_a_table_overrides_fields_of_a_known_backbone() -> None:
    found = find_backbone("xception", {"xception": {"weights": "w.safetensors", "crop_pct": 1.0}})
    assert (found.model, found.weights) == ("timm:legacy_xception.tf_in1k", "w.safetensors")
    assert found.preprocessing == {"crop_pct": 1.0}


def test_a_table_adds_a_backbone() -> None:
    table = {"model": "torchvision:squeezenet1_1", "arguments": {"dropout": 0.1}, "input_size": 227}
    found = find_backbone("mine", {"mine": table})
    assert (found.library, found.model_name) == ("torchvision", "squeezenet1_1")
    assert found.arguments == {"dropout": 0.1}
    assert found.preprocessing == {"input_size": 227}
    assert table["arguments"] == {"dropout": 0.1}  # the configuration is not eaten up


def test_weights_of_ones_own_carry_the_librarys_names() -> None:
    assert KNOWN["efficientnet_lite0"].in_order
    assert not find_backbone("efficientnet_lite0", {"efficientnet_lite0": {"weights": "own.safetensors"}}).in_order
    assert find_backbone("efficientnet_lite0", {"efficientnet_lite0": {"input_size": 64}}).in_order


def test_any_timm_model_by_its_own_name() -> None:
    found = find_backbone("timm:vit_small_patch14_dinov2.lvd142m", {})
    assert (found.architecture, found.weights) == ("vit_small_patch14_dinov2", None)


@pytest.mark.parametrize(("name", "nearest"), [("xeption", "xception"), ("resnet5", "resnet50"), ("mien", "mine")])
def test_unknown_names_get_the_nearest_one(name: str, nearest: str) -> None:
    with pytest.raises(UsageError, match=f"did you mean '{nearest}'") as caught:
        find_backbone(name, {"mine": {"model": "timm:resnet18"}})
    assert caught.value.exit_code == 2


def test_unknown_names_that_resemble_nothing_get_the_list() -> None:
    with pytest.raises(UsageError, match=r"known are efficientnet_lite0, .*xception") as caught:
        find_backbone("\x1b[2Jzzz", {})
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("model", ["keras:xception", "timm:", "resnet50", ""])
def test_models_of_other_libraries(model: str) -> None:
    with pytest.raises(UsageError, match="write timm:NAME or torchvision:NAME"):
        Backbone("x", model)


def test_groups_and_commas() -> None:
    assert expand_names(["vgg16, mine", "paper", "mine"], []) == ("vgg16", "mine", *[n for n in PAPER if n != "vgg16"])
    assert expand_names([], []) == ()
    with pytest.raises(UsageError, match="names none"):
        expand_names(["all"], [])


def test_a_table_without_a_model_says_what_it_lacks() -> None:
    with pytest.raises(UsageError, match=r"\[backbone.mine\] says not which network it is. Add model"):
        find_backbone("mine", {"mine": {"weights": "x.pth"}})


def test_only_backbones_with_the_same_pixels_share_an_image() -> None:
    one = Preprocessing(32, 0.9, "bicubic", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    assert replace(one, mean=(0.4, 0.4, 0.4), std=(0.2, 0.2, 0.2)).geometry == one.geometry
    for other in ({"input_size": 33}, {"crop_pct": 0.8}, {"interpolation": "bilinear"}, {"crop_mode": "squash"}):
        assert replace(one, **other).geometry != one.geometry
