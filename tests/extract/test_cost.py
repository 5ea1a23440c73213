"""Multiply-adds of networks without weights are those of the networks themselves."""

from __future__ import annotations

from typing import Any

import pytest

from fusion_pipeline.errors import UsageError
from fusion_pipeline.extract.networks import cost
from fusion_pipeline.extract.networks.backbones import Backbone
from fusion_pipeline.extract.networks.cost import count_multiply_adds
from fusion_pipeline.extract.networks.network import build_untrained


def identity(model: str, size: int, **arguments: Any) -> dict[str, Any]:
    library, _, architecture = model.partition(":")
    network = {"library": library, "architecture": architecture, "arguments": arguments}
    return {"backbone": network, "preprocessing": {"input_size": size}}


@pytest.mark.parametrize(
    ("model", "size", "arguments"),
    [
        ("timm:test_resnet", 160, {}),
        ("timm:test_efficientnet", 160, {"num_classes": 7}),
        ("timm:test_vit", 160, {}),
        ("torchvision:squeezenet1_1", 96, {}),
    ],
)
def test_a_network_without_weights_counts_as_one_with_them(model: str, size: int, arguments: dict[str, Any]) -> None:
    network = build_untrained(Backbone("x", model, arguments=arguments), size)
    assert count_multiply_adds("x", identity(model, size, **arguments)) == network.multiply_adds > 0


def test_a_network_that_needs_values_is_built_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> float:
        raise NotImplementedError("no values on the device meta")

    expected = count_multiply_adds("x", identity("timm:test_resnet", 160))
    monkeypatch.setattr(cost, "_counted_without_memory", fail)
    assert count_multiply_adds("x", identity("timm:test_resnet", 160)) == expected


@pytest.mark.parametrize("made", [{}, {"backbone": "resnet"}, {"backbone": {}, "preprocessing": {"input_size": 8}}])
def test_an_identity_that_names_no_network(made: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="does not say which network it is"):
        count_multiply_adds("x", made)


def test_a_model_that_its_library_does_not_have() -> None:
    with pytest.raises(UsageError, match="cannot build 'resnet_of_tomorrow'"):
        count_multiply_adds("x", identity("timm:resnet_of_tomorrow", 160))
