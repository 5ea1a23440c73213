"""A backbone's record into a frozen network that gives features and probabilities."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fusion_pipeline.errors import UsageError, printable
from fusion_pipeline.extract.networks.backbones import Backbone, Preprocessing
from fusion_pipeline.extract.networks.folding import fold_batch_norms
from fusion_pipeline.extract.networks.models import construct, implied_arguments, own_preprocessing
from fusion_pipeline.extract.networks.taps import tap
from fusion_pipeline.extract.networks.weights import fit_tensors, load_tensors

_HEAD_TOLERANCE = 1e-4
_PROBE_IMAGES = 2


@dataclass(frozen=True)
class Head:
    """The linear head of a network: ``softmax(weight @ features + bias)`` gives its probabilities.

    Parameters
    ----------
    weight : Tensor
        (n_classes, n_features), float32.
    bias : Tensor
        (n_classes,), float32.
    """

    weight: torch.Tensor
    bias: torch.Tensor


class Network:
    """A frozen network, tapped at its classifier.

    The features are what the classifier, or what `taps.tap` puts in its place, takes in, averaged over positions where
    it takes in a map; the probabilities are the softmax of what the whole network gives.

    Parameters
    ----------
    module : Module
        The model; put into evaluation mode.
    classifier : Module or None
        Its last linear layer; None for a network without a head, whose output is the features.
    input_size : int
        Side of its square input in pixels.

    Attributes
    ----------
    n_features : int
        Length of the feature vector.
    n_classes : int
        Number of classes; 0 without a head.
    head : Head or None
        The head, where it is linear in the features.
    multiply_adds : float
        Of one image, in convolutions and matrix products.
    """

    def __init__(self, module: nn.Module, classifier: nn.Module | None, input_size: int) -> None:
        self.module = module.eval().requires_grad_(requires_grad=False)
        self._tapped: torch.Tensor | None = None
        self._positions = 0
        self._has_head = classifier is not None
        if classifier is not None:
            classifier.register_forward_pre_hook(self._keep)
        counter = FlopCounterMode(display=False)
        with counter:
            features, probabilities = self(_probe(input_size))
        self.multiply_adds = counter.get_total_flops() / 2 / _PROBE_IMAGES
        self.n_features = features.shape[1]
        self.n_classes = 0 if probabilities is None else probabilities.shape[1]
        self.head = _linear_head(classifier, features, probabilities) if self._positions == 1 else None

    def __call__(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Run the network.

        Parameters
        ----------
        images : Tensor
            (n, 3, input_size, input_size), float32, normalised.

        Returns
        -------
        features : Tensor
            (n, n_features), float32.
        probabilities : Tensor or None
            (n, n_classes), float32; None without a head.
        """
        with torch.inference_mode():
            return self.run(images)

    def run(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Run the network in whatever mode torch is in, as a compiler needs it; see `__call__`."""
        output = self.module(images)
        if not self._has_head:
            return _pooled(output).float(), None
        tapped, self._tapped = self._tapped, None
        if tapped is None:
            raise RuntimeError("the network did not pass through its classifier")
        features = _pooled(tapped).float()
        # A head that is applied at many positions is not linear in the mean over them, whatever a probe may show.
        self._positions = tapped.numel() // features.numel()
        return features, output.float().softmax(dim=1)

    def on_cpu(self) -> Network:
        """Return the network on the CPU: itself, or a copy where it is on another device."""
        if next(self.module.parameters()).device.type == "cpu":
            return self
        copied = copy.deepcopy(self)
        copied.module.to("cpu")
        return copied

    def _keep(self, _module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self._tapped = inputs[0]


def find_preprocessing(backbone: Backbone) -> Preprocessing:
    """Return a backbone's preprocessing: its model's own, with the record's overrides.

    Raises
    ------
    UsageError
        If the library does not know the model, or a value of the configuration is out of range.
    """
    fields = {**own_preprocessing(backbone), **backbone.preprocessing}
    try:
        return Preprocessing(
            input_size=int(fields["input_size"]),
            crop_pct=float(fields["crop_pct"]),
            crop_mode=str(fields.get("crop_mode", "center")),
            interpolation=str(fields["interpolation"]),
            mean=_triple(fields["mean"]),
            std=_triple(fields["std"]),
        )
    except UsageError as error:
        raise UsageError(f"Backbone '{printable(backbone.name)}': {error}") from None


def with_trained_arguments(backbone: Backbone) -> Backbone:
    """Return a record whose arguments say all that published weights need of the constructor.

    See `models.implied_arguments`; arguments of the record itself win.

    Raises
    ------
    UsageError
        If the library does not know the model.

    Examples
    --------
    >>> with_trained_arguments(Backbone("inception", "torchvision:inception_v3")).arguments
    {'transform_input': True}
    """
    implied = implied_arguments(backbone, find_preprocessing(backbone).input_size)
    return replace(backbone, arguments={**implied, **backbone.arguments})


def build_network(backbone: Backbone, weights: Path, input_size: int, sha256: str | None = None) -> Network:
    """Build a backbone's network and load its weights.

    Parameters
    ----------
    backbone : Backbone
        Its record.
    weights : Path
        The weights file.
    input_size : int
        Side of its input in pixels.
    sha256 : str, optional
        What the file was seen to be, as `file_sha256` returns it: other bytes are refused.

    Returns
    -------
    Network

    Raises
    ------
    UsageError
        If the library refuses the model or its arguments, or the model cannot be tapped.
    RefusedError
        If the weights do not fit, or changed.
    """
    tensors = load_tensors(weights, sha256)
    module = construct(backbone)
    fit_tensors(module, tensors, backbone, weights)
    return _tapped(module, backbone, input_size)


def build_untrained(backbone: Backbone, input_size: int) -> Network:
    """Build a backbone's network with random weights: the work and the shapes of the trained one, and no download.

    Parameters
    ----------
    backbone : Backbone
        Its record.
    input_size : int
        Side of its input in pixels.

    Raises
    ------
    UsageError
        As `build_network`.

    Examples
    --------
    >>> build_untrained(Backbone("x", "timm:test_resnet"), 160).n_features
    96
    """
    return _tapped(construct(backbone), backbone, input_size)


def _tapped(module: nn.Module, backbone: Backbone, input_size: int) -> Network:
    try:
        tapped, classifier = tap(module.eval(), backbone)
        fold_batch_norms(tapped, _probe(input_size)[:1])
        return Network(tapped, classifier, input_size)
    except (AssertionError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0][:120].rstrip(". ") or type(error).__name__
        raise UsageError(
            f"Backbone '{printable(backbone.name)}': {backbone.model} does not take images of {input_size} pixels a "
            f"side ({printable(reason)}). Give another input_size."
        ) from None


def _probe(input_size: int) -> torch.Tensor:
    """Return images to try a network on: noise, always the same."""
    shape = (_PROBE_IMAGES, 3, input_size, input_size)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def _linear_head(
    classifier: nn.Module | None, features: torch.Tensor, probabilities: torch.Tensor | None
) -> Head | None:
    """Return the classifier as a matrix if it explains the probabilities."""
    if probabilities is None or not isinstance(classifier, nn.Linear | nn.Conv2d):
        return None
    weight = classifier.weight.detach().flatten(1).float()
    bias = torch.zeros(len(weight)) if classifier.bias is None else classifier.bias.detach().float()
    if weight.shape != (probabilities.shape[1], features.shape[1]):
        return None
    explained = (features @ weight.T + bias).softmax(dim=1)
    return Head(weight, bias) if torch.allclose(explained, probabilities, atol=_HEAD_TOLERANCE) else None


def _pooled(values: torch.Tensor) -> torch.Tensor:
    """Average over positions: (n, channels, y, x) and (n, tokens, channels) become (n, channels)."""
    if values.ndim == 4:
        return values.mean(dim=(2, 3))
    return values.mean(dim=1) if values.ndim == 3 else values


def _triple(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
