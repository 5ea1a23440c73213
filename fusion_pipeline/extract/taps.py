"""A backbone's module into the module to run, with the layer whose input are the features."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fusion_pipeline.errors import UsageError, printable
from fusion_pipeline.extract.backbones import Backbone
from fusion_pipeline.extract.models import knows_imagenet


class PreLogits(nn.Module):
    """A timm model that passes its features through a layer of its own, whatever its heads are made of.

    Parameters
    ----------
    model : Module
        A timm model.
    labelled : bool
        Whether the output is the model's; if not, it is the features.

    Attributes
    ----------
    features : Module
        Gives back what it takes in: what timm calls pre-logits.
    """

    def __init__(self, model: nn.Module, *, labelled: bool) -> None:
        super().__init__()
        self.model: Any = model
        self.features = nn.Identity()
        self._labelled = labelled

    def forward(self, images: torch.Tensor) -> Any:
        """Return the logits, (n, n_classes), or the features, (n, n_features)."""
        maps = self.model.forward_features(images)
        features = self.features(self.model.forward_head(maps, pre_logits=True))
        return self.model.forward_head(maps) if self._labelled else features


def tap(
    module: nn.Module, backbone: Backbone, images: torch.Tensor | None = None
) -> tuple[nn.Module, nn.Module | None]:
    """Find where a network gives its features.

    Parameters
    ----------
    module : Module
        As its library built it.
    backbone : Backbone
        Its record.
    images : Tensor, optional
        (n, 3, input_size, input_size): what to try on a model of timm whether its classifier takes in what timm calls
        its features. Without, it is taken to.

    Returns
    -------
    module : Module
        What to run.
    classifier : Module or None
        The layer in it that takes in the features; None for a network without classes, whose output they are.

    Raises
    ------
    UsageError
        If it is a network of torchvision without a layer to take features from.

    Examples
    --------
    >>> import timm
    >>> backbone = Backbone("x", "timm:deit_tiny_distilled_patch16_224")
    >>> module = timm.create_model(backbone.architecture, img_size=32, depth=1)
    >>> [type(part).__name__ for part in tap(module, backbone)]
    ['PreLogits', 'Identity']
    """
    if backbone.library == "torchvision":
        linear = [layer for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
        if not linear:
            raise UsageError(
                f"Backbone '{printable(backbone.name)}': {backbone.model} has no linear layer to take features from. "
                "Choose a classifier of images."
            )
        return module, linear[-1]
    model: Any = module
    classifier = model.get_classifier() if hasattr(model, "get_classifier") else None
    heads = classifier if isinstance(classifier, tuple | list) else (classifier,)
    if all(head is None or isinstance(head, nn.Identity) for head in heads):
        return module, None
    if not knows_imagenet(backbone, int(model.num_classes)):
        return PreLogits(module, labelled=False), None
    if isinstance(classifier, nn.Linear | nn.Conv2d) and (images is None or _takes_features(model, classifier, images)):
        return module, classifier
    wrapped = PreLogits(module, labelled=True)
    return wrapped, wrapped.features


def _takes_features(model: Any, classifier: nn.Module, images: torch.Tensor) -> bool:
    """Try whether a classifier takes in what timm calls its model's features: some normalise them once more."""
    taken: list[torch.Tensor] = []
    handle = classifier.register_forward_pre_hook(lambda _module, inputs: taken.append(inputs[0]))
    try:
        with torch.inference_mode():
            maps = model.eval().forward_features(images)
            features = model.forward_head(maps, pre_logits=True)
            model.forward_head(maps)
    finally:
        handle.remove()
    return (
        len(taken) == 1
        and taken[0].numel() == features.numel()
        and torch.allclose(taken[0].flatten(), features.flatten(), rtol=1e-3, atol=1e-5)
    )
