"""Batch norms into the convolutions before them: the same network with fewer layers to run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils._pytree import tree_leaves
from torch.utils.hooks import RemovableHandle

_TOLERANCE = 1e-4
"""Greatest difference that folding may make on a probe, over the greatest value: rounding makes 1e-6."""


class _Pair(NamedTuple):
    """A convolution, and the batch norm that alone looks at what it gives."""

    convolution: nn.Conv2d
    norm: nn.BatchNorm2d


def fold_batch_norms(module: nn.Module, probe: torch.Tensor) -> int:
    """Fold batch norms into the convolutions before them, in place.

    In evaluation a batch norm is ``g (x - m) / sqrt(v + e) + b`` per channel, with constants: it scales the filters of
    the convolution that gave x and moves its bias. Which convolution that is, and that nobody else looks at x, is seen
    while the network runs on a probe, whatever its code looks like. What would not give the same is left as it was.

    Parameters
    ----------
    module : Module
        In evaluation mode.
    probe : Tensor
        (n, 3, height, width), float32: images that it takes.

    Returns
    -------
    int
        How many were folded.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    >>> fold_batch_norms(net, torch.ones(1, 3, 8, 8)), net[1]
    (1, Identity())
    """
    if not any(_is_foldable(layer) for layer in module.modules()):
        return 0
    with torch.inference_mode(), _watched(module) as seen:
        before = module(probe)
    pairs = seen.pairs
    kept = [(pair.convolution, dict(pair.convolution._parameters)) for pair in pairs]
    places = list(_places(module, {pair.norm for pair in pairs}))
    for pair in pairs:
        _fold(pair)
    for parent, name, norm in places:
        setattr(parent, name, _rest_of(norm))
    if _gives(module, probe, before):
        return len(pairs)
    for convolution, parameters in kept:
        convolution._parameters.update(parameters)
    for parent, name, norm in places:
        setattr(parent, name, norm)
    return 0


class _Watched(torch.Tensor):
    """What a convolution gave, with the convolution, and how many operations looked at it."""

    origin: nn.Conv2d
    uses: int

    @classmethod
    def __torch_function__(cls, func: Any, _types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **(kwargs or {}))
        if any(isinstance(leaf, torch.Tensor) for leaf in tree_leaves(result)):  # not a shape or a device
            for leaf in tree_leaves((args, kwargs)):
                if isinstance(leaf, _Watched):
                    leaf.uses += 1
        return result


class _Seen:
    """What was seen while a network ran: how often its layers were called, and on what."""

    def __init__(self) -> None:
        self._calls: Counter[nn.Module] = Counter()
        self._inputs: dict[nn.BatchNorm2d, _Watched] = {}

    @property
    def pairs(self) -> list[_Pair]:
        """The convolutions and batch norms that were called once, for each other alone."""
        return [
            _Pair(given.origin, norm)
            for norm, given in self._inputs.items()
            if given.uses == 1 and self._calls[norm] == 1 and self._calls[given.origin] == 1
        ]

    def convolved(self, layer: nn.Module, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        """Take down that a convolution was called; a forward hook."""
        self._calls[layer] += 1
        watched = output.as_subclass(_Watched)
        watched.origin, watched.uses = layer, 0  # type: ignore[assignment]
        return watched

    def normalised(self, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Take down what a batch norm is called on; a forward pre-hook."""
        self._calls[layer] += 1
        if isinstance(inputs[0], _Watched) and isinstance(layer, nn.BatchNorm2d):
            self._inputs[layer] = inputs[0]


@contextmanager
def _watched(module: nn.Module) -> Iterator[_Seen]:
    """Watch the layers of a network that can be folded."""
    seen, handles = _Seen(), list[RemovableHandle]()
    for layer in module.modules():
        if type(layer) is nn.Conv2d:  # not what pads or standardises its weights on the way
            handles.append(layer.register_forward_hook(seen.convolved))
        elif _is_foldable(layer):
            handles.append(layer.register_forward_pre_hook(seen.normalised))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _is_foldable(layer: nn.Module) -> bool:
    """Return whether a layer is a batch norm that has statistics, with an activation behind it or without."""
    known = type(layer) is nn.BatchNorm2d or type(layer).__name__ == "BatchNormAct2d"
    return known and isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None


def _fold(pair: _Pair) -> None:
    convolution, norm = pair
    # In double precision: each number is rounded once.
    values = (convolution.weight, convolution.bias, norm.running_mean, norm.running_var)
    weight, bias, mean, variance = (None if value is None else value.detach().double() for value in values)
    scale, shift = (None if value is None else value.detach().double() for value in (norm.weight, norm.bias))
    folded = fuse_conv_bn_weights(weight, bias, mean, variance, norm.eps, scale, shift)  # type: ignore[arg-type]
    convolution.weight, convolution.bias = (
        nn.Parameter(value.detach().float(), requires_grad=False) for value in folded
    )


def _rest_of(norm: nn.BatchNorm2d) -> nn.Module:
    """Return what a batch norm does beside normalising."""
    rest = [norm.get_submodule(name) for name, _ in norm.named_children()]  # timm's: dropout and activation
    return nn.Sequential(*rest) if rest else nn.Identity()


def _places(module: nn.Module, layers: set[nn.BatchNorm2d]) -> Iterator[tuple[nn.Module, str, nn.BatchNorm2d]]:
    for parent in module.modules():
        for name, child in parent.named_children():
            if child in layers and isinstance(child, nn.BatchNorm2d):
                yield parent, name, child


def _gives(module: nn.Module, probe: torch.Tensor, expected: Any) -> bool:
    """Return whether a network still gives the same, and does not fail for want of a layer."""
    with suppress(AttributeError, TypeError, ValueError, RuntimeError), torch.inference_mode():
        pairs = zip(tree_leaves(module(probe)), tree_leaves(expected), strict=True)
        return all(_is_close(found, wanted) for found, wanted in pairs)
    return False


def _is_close(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    return bool((found - wanted).abs().max() <= _TOLERANCE * wanted.abs().max())
