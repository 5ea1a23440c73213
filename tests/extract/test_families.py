"""Small members of the families of timm and torchvision give what the library itself calls features and logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save
from torchvision.models.vision_transformer import VisionTransformer

from fusion_pipeline.errors import UsageError
from fusion_pipeline.extract.networks.backbones import Backbone, find_backbone
from fusion_pipeline.extract.networks.models import construct, outline, without_memory
from fusion_pipeline.extract.networks.network import Network, build_network, find_preprocessing, with_trained_arguments
from fusion_pipeline.extract.networks.taps import CLASSIFIER_INPUT, PRE_LOGITS, PreLogits, tap, tap_rule
from fusion_pipeline.extract.networks.weights import fit_tensors
from tests.builders import random_module, write_weights

SHALLOW = {"depth": 1, "embed_dim": 24, "num_heads": 2}
VIT = {"img_size": 32, **SHALLOW}
STAGES = {"depths": (1, 1, 1, 1)}

# Architecture, side of the input, arguments: as small as each family goes.
FAMILIES: list[tuple[str, int, dict[str, Any]]] = [
    ("test_vit", 32, {"img_size": 32}),
    ("test_vit3", 32, {"img_size": 32}),  # global pool by attention
    ("test_resnet", 32, {}),
    ("test_efficientnet", 32, {}),
    ("test_byobnet", 32, {}),
    ("test_convnext", 32, {}),
    ("test_convnext3", 32, {}),
    ("test_mambaout", 32, {}),
    ("test_nfnet", 32, {}),
    ("vit_small_patch14_dinov2", 28, {"img_size": 28, **SHALLOW}),
    ("vit_base_patch32_clip_224", 32, VIT),
    ("vit_base_patch32_clip_224", 32, {**VIT, "num_classes": 512}),  # the projection of CLIP
    ("vit_base_patch16_siglip_224", 32, {**VIT, "num_classes": 0}),
    ("vit_tiny_patch16_224", 32, {**VIT, "num_classes": 21843}),
    ("deit_tiny_distilled_patch16_224", 32, VIT),
    ("deit_tiny_distilled_patch16_224", 32, {**VIT, "num_classes": 0}),
    ("deit3_small_patch16_224", 32, {"img_size": 32}),
    ("vit_small_patch16_rope_mixed_224", 32, VIT),
    ("beit_base_patch16_224", 32, VIT),
    ("eva02_tiny_patch14_224", 28, {**VIT, "img_size": 28}),
    ("swin_tiny_patch4_window7_224", 32, {"img_size": 32, "embed_dim": 12, "depths": (1, 1)}),
    ("maxvit_rmlp_pico_rw_256", 64, {"img_size": 64}),
    ("mixer_s32_224", 32, {"img_size": 32}),
    ("mobilenetv3_small_050", 32, {}),
    ("mobilenetv4_conv_small_035", 32, {}),
    ("mobilenetv3_small_050", 32, {"num_classes": 0}),
    ("regnetx_002", 32, {}),
    ("densenet121", 32, {"growth_rate": 4, "block_config": (1, 1)}),
    ("vgg11", 32, {"mlp_ratio": 0.02}),
    ("caformer_s18", 32, {}),  # a head of several layers
    ("levit_128s", 64, {"img_size": 64}),  # batch normalisation in the head
    ("shvit_s1", 64, {}),
    ("efficientvit_m0", 64, {"img_size": 64}),
    ("resnet50_clip", 64, {"img_size": 64, "num_classes": 1024}),
    ("xcit_nano_12_p16_224", 32, {"img_size": 32, "depth": 1}),
    ("cait_xxs24_224", 32, VIT),
    ("convnext_atto", 32, {**STAGES, "num_classes": 0}),
]
PROJECTIONS = {("vit_base_patch32_clip_224", 512), ("resnet50_clip", 1024)}


def pixels(size: int) -> torch.Tensor:
    return torch.rand((2, 3, size, size), generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize(
    ("architecture", "size", "arguments"),
    FAMILIES,
    ids=[f"{name}-{arguments.get('num_classes', 1000)}" for name, _, arguments in FAMILIES],
)
def test_features_are_timms_own_and_probabilities_its_softmax(
    tmp_path: Path, architecture: str, size: int, arguments: dict[str, Any]
) -> None:
    module = random_module(architecture, **arguments)
    images = pixels(size)
    with torch.no_grad():
        expected = module.forward_head(module.forward_features(images), pre_logits=True)
        output = module(images)
    path = tmp_path / "w.safetensors"
    path.write_bytes(save({name: value.contiguous() for name, value in module.state_dict().items()}))
    network = build_network(Backbone("x", f"timm:{architecture}", arguments=arguments), path, size)
    features, probabilities = network(images)
    assert expected.std() > 1e-3  # the comparison says something
    assert torch.allclose(features, expected, rtol=1e-4, atol=1e-5)
    assert network.n_features == expected.shape[1]
    if module.num_classes == 0 or (architecture, module.num_classes) in PROJECTIONS:
        assert (probabilities, network.n_classes, network.head) == (None, 0, None)
    else:
        assert probabilities is not None
        assert torch.allclose(probabilities, output.softmax(dim=1), rtol=1e-4, atol=1e-6)
        assert network.n_classes == module.num_classes


@pytest.mark.parametrize(
    ("model", "arguments", "rule"),
    [
        ("timm:resnet18", {}, CLASSIFIER_INPUT),
        ("timm:vgg11", {}, CLASSIFIER_INPUT),
        ("timm:resnetv2_18", {}, CLASSIFIER_INPUT),  # a layer that only drops out, between pooling and classifier
        ("timm:convnext_atto", {"num_classes": 0}, CLASSIFIER_INPUT),
        ("timm:vit_small_patch14_dinov2", {}, CLASSIFIER_INPUT),
        ("torchvision:resnet18", {}, CLASSIFIER_INPUT),
        ("timm:levit_128s", {}, PRE_LOGITS),
        ("timm:shvit_s1", {}, PRE_LOGITS),
        ("timm:efficientvit_m0", {}, PRE_LOGITS),
        ("timm:deit_tiny_distilled_patch16_224", {}, PRE_LOGITS),
        ("timm:caformer_s18", {}, PRE_LOGITS),
        ("timm:vit_base_patch32_clip_224.openai", {"num_classes": 512}, PRE_LOGITS),
    ],
)
def test_the_identity_says_where_features_are_taken(model: str, arguments: dict[str, Any], rule: str) -> None:
    assert tap_rule(Backbone("x", model, arguments=arguments)) == rule


TORCHVISION = [
    ("resnet18", 32, 512),
    ("vit_b_32", 64, 768),
    ("swin_t", 32, 768),
    ("convnext_tiny", 32, 768),
    ("efficientnet_b0", 32, 1280),
    ("googlenet", 64, 1024),
    ("inception_v3", 96, 2048),
    ("densenet121", 32, 1024),
    ("mobilenet_v3_small", 32, 1024),
    ("shufflenet_v2_x0_5", 32, 1024),
    ("mnasnet0_5", 32, 1280),
    ("regnet_x_400mf", 32, 400),
    ("maxvit_t", 224, 512),
]


@pytest.mark.parametrize(("name", "size", "width"), TORCHVISION, ids=[name for name, _, _ in TORCHVISION])
def test_features_of_torchvision_explain_its_logits(name: str, size: int, width: int) -> None:
    backbone = with_trained_arguments(find_backbone("x", {"x": {"model": f"torchvision:{name}", "input_size": size}}))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = construct(backbone).eval()
    network = Network(*tap(module, backbone), size)
    images = pixels(size)
    features, probabilities = network(images)
    with torch.no_grad():
        expected = module(images).softmax(dim=1)
    assert probabilities is not None
    assert torch.allclose(probabilities, expected, atol=1e-6)
    assert (network.n_features, network.n_classes) == (width, 1000)
    assert network.head is not None  # one matrix takes the features to the logits: they are what it takes in
    assert features.shape == (2, width)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fasterrcnn_resnet50_fpn", "is no classifier of images"),
        ("r3d_18", "is no classifier of images"),
        ("quantized_resnet50", "is no classifier of images"),
        ("resnet19", "has no model 'resnet19'. Did you mean 'resnet1"),
    ],
)
def test_what_is_no_classifier_of_images(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find_preprocessing(Backbone("x", f"torchvision:{name}"))


@pytest.mark.parametrize(
    ("architecture", "trained", "wanted", "arguments"),
    [
        ("test_vit", 160, 96, {"img_size": 96}),
        ("test_vit4", 160, 96, {"img_size": 96}),
        ("test_resnet", 160, 96, {}),
        ("test_convnext", 160, 96, {}),
    ],
)
def test_another_input_size(
    tmp_path: Path, architecture: str, trained: int, wanted: int, arguments: dict[str, Any]
) -> None:
    """The network is built for it, the identity says so, and the position embedding is resampled as timm does."""
    path = write_weights(tmp_path / "w.safetensors", architecture)
    backbone = find_backbone("x", {"x": {"model": f"timm:{architecture}", "input_size": wanted}})
    complete = with_trained_arguments(backbone)
    assert complete.arguments == arguments
    network = build_network(complete, path, wanted)
    reference: Any = timm.create_model(
        architecture,
        pretrained=True,
        pretrained_cfg_overlay={"state_dict": random_module(architecture).state_dict()},
        **arguments,
    ).eval()
    with torch.no_grad():
        expected = reference.forward_head(reference.forward_features(pixels(wanted)), pre_logits=True)
    assert torch.allclose(network(pixels(wanted))[0], expected, rtol=1e-4, atol=1e-5)


def test_a_size_that_the_record_gives_itself_is_left_alone() -> None:
    for arguments in ({"img_size": 64}, {"dynamic_img_size": True}):
        table = {"model": "timm:test_vit", "input_size": 96, "arguments": arguments}
        assert with_trained_arguments(find_backbone("x", {"x": table})).arguments == arguments


def test_torchvisions_vit_at_another_size() -> None:
    backbone = find_backbone("x", {"x": {"model": "torchvision:vit_b_32", "input_size": 96}})
    assert with_trained_arguments(backbone).arguments == {"image_size": 96}

    def small(size: int) -> VisionTransformer:
        return VisionTransformer(size, patch_size=32, num_layers=1, num_heads=1, hidden_dim=16, mlp_dim=16)

    tensors = small(64).state_dict()
    fitted = small(96)
    fit_tensors(fitted, tensors, backbone, Path("w.pth"))
    embedding = fitted.encoder.pos_embedding
    assert embedding.shape == (1, 10, 16)
    for corner, old in ((1, 1), (3, 2), (7, 3), (9, 4)):  # the corners of the grid stay what they were
        assert torch.allclose(embedding[0, corner], tensors["encoder.pos_embedding"][0, old], atol=1e-6)


def test_a_size_that_the_model_cannot_have(tmp_path: Path) -> None:
    path = write_weights(tmp_path / "w.safetensors", "test_vit", img_size=32)
    backbone = Backbone("mine", "timm:test_vit", arguments={"img_size": 32})
    with pytest.raises(UsageError, match=r"'mine': timm:test_vit does not take images of 40 pixels.*input_size"):
        build_network(backbone, path, 40)


def test_weights_of_other_names_are_converted(tmp_path: Path) -> None:
    """OpenCLIP keeps timm's model as a part of its own."""
    module = random_module("test_vit", num_classes=0)
    path = tmp_path / "open_clip.safetensors"
    path.write_bytes(save({f"visual.trunk.{name}": value for name, value in module.state_dict().items()}))
    network = build_network(Backbone("x", "timm:test_vit", arguments={"num_classes": 0}), path, 160)
    with torch.no_grad():
        assert torch.allclose(network(pixels(160))[0], module(pixels(160)), rtol=1e-4, atol=1e-5)


