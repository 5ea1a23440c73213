"""What an identity says of a network becomes the multiply-adds of one image, without weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from fusion_pipeline.errors import FusionError, UsageError, printable
from fusion_pipeline.extract.networks.backbones import Backbone
from fusion_pipeline.extract.networks.models import outline
from fusion_pipeline.extract.networks.network import build_untrained


def count_multiply_adds(name: str, identity: Mapping[str, Any]) -> float:
    """Return what a store's network does for one image, in convolutions and matrix products; reads no weights.

    Parameters
    ----------
    name : str
        What the backbone is called in messages.
    identity : mapping
        Of a backbone's store: its ``backbone`` and its ``preprocessing``.

    Raises
    ------
    UsageError
        If the identity names no network, or its library no longer builds it.

    Examples
    --------
    >>> network = {"library": "timm", "architecture": "test_resnet", "arguments": {}}
    >>> count_multiply_adds("x", {"backbone": network, "preprocessing": {"input_size": 160}})
    102547200.0
    """
    try:
        made, size = identity["backbone"], int(identity["preprocessing"]["input_size"])
        backbone = Backbone(name, f"{made['library']}:{made['architecture']}", arguments=dict(made["arguments"]))
    except (KeyError, TypeError, ValueError):
        raise UsageError(f"What was made of backbone '{printable(name)}' does not say which network it is.") from None
    try:
        return _counted_without_memory(backbone, size)
    except FusionError:
        raise
    except Exception:  # some compute with values in passing, which a network without memory does not have
        return build_untrained(backbone, size).multiply_adds


def _counted_without_memory(backbone: Backbone, size: int) -> float:
    module = outline(backbone).eval().to("meta")
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        module(torch.empty((1, 3, size, size), device="meta"))
    return counter.get_total_flops() / 2
