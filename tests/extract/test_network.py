"""What a network gives equals what its library gives for the same pixels, and its head explains its probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save
from timm.data.transforms_factory import create_transform
from torchvision.models import squeezenet1_1

from fusion_pipeline.errors import UsageError
from fusion_pipeline.extract.networks.backbones import Backbone, find_backbone
from fusion_pipeline.extract.networks.models import construct
from fusion_pipeline.extract.networks.network import Network, build_network, find_preprocessing, with_trained_arguments
from tests.builders import N_CLASSES, SIZE, Tiny, random_module, write_pictures, write_weights
from tests.extract.made import run

NORMALISATION = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pictures") / "flowers", per_class=2)


def by_hand(tiny: Tiny, pictures: Path, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Compute features and probabilities with timm alone."""
    module = tiny.module()
    own = module.pretrained_cfg
    transform = create_transform(
        (3, size, size),
        interpolation=own["interpolation"],
        crop_pct=own["crop_pct"],
        mean=own["mean"],
        std=own["std"],
        is_training=False,
    )
    batch = torch.stack([transform(Image.open(path).convert("RGB")) for path in sorted(pictures.rglob("*.png"))])
    with torch.no_grad():
        features = module.forward_head(module.forward_features(batch), pre_logits=True)
        return features.numpy(), module(batch).softmax(dim=1).numpy()


def test_stores_hold_what_timm_computes(
    pictures: Path, tmp_path: Path, tiny_resnet: Tiny, tiny_efficientnet: Tiny
) -> None:
    result = run(pictures, tmp_path / "cache", tiny_resnet, tiny_efficientnet)
    for tiny, item in zip((tiny_resnet, tiny_efficientnet), result.backbones, strict=True):
        features, probabilities = by_hand(tiny, pictures)
        assert features.std() > 1e-3  # the comparison below says something
        scale = np.abs(features).max()
        assert np.abs(item.store.features[:] - features).max() < 1e-3 * scale
        assert np.abs(item.store.probabilities[:] - probabilities).max() < 1e-3


def test_the_head_explains_the_probabilities(pictures: Path, tmp_path: Path, tiny_resnet: Tiny) -> None:
    store = run(pictures, tmp_path / "cache", tiny_resnet, dtype="float32").backbones[0].store
    weight, bias = np.asarray(store.array("head_weight")[:]), np.asarray(store.array("head_bias")[:])
    assert (weight.shape, bias.shape) == ((N_CLASSES, 96), (N_CLASSES,))
    logits = store.features[:] @ weight.T + bias
    explained = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.abs(explained - store.probabilities[:]).max() < 1e-5