def test_building_without_memory_takes_no_values() -> None:
    with without_memory():
        module = construct(Backbone("x", "timm:vit_giant_patch14_dinov2"))
    assert {parameter.device.type for parameter in module.parameters()} == {"meta"}
    assert torch.zeros(1).device.type == "cpu"


def test_an_outline_needs_no_memory_where_both_kinds_of_tensors_meet() -> None:
    module = outline(Backbone("x", "timm:vit_large_patch16_rope_mixed_224"))
    assert next(module.parameters()).device.type == "meta"


def test_an_outline_of_a_model_that_looks_at_its_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: torch.nn.Linear(int(torch.ones(1).item()), 3))
    assert outline(Backbone("x", "timm:test_vit")).weight.shape == (3, 1)
    assert next(outline(Backbone("x", "timm:test_vit")).parameters()).device.type == "cpu"


@pytest.mark.parametrize(
    ("architecture", "arguments"),
    [("test_resnet", {"layers": [1]}), ("test_resnet", {"block": "x"}), ("test_vit", {"patch_size": 0})],
)
def test_arguments_that_constructors_stumble_over(architecture: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"'x': timm cannot build '{architecture}' .*Check model and arguments"):
        outline(Backbone("x", f"timm:{architecture}", arguments=arguments))


def test_a_network_without_classes_gives_its_features() -> None:
    module = random_module("test_vit", img_size=32)
    with torch.no_grad():
        assert PreLogits(module, labelled=False)(pixels(32)).shape == (2, 64)
        assert torch.equal(PreLogits(module, labelled=True)(pixels(32)), module(pixels(32)))
