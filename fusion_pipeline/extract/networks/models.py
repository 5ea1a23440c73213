"""A backbone's model name into what timm or torchvision says of it, and into the module that they build."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from fusion_pipeline.errors import UsageError, printable
from fusion_pipeline.extract.networks.backbones import Backbone

# ImageNet-1k, and what timm's weights know of ImageNet-12k, -21k and -22k. Other published heads are projections into
# the space of a text encoder (CLIP), or know other labels.
_IMAGENET_CLASSES = frozenset({1000, 11221, 11821, 19168, 21841, 21842, 21843})

# What torchvision passes to a constructor only along with weights of its own: the published ones were trained so.
_TRAINED_WITH = {"inception_v3": {"transform_input": True}, "googlenet": {"transform_input": True}}

# What torchvision's constructors that fix the size of the input call it.
_SIZED = {"vit_": "image_size"}
_TORCHVISION_SIZE = 224


def own_preprocessing(backbone: Backbone) -> dict[str, Any]:
    """Return the preprocessing that a backbone's published weights were trained with, by `Preprocessing`'s names.

    Raises
    ------
    UsageError
        If the library does not know the model or the tag, or the model takes no single images.

    Examples
    --------
    >>> own_preprocessing(Backbone("x", "torchvision:resnet18"))["interpolation"]
    'bilinear'
    """
    if backbone.library == "timm":
        published = timm_config(backbone)
        fields = ("crop_pct", "crop_mode", "interpolation", "mean", "std")
        # The narrower side of the few that are not square.
        return {"input_size": min(published.input_size[1:]), **{name: getattr(published, name) for name in fields}}
    preset = torchvision_weights(backbone).transforms()
    return {
        "input_size": preset.crop_size[0],
        "crop_pct": preset.crop_size[0] / preset.resize_size[0],
        "interpolation": preset.interpolation.value,
        "mean": preset.mean,
        "std": preset.std,
    }


def implied_arguments(backbone: Backbone, input_size: int) -> dict[str, Any]:
    """Return what the constructor must be told, beyond the record, for the weights and the size of the input to fit.

    That is the number of classes of a timm tag, the size of the input where the model is built for one, and what
    torchvision adds for its own weights.

    Parameters
    ----------
    backbone : Backbone
        Its record.
    input_size : int
        Side of its input in pixels.

    Examples
    --------
    >>> implied_arguments(Backbone("x", "timm:vit_tiny_patch16_224"), 160)
    {'img_size': 160}
    >>> implied_arguments(Backbone("x", "timm:resnet18"), 160)
    {}
    >>> implied_arguments(Backbone("x", "torchvision:vit_b_32"), 160)
    {'image_size': 160}
    """
    if backbone.library == "timm":
        return {**_tag_classes(backbone), **_timm_size(backbone, input_size)}
    implied: dict[str, Any] = dict(_TRAINED_WITH.get(backbone.architecture, {}))
    sized = next((word for start, word in _SIZED.items() if backbone.architecture.startswith(start)), None)
    if sized is not None and input_size != _TORCHVISION_SIZE:
        implied[sized] = input_size
    return implied


def construct(backbone: Backbone) -> nn.Module:
    """Build a backbone's module, with whatever weights its library begins with.

    Raises
    ------
    UsageError
        If the library refuses the model or its arguments.

    Examples
    --------
    >>> type(construct(Backbone("x", "timm:test_resnet"))).__name__
    'ResNet'
    """
    try:
        return _construct(backbone, dict(backbone.arguments))
    except Exception as error:  # arguments of a record reach constructors that raise whatever comes of them
        reason = str(error).strip().split("\n")[0][:120] or type(error).__name__
        raise UsageError(
            f"Backbone '{printable(backbone.name)}': {backbone.library} cannot build "
            f"'{printable(backbone.model_name)}' ({printable(reason)}). Check model and arguments."
        ) from None


def outline(backbone: Backbone) -> nn.Module:
    """Build a backbone's module for what its shapes tell: without memory for its values, wherever that goes.

    Raises
    ------
    UsageError
        If the library refuses the model or its arguments.

    Examples
    --------
    >>> outline(Backbone("x", "timm:vit_small_patch16_rope_mixed_224")).num_features
    384
    """
    # The first leaves alone what constructors compute with, the second goes where both meet in one expression.
    for mode in (without_memory(), torch.device("meta")):
        with suppress(UsageError), mode:
            return construct(backbone)
    return construct(backbone)


@contextmanager
def without_memory() -> Iterator[None]:
    """Build modules that have shapes and no values: in no time, whatever their size.

    Examples
    --------
    >>> with without_memory():
    ...     module = construct(Backbone("x", "timm:vgg19"))
    >>> sum(parameter.numel() for parameter in module.parameters())
    143667240
    """
    with _Hollow():
        yield


def knows_imagenet(backbone: Backbone, n_classes: int) -> bool:
    """Return whether a head's outputs are classes: of ImageNet, or those that the weights' owner has chosen.

    A head of as many outputs as published weights of the architecture have for something else is that something:
    a projection, as in CLIP's towers.

    Examples
    --------
    >>> clip = Backbone("clip", "timm:vit_base_patch32_clip_224.openai")
    >>> knows_imagenet(clip, 512), knows_imagenet(clip, 1000), knows_imagenet(clip, 17)
    (False, True, True)
    """
    if n_classes in _IMAGENET_CLASSES or backbone.library != "timm":
        return True
    from timm.models import get_pretrained_cfg, list_pretrained  # noqa: PLC0415 - takes seconds

    published = map(get_pretrained_cfg, list_pretrained(f"{backbone.architecture}.*"))
    return n_classes not in {config.num_classes for config in published if config is not None}


def timm_config(backbone: Backbone) -> Any:
    """Return timm's entry of published weights: the tag's, or the model's default.

    Raises
    ------
    UsageError
        If timm has no such model, or no such weights of it.

    Examples
    --------
    >>> timm_config(Backbone("x", "timm:resnet50.tv_in1k")).hf_hub_id
    'timm/resnet50.tv_in1k'
    """
    from timm.models import get_pretrained_cfg, is_model, list_models, list_pretrained  # noqa: PLC0415 - takes seconds

    if not is_model(backbone.architecture):
        raise UsageError(
            f"Backbone '{printable(backbone.name)}': timm has no model '{printable(backbone.model_name)}'."
            f"{_nearest(backbone.architecture, list_models())}"
        )
    try:
        return get_pretrained_cfg(backbone.model_name)
    except RuntimeError:
        named = list_pretrained(f"{backbone.architecture}.*")
        raise _unknown_tag(backbone, [name.partition(".")[2] for name in named]) from None


def torchvision_weights(backbone: Backbone) -> Any:
    """Return torchvision's entry of published weights: the tag's, or the model's default.

    Raises
    ------
    UsageError
        If torchvision has no such classifier of images, or no such weights of it.
    """
    from torchvision import models  # noqa: PLC0415 - takes seconds

    classifiers = models.list_models(module=models)
    if backbone.architecture not in classifiers:
        if backbone.architecture in models.list_models():
            said = f"has '{printable(backbone.architecture)}', which is no classifier of images. Choose one that is."
        else:
            said = f"has no model '{printable(backbone.architecture)}'.{_nearest(backbone.architecture, classifiers)}"
        raise UsageError(f"Backbone '{printable(backbone.name)}': torchvision {said}")
    weights = models.get_model_weights(backbone.architecture)
    tags = [entry.name for entry in weights]
    if backbone.tag and backbone.tag not in tags:
        raise _unknown_tag(backbone, tags)
    return weights[backbone.tag or "DEFAULT"]


class _Hollow(TorchFunctionMode):
    """Makes the tensors that layers fill, fills none, and leaves alone those that constructors compute with."""

    _FACTORIES = frozenset({torch.empty, torch.zeros, torch.ones, torch.randn, torch.rand})
    # Most of a network's building time is its initial weights, even where there is nothing to write them to.
    _FILLS = re.compile(
        "((trunc_|xavier_|kaiming_)?normal|(xavier_|kaiming_)?uniform|fill|constant|zeros?|ones|erfinv|mul|add|clamp)_"
    )

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in self._FACTORIES and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        elif self._FILLS.fullmatch(getattr(func, "__name__", "")):
            filled = args[0] if args else kwargs.get("tensor")
            if isinstance(filled, torch.Tensor) and filled.is_meta:
                return filled
        return func(*args, **kwargs)


def _construct(backbone: Backbone, arguments: dict[str, Any]) -> nn.Module:
    if backbone.library == "timm":
        import timm  # noqa: PLC0415 - takes seconds, and torchvision backbones do without

        return _as_module(timm.create_model(backbone.architecture, pretrained=False, **arguments))
    return _as_module(_torchvision_model(backbone.architecture, arguments))


def _torchvision_model(name: str, arguments: dict[str, Any]) -> Any:
    from torchvision.models import get_model  # noqa: PLC0415 - takes seconds

    try:
        # Some spend minutes on initial weights, or warn about them, before they are overwritten.
        return get_model(name, weights=None, **{"init_weights": False, **arguments})
    except TypeError:
        return get_model(name, weights=None, **arguments)


def _as_module(model: Any) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise TypeError(f"{type(model).__name__} is not a network")
    return model


def _unknown_tag(backbone: Backbone, tags: Sequence[str]) -> UsageError:
    known = f"It has {', '.join(map(printable, tags))}." if tags else "It has none."
    return UsageError(
        f"Backbone '{printable(backbone.name)}': {backbone.library} publishes no weights '{printable(backbone.tag)}' "
        f"of '{printable(backbone.architecture)}'. {known}"
    )


def _tag_classes(backbone: Backbone) -> dict[str, int]:
    from timm.models import get_pretrained_cfg  # noqa: PLC0415 - takes seconds

    default, tagged = get_pretrained_cfg(backbone.architecture), timm_config(backbone)
    if default is None or tagged.num_classes == default.num_classes:
        return {}
    return {"num_classes": int(tagged.num_classes)}


def _timm_size(backbone: Backbone, input_size: int) -> dict[str, int]:
    """Return ``img_size`` for a model that is built for a size of input, where that is not the one by default."""
    from timm.models import get_pretrained_cfg  # noqa: PLC0415 - takes seconds

    default = get_pretrained_cfg(backbone.architecture)
    if default is None or tuple(default.input_size[1:]) == (input_size, input_size):
        return {}
    if {"img_size", "dynamic_img_size"} & set(backbone.arguments):
        return {}
    try:
        with without_memory():
            _construct(backbone, {**backbone.arguments, "img_size": input_size})
    except TypeError as error:
        if "img_size" in str(error):
            return {}
    except (ValueError, KeyError, RuntimeError, AssertionError):
        pass  # who builds it says what is wrong with the size
    return {"img_size": input_size}


def _nearest(name: str, models: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(name, models, n=1)
    return f" Did you mean '{nearest[0]}'?" if nearest else ""
