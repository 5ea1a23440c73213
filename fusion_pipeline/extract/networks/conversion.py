"""A checkpoint in another form of its model into the tensors of the model, as the model's own library converts it."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

# What timm's files call the function that its loader passes a checkpoint through; each takes the tensors and the model.
_TIMM_FILTERS = ("checkpoint_filter_fn", "_filter_fn", "_filter_torchvision_pretrained")

# A second classifier that only training looks at; networks that are built for inference lack it.
_AUXILIARY = "AuxLogits."


def convert_tensors(module: nn.Module, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a checkpoint as the library that built a model loads it.

    Position embeddings and tables of relative positions are resampled to the size of input that the model is built
    for; names of other code bases become the library's. What nobody converts is returned as it is.

    Parameters
    ----------
    module : Module
        The model, of timm or torchvision.
    tensors : mapping of str to Tensor
        The checkpoint.

    Returns
    -------
    dict of str to Tensor

    Examples
    --------
    >>> import timm
    >>> trained = timm.create_model("test_vit", img_size=32).state_dict()
    >>> larger = timm.create_model("test_vit", img_size=64)
    >>> tuple(trained["pos_embed"].shape), tuple(convert_tensors(larger, trained)["pos_embed"].shape)
    ((1, 5, 64), (1, 17, 64))
    """
    given = dict(tensors)
    if not hasattr(module, _AUXILIARY.rstrip(".")):
        given = {name: value for name, value in given.items() if not name.startswith(_AUXILIARY)}
    convert = _torchvision if type(module).__module__.startswith("torchvision.") else _timm
    chatty = logging.getLogger("timm")
    level = chatty.level
    chatty.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            found = convert(module, dict(given))
    except Exception:  # a checkpoint of anything else can fail in any line of these functions
        return given
    finally:
        chatty.setLevel(level)
    return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}


def _timm(module: nn.Module, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    home = sys.modules[type(module).__module__]
    named = (getattr(home, name, None) for name in _TIMM_FILTERS)
    convert: Callable[..., dict[str, Any]] | None = next((found for found in named if found is not None), None)
    if convert is None:
        return tensors
    try:
        return convert(tensors, module)
    except TypeError:  # some take no model
        return convert(tensors)


def _torchvision(module: Any, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings  # noqa: PLC0415

    if not isinstance(module, VisionTransformer):
        return tensors
    return dict(interpolate_embeddings(module.image_size, module.patch_size, tensors))
