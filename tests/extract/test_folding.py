"""Batch norms in the convolutions before them: the same numbers from fewer layers."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional

from fusion_pipeline.extract.networks.folding import fold_batch_norms

PROBE = torch.rand((1, 3, 12, 12), generator=torch.Generator().manual_seed(0)) * 2 - 1


def norm(channels: int = 4, **options: Any) -> nn.BatchNorm2d:
    """Return a batch norm that does something."""
    layer = nn.BatchNorm2d(channels, **options)
    generator = torch.Generator().manual_seed(channels)
    for values in (layer.running_mean, layer.running_var, layer.weight, layer.bias):
        if values is not None:
            values.data.copy_(torch.rand(channels, generator=generator) + 0.5)
    return layer


def norms(module: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())


class Branching(nn.Module):
    """A convolution that two look at."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), norm()

    def forward(self, images: torch.Tensor) -> Any:
        maps = self.conv(images)
        return self.norm(maps) + functional.relu(maps)


class Twice(nn.Module):
    """A convolution that is applied twice, with one batch norm behind both or two."""

    def __init__(self, *layers: nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv, self.layers = nn.Conv2d(3, 3, 3), nn.ModuleList(layers)

    def forward(self, images: torch.Tensor) -> Any:
        for layer in self.layers:
            images = layer(self.conv(images))
        return images


class Doubling(nn.Module):
    """A batch norm behind a convolution, with something between."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), norm()

    def forward(self, images: torch.Tensor) -> Any:
        return self.norm(self.conv(images) * 2)


class Weighty(nn.Module):
    """A network that looks at a layer of its own beside calling it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), norm()

    def forward(self, images: torch.Tensor) -> Any:
        return self.norm(self.conv(images)) * self.norm.weight.sum()


class Changing(nn.Module):
    """A network that does something else the second time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.calls = nn.Conv2d(3, 4, 3), norm(), 0

    def forward(self, images: torch.Tensor) -> Any:
        self.calls += 1
        return self.norm(self.conv(images)) * self.calls


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_the_filters_are_scaled_and_the_bias_is_moved(bias: bool, affine: bool) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=bias), norm(affine=affine), nn.ReLU()).eval()
    expected = network(PROBE)
    assert fold_batch_norms(network, PROBE) == 1
    assert norms(network) == 0
    torch.testing.assert_close(network(PROBE), expected)
    assert not any(values.requires_grad for values in network[0].parameters())


def test_by_hand() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0.0)).eval()
    with torch.no_grad():
        for values, value in zip(
            (*network.parameters(), network[1].running_mean, network[1].running_var), (3, 1, 2, 5, 7, 4), strict=True
        ):
            values.fill_(value)
    assert fold_batch_norms(network, torch.ones(1, 1, 1, 1)) == 1
    # y = 2 (3 x + 1 - 7) / sqrt(4) + 5 = 3 x - 1
    assert (network[0].weight.item(), network[0].bias.item()) == (3, -1)


@pytest.mark.parametrize(
    "network",
    [
        Branching(),
        Twice(norm(3), norm(3)),
        Doubling(),
        nn.Sequential(norm(3), nn.Conv2d(3, 4, 3)),
        nn.Sequential(nn.Conv2d(3, 4, 3), norm(track_running_stats=False)),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), norm()),
        nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), norm()),
    ],
    ids=["branch", "twice", "between", "before", "no statistics", "activation", "parametrised"],
)
def test_what_cannot_be_folded_stays(network: nn.Module) -> None:
    before = {name: values.clone() for name, values in network.eval().state_dict().items()}
    expected = network(PROBE)
    assert fold_batch_norms(network, PROBE) == 0
    assert norms(network) >= 1
    assert network(PROBE).equal(expected)
    assert all(values.equal(before[name]) for name, values in network.state_dict().items())


@pytest.mark.parametrize("network", [Weighty(), Changing()])
def test_a_network_that_would_give_something_else_is_left_as_it_was(network: Any) -> None:
    before = {name: values.clone() for name, values in network.eval().state_dict().items()}
    assert fold_batch_norms(network, PROBE) == 0
    assert list(before) == list(network.state_dict())
    assert all(values.equal(before[name]) for name, values in network.state_dict().items())
    assert isinstance(network.norm, nn.BatchNorm2d)


def test_twins_of_one_batch_norm_are_left() -> None:
    layer = norm(3)
    network = Twice(layer, layer).eval()
    assert fold_batch_norms(network, PROBE) == 0


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "densenet121"])
def test_networks_of_timm_give_the_same(name: str) -> None:
    torch.manual_seed(0)
    network = timm.create_model(name).eval()
    images = torch.rand(2, 3, 96, 96)
    before, expected = norms(network), network(images)
    folded = fold_batch_norms(network, images[:1])
    assert folded > before // 3
    assert norms(network) == before - folded
    assert float((network(images) - expected).detach().abs().max() / expected.detach().abs().max()) < 1e-5