def test_a_vision_transformer(tmp_path: Path) -> None:
    arguments = {"num_classes": N_CLASSES, "img_size": SIZE}
    weights = write_weights(tmp_path / "vit.safetensors", "test_vit", **arguments)
    network = build_network(Backbone("vit", "timm:test_vit", arguments=arguments), weights, SIZE)
    images = torch.rand((2, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(1))
    module = random_module("test_vit", **arguments)
    features, probabilities = network(images)
    with torch.no_grad():
        expected = module.forward_head(module.forward_features(images), pre_logits=True)
    assert torch.allclose(features, expected, atol=1e-5)
    assert probabilities is not None
    assert network.n_features == 64
    assert network.head is not None


def test_without_a_head_there_are_features_only(pictures: Path, tmp_path: Path) -> None:
    weights = write_weights(tmp_path / "headless.safetensors", "test_resnet", num_classes=0)
    table = {"model": "timm:test_resnet", "weights": str(weights), "arguments": {"num_classes": 0}, "input_size": SIZE}
    headless = find_backbone("headless", {"headless": table})
    network = build_network(headless, weights, SIZE)
    assert (network.n_features, network.n_classes, network.head) == (96, 0, None)

    class Given(Tiny):
        backbone = headless

    store = run(pictures, tmp_path / "cache", Given("headless", "test_resnet", weights)).backbones[0].store
    assert {name.split("/")[0] for name in store.manifest.files} == {"features", "status", "zarr.json"}


def test_squeezenet_has_no_linear_head() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = squeezenet1_1(weights=None).eval()
    classifier = module.classifier[1]
    network = Network(module, classifier, 64)
    assert (network.n_features, network.n_classes, network.head) == (512, 1000, None)


def test_a_torchvision_model_from_its_file(tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = squeezenet1_1(weights=None).eval()
    path = tmp_path / "squeezenet.safetensors"
    path.write_bytes(save(module.state_dict()))
    backbone = Backbone("squeezenet", "torchvision:squeezenet1_1", weights=str(path))
    network = build_network(backbone, path, 64)
    images = torch.rand((2, 3, 64, 64), generator=torch.Generator().manual_seed(1))
    features, probabilities = network(images)
    with torch.no_grad():
        assert torch.allclose(features, module.features(images).mean(dim=(2, 3)), atol=1e-5)
        assert probabilities is not None
        assert torch.allclose(probabilities, module(images).softmax(dim=1), atol=1e-6)


def test_preprocessing_is_the_models_own_unless_overridden() -> None:
    own = find_preprocessing(find_backbone("xception", {}))
    assert (own.input_size, own.crop_pct, own.interpolation) == (299, 0.8975, "bicubic")
    assert own.mean == own.std == (0.5, 0.5, 0.5)
    table = {"xception": {"input_size": 128, "crop_pct": 1, "mean": [0, 0, 0]}}
    changed = find_preprocessing(find_backbone("xception", table))
    assert (changed.input_size, changed.crop_pct, changed.mean, changed.std) == (128, 1.0, (0.0,) * 3, own.std)


@pytest.mark.parametrize(
    ("name", "size", "crop", "interpolation"),
    [
        ("inception_v3", 299, 0.875, "bicubic"),
        ("resnet50", 224, 0.875, "bilinear"),
        ("vgg16", 224, 0.875, "bilinear"),
        ("vgg19", 224, 0.875, "bilinear"),
        ("efficientnet_lite0", 224, 0.875, "bicubic"),
        ("torchvision:squeezenet1_1", 224, 0.875, "bilinear"),
    ],
)
def test_preprocessing_of_known_backbones(name: str, size: int, crop: float, interpolation: str) -> None:
    found = find_preprocessing(find_backbone(name, {}))
    assert (found.input_size, found.crop_pct, found.interpolation) == (size, crop, interpolation)
    assert found.to_json()["antialias"] is True


@pytest.mark.parametrize(
    ("name", "n_features"), [("inception_v3", 2048), ("vgg16", 4096), ("resnet50", 2048), ("xception", 2048)]
)
def test_widths_of_the_papers_backbones(name: str, n_features: int) -> None:
    backbone = find_backbone(name, {})
    with torch.device("meta"):  # shapes only: no memory, no random numbers
        module: Any = timm.create_model(backbone.architecture, pretrained=False)
    assert module.get_classifier().in_features == n_features


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("timm:test_resnat", "timm has no model 'test_resnat'. Did you mean 'test_resnet'"),
        ("torchvision:squeezenet9", "torchvision has no model 'squeezenet9'"),
    ],
)
def test_unknown_models(model: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find_preprocessing(Backbone("x", model))


def test_arguments_that_the_model_refuses(tiny_resnet: Tiny) -> None:
    backbone = Backbone("x", "timm:test_resnet", arguments={"wings": 2})
    with pytest.raises(UsageError, match=r"cannot build 'test_resnet'.*wings"):
        build_network(backbone, tiny_resnet.weights, SIZE)


def test_randomness_of_the_caller_is_left_alone(tiny_resnet: Tiny) -> None:
    state: Any = torch.random.get_rng_state()
    Network(tiny_resnet.module(), None, SIZE)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("name", ["inception_v3", "googlenet"])
def test_torchvisions_own_arguments_for_its_weights(name: str) -> None:
    backbone = with_trained_arguments(Backbone("x", f"torchvision:{name}"))
    assert backbone.arguments == {"transform_input": True}
    with torch.device("meta"):
        assert construct(backbone).transform_input is True
    mine = Backbone("x", f"torchvision:{name}", arguments={"transform_input": False})
    assert with_trained_arguments(mine).arguments == {"transform_input": False}


@pytest.mark.parametrize(
    ("model", "arguments"),
    [
        ("timm:vit_tiny_patch16_224.augreg_in21k", {"num_classes": 21843}),
        ("timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k", {}),
        ("timm:vit_tiny_patch16_224", {}),
        ("timm:legacy_xception.tf_in1k", {}),
    ],
)
def test_a_tag_decides_the_number_of_classes(model: str, arguments: dict[str, int]) -> None:
    assert with_trained_arguments(Backbone("x", model)).arguments == arguments


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("crop_mode", "middle", "did you mean"),
        ("interpolation", "bicubc", "did you mean 'bicubic'"),
        ("crop_pct", 0.0, "above 0, and 2 at most"),
        ("crop_pct", 7.0, "above 0, and 2 at most"),
        ("input_size", 0, "1 to 4096 pixels"),
        ("input_size", 10**6, "1 to 4096 pixels"),
        ("std", [0.5, 0.5, 0.0], "three numbers above 0"),
        ("mean", [0.5, float("nan"), 0.0], "three finite numbers"),
    ],
)
def test_preprocessing_that_cannot_be_is_refused_by_name(field: str, value: object, message: str) -> None:
    with pytest.raises(UsageError, match=f"'small': {field} .*{message}"):
        find_preprocessing(Backbone("small", "timm:test_resnet", preprocessing={field: value}))


class Linear(torch.nn.Module):
    """The classifier takes in the mean colour; its logits are multiplied by `factor`."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.classifier = torch.nn.Linear(3, 4)
        torch.nn.init.normal_(self.classifier.weight, generator=torch.Generator().manual_seed(0))
        self.factor = factor

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(images.mean(dim=(2, 3)))
        return self.factor * logits


@pytest.mark.parametrize(("factor", "explains"), [(1.0, True), (1.01, False)])
def test_a_head_that_does_not_give_the_probabilities_is_none(factor: float, explains: bool) -> None:
    module = Linear(factor)
    assert (Network(module, module.classifier, 8).head is not None) is explains


def test_a_head_at_many_positions_is_none_even_where_it_happens_to_fit() -> None:
    class Mapped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classifier = torch.nn.Conv2d(3, 4, 1)
            self.classifier.bias = torch.nn.Parameter(torch.full((4,), 100.0))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            maps: torch.Tensor = self.classifier(images).relu()
            return maps.mean(dim=(2, 3))

    module = Mapped()
    network = Network(module, module.classifier, 8)
    features, probabilities = network(torch.rand((2, 3, 8, 8), generator=torch.Generator().manual_seed(1)))
    logits = module.classifier(features[:, :, None, None]).flatten(1)
    assert probabilities is not None
    assert torch.allclose(logits.softmax(dim=1), probabilities, atol=1e-5)
    assert network.head is None
