"""What a store's key is made of, and the pixels that a network gets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from timm.data.transforms_factory import create_transform

from fusion_pipeline.errors import UsageError
from fusion_pipeline.extract import producers
from fusion_pipeline.extract.loading.preparation import NetworkInput
from fusion_pipeline.extract.networks.backbones import Backbone, Preprocessing, find_backbone
from fusion_pipeline.extract.networks.network import find_preprocessing, with_trained_arguments
from fusion_pipeline.extract.networks.taps import PRE_LOGITS, tap_rule
from fusion_pipeline.extract.producers import backbone_recipe, index_recipe
from fusion_pipeline.images.decode import DecodeBudget
from fusion_pipeline.store.identity import digest
from tests.builders import write_picture

BACKBONE = Backbone("small", "timm:test_resnet", arguments={"num_classes": 10})
PREPROCESSING = Preprocessing(32, 0.9, "bicubic", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
BUDGET = DecodeBudget()

PIXELS: dict[str, Any] = {"input_size": 33, "crop_pct": 0.8, "interpolation": "bilinear", "crop_mode": "squash"}
NORMALISATION: dict[str, Any] = {"mean": (0.5, 0.5, 0.4), "std": (0.5, 0.5, 0.4)}


def key(
    backbone: Backbone = BACKBONE,
    preprocessing: Preprocessing = PREPROCESSING,
    weights: str = "sha256:aa",
    dtype: str = "float16",
    budget: DecodeBudget = BUDGET,
) -> str:
    return digest(backbone_recipe(backbone, preprocessing, weights, dtype, budget))


@pytest.mark.parametrize(
    "change",
    [
        {"backbone": replace(BACKBONE, arguments={"num_classes": 11})},
        {"backbone": replace(BACKBONE, model="timm:test_vit")},
        {"backbone": replace(BACKBONE, model="torchvision:test_resnet")},
        *({"preprocessing": replace(PREPROCESSING, **{name: value})} for name, value in PIXELS.items()),
        *({"preprocessing": replace(PREPROCESSING, **{name: value})} for name, value in NORMALISATION.items()),
        {"weights": "sha256:bb"},
        {"dtype": "float32"},
        {"budget": DecodeBudget(max_pixels=1000)},
    ],
    ids=str,
)
def test_whatever_changes_features_changes_the_key(change: dict[str, Any]) -> None:
    assert key(**change) != key()


def test_another_tap_changes_the_key() -> None:
    recipe = backbone_recipe(BACKBONE, PREPROCESSING, "sha256:aa", "float16", BUDGET, tap=PRE_LOGITS)
    assert digest(recipe) != key()


@pytest.mark.parametrize(
    ("name", "golden"),
    [
        ("inception_v3", "eac1d0a43472"),
        ("resnet50", "62ce2a2fd766"),
        ("vgg16", "4738e33d95ca"),
        ("vgg19", "35f904d7a732"),
        ("xception", "fc63021d80b5"),
        ("efficientnet_lite0", "4e202373f900"),
        ("timm:vit_small_patch14_dinov2.lvd142m", "2214f486fd1e"),
        ("timm:convnext_tiny.in12k_ft_in1k", "ca929f12a722"),
        ("torchvision:vit_b_16", "087baa00eecb"),
    ],
)
def test_keys_stay_what_they_are(name: str, golden: str) -> None:
    backbone = with_trained_arguments(find_backbone(name, {}))
    preprocessing, tap = find_preprocessing(backbone), tap_rule(backbone)
    recipe = dict(backbone_recipe(backbone, preprocessing, "sha256:aa", "float16", BUDGET, tap=tap))
    del recipe["decoder"]  # with the version of Pillow
    assert digest(recipe).startswith(f"sha256:{golden}")


def test_what_a_backbone_is_called_does_not_change_the_key() -> None:
    assert key(replace(BACKBONE, name="other", weights="elsewhere.safetensors")) == key()


@pytest.mark.parametrize(("part", "of_backbones"), [("decoder_identity", True), ("thumbnail_identity", False)])
def test_another_decoder_or_other_thumbnails_change_the_keys(
    part: str, of_backbones: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, backbone = digest(index_recipe(BUDGET)), key()
    monkeypatch.setattr(producers, part, lambda: {"version": "another"})
    assert digest(index_recipe(BUDGET)) != index
    assert (key() != backbone) is of_backbones


@pytest.mark.parametrize("size", [(90, 40), (40, 90), (31, 31)], ids=str)
@pytest.mark.parametrize("crop_pct", [0.9, 1.0, 1.15, 2.0])
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_the_pixels_are_those_of_timm(mode: str, crop_pct: float, size: tuple[int, int], tmp_path: Path) -> None:
    preprocessing = replace(PREPROCESSING, crop_mode=mode, crop_pct=crop_pct)
    with Image.open(write_picture(tmp_path / "wide.png", seed=1, size=size)) as image:
        (pixels,) = NetworkInput.of(preprocessing)(image)
        expected = create_transform(
            (3, 32, 32), interpolation="bicubic", crop_pct=crop_pct, crop_mode=mode, mean=(0.5,) * 3, std=(0.5,) * 3
        )(image)
    assert pixels.dtype == np.uint8
    np.testing.assert_allclose(pixels, (expected * 0.5 + 0.5) * 255, atol=1e-3)


def test_a_crop_beyond_the_image_is_black() -> None:
    (pixels,) = NetworkInput.of(replace(PREPROCESSING, crop_pct=1.15))(Image.new("RGB", (64, 64), "white"))
    inside = np.zeros((3, 32, 32), dtype=bool)
    inside[:, 2:29, 2:29] = True  # floor(32 / 1.15) is 27
    np.testing.assert_array_equal(pixels, np.where(inside, 255, 0))


@pytest.mark.parametrize("name", ["volo_d4_448", "volo_d5_448", "volo_d5_512"])
def test_the_published_crops_above_one(name: str) -> None:
    assert find_preprocessing(Backbone("x", f"timm:{name}")).crop_pct == 1.15
    with pytest.raises(UsageError, match=r"crop_pct = 2\.1 is out of range: it is above 0, and 2 at most"):
        find_preprocessing(Backbone("x", f"timm:{name}", preprocessing={"crop_pct": 2.1}))
