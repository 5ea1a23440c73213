"""A backbone's module into the module to run, with the layer whose input are the features, and the rule's name."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fusion_pipeline.errors import UsageError, printable
from fusion_pipeline.extract.networks.backbones import Backbone
from fusion_pipeline.extract.networks.models import knows_imagenet, outline

CLASSIFIER_INPUT = "input of the classifier, averaged over positions"
"""What an identity says of features that the classifier takes in, or that a network without one gives."""

PRE_LOGITS = "pre-logits of timm, averaged over positions"
"""What it says of those that timm calls so, where that is something else, or where the outputs are no classes."""


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


def tap(module: nn.Module, backbone: Backbone) -> tuple[nn.Module, nn.Module | None]:
    """Find where a network gives its features; its structure decides, not its values.

    Parameters
    ----------
    module : Module
        As its library built it.
    backbone : Backbone
        Its record.

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
        return module, _last_linear(module, backbone)
    model: Any = module
    classifier = model.get_classifier() if hasattr(model, "get_classifier") else None
    heads = classifier if isinstance(classifier, tuple | list) else (classifier,)
    if all(head is None or isinstance(head, nn.Identity) for head in heads):
        return module, None
    if not knows_imagenet(backbone, int(model.num_classes)):
        return PreLogits(module, labelled=False), None
    if isinstance(classifier, nn.Linear | nn.Conv2d) and not _is_normalised_for(module, classifier):
        return module, classifier
    wrapped = PreLogits(module, labelled=True)
    return wrapped, wrapped.features


def tap_rule(backbone: Backbone) -> str:
    """Return what an identity says of where a backbone's features are taken; needs no weights.

    Parameters
    ----------
    backbone : Backbone
        Its record, with all the arguments that its constructor gets.

    Raises
    ------
    UsageError
        If its library refuses the model or its arguments.

    Examples
    --------
    >>> tap_rule(Backbone("x", "timm:resnet50"))
    'input of the classifier, averaged over positions'
    >>> tap_rule(Backbone("x", "timm:levit_128s"))
    'pre-logits of timm, averaged over positions'
    """
    if backbone.library == "torchvision":
        return CLASSIFIER_INPUT
    return PRE_LOGITS if isinstance(tap(outline(backbone), backbone)[0], PreLogits) else CLASSIFIER_INPUT


def _last_linear(module: nn.Module, backbone: Backbone) -> nn.Module:
    linear = [layer for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    if not linear:
        raise UsageError(
            f"Backbone '{printable(backbone.name)}': {backbone.model} has no linear layer to take features from. "
            "Choose a classifier of images."
        )
    return linear[-1]


def _is_normalised_for(model: nn.Module, classifier: nn.Module) -> bool:
    """Return whether a head normalises its features once more over the batches that it was trained on (SHViT)."""
    parts = (part for part in model.modules() if part is not model)
    heads = (part for part in parts if any(layer is classifier for layer in part.children()))
    return any(isinstance(layer, nn.BatchNorm1d) for head in heads for layer in head.children())
