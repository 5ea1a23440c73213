"""The network as one compiled program for this processor, its weights laid out as its convolutions want them."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from fusion_pipeline.extract.engines.eager import EagerEngine, autocast
from fusion_pipeline.extract.engines.engine import Engine, Outputs
from fusion_pipeline.extract.networks.backbones import Preprocessing
from fusion_pipeline.extract.networks.network import Network

TOLERANCE = 1e-3
"""Greatest difference from the eager network that is taken, over the greatest feature."""

_PROGRAMS_AT_ONCE = 256


class NotCompiledError(Exception):
    """A network could not be compiled, or gave something else when it was; the message says why in a few words."""


class CompiledEngine(Engine):
    """Runs a network that `torch.compile` made one program of.

    Its weights are constants of the program (they are frozen), and convolutions are fused with what follows them. A
    network with depthwise convolutions, which are slower so, is compiled with its weights as they are.

    Every batch is filled up to the same number of images, for another shape would be compiled again; the rest of what
    comes out is thrown away.

    Parameters
    ----------
    network, preprocessing, **options
        As `Engine` has them. The network must be on the CPU.

    Raises
    ------
    NotCompiledError
        If there is no compiler, the network cannot be compiled, or what comes out differs from the eager network's.
    """

    name = "compiled"

    def __init__(self, network: Network, preprocessing: Preprocessing, **options: Any) -> None:
        super().__init__(network, preprocessing, **options)
        network.module.to(memory_format=torch.channels_last)
        self._compiled_size = self.batch_size
        self._freezes = not _is_depthwise(network.module)
        # A guard on the very network, so that two of them never share a program.
        self._program: Callable[[torch.Tensor], Any] = torch.compile(self._run, dynamic=False)
        self._check(network, preprocessing)

    def _launch(self, images: np.ndarray) -> Callable[[], Outputs]:
        started = time.perf_counter()
        if self.batch_size != self._compiled_size:  # halved, for lack of memory
            self._compiled_size = self.batch_size
        filled = torch.from_numpy(_filled(images, self._compiled_size))
        pixels = filled.contiguous(memory_format=torch.channels_last)  # another layout would be compiled anew, too
        # Not an option of torch.compile: that a weight is a constant is decided before those are looked at.
        settings = torch._inductor.config.patch(freezing=self._freezes)
        with settings, torch.no_grad(), autocast("cpu", self._precision):
            features, probabilities = self._program(pixels)
        rows = len(images)
        outputs = features[:rows].numpy(), None if probabilities is None else probabilities[:rows].numpy()
        self._book(started)
        return lambda: outputs

    def _run(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        return self._network.run(self._normalise(pixels))

    def _check(self, network: Network, preprocessing: Preprocessing) -> None:
        size = preprocessing.input_size
        images = np.random.default_rng(0).integers(0, 256, (2, 3, size, size), dtype=np.uint8)
        plain, _ = EagerEngine(network, preprocessing, precision=self._precision).forward(images)
        with _quiet_compiler():
            try:
                compiled, _ = self.forward(images)
            except Exception as error:
                raise NotCompiledError(_why(error)) from error
        self.seconds["forward"] = 0.0
        difference = float(np.abs(compiled - plain).max() / max(float(np.abs(plain).max()), 1e-30))
        if not difference <= TOLERANCE:  # NaN too
            raise NotCompiledError(f"what it gave compiled differed by {difference:.1g}")


def missing_compiler() -> str | None:
    """Return that there is no compiler, as `NotCompiledError` would say it; None if there is one."""
    return None if shutil.which(_compiler()) else f"there is no C++ compiler ({_compiler()})"


def _compiler() -> str:
    return os.environ.get("CXX", "g++")


def _is_depthwise(module: torch.nn.Module) -> bool:
    """Return whether a network has convolutions that look at one channel each."""
    layers = (layer for layer in module.modules() if isinstance(layer, torch.nn.Conv2d))
    return any(layer.groups == layer.in_channels > 1 for layer in layers)


def _filled(images: np.ndarray, size: int) -> np.ndarray:
    if len(images) == size:
        return images
    filled = np.zeros((size, *images.shape[1:]), images.dtype)
    filled[: len(images)] = images
    return filled


@contextlib.contextmanager
def _quiet_compiler() -> Iterator[None]:
    import torch._dynamo  # noqa: PLC0415 - takes a second
    import torch._inductor.config  # noqa: PLC0415

    loggers = [logging.getLogger(name) for name in ("torch._dynamo", "torch._inductor", "torch.utils.cpp_extension")]
    levels = [logger.level for logger in loggers]
    limits: dict[str, Any] = dict.fromkeys(("recompile_limit", "accumulated_recompile_limit"), _PROGRAMS_AT_ONCE)
    with warnings.catch_warnings(), torch._dynamo.config.patch(limits):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _why(error: Exception) -> str:
    text = str(error)
    if "InvalidCxxCompiler" in text or "InvalidCxxCompiler" in type(error).__name__:
        return f"there is no C++ compiler ({_compiler()})"
    return text.strip().split("\n")[0][:120] or type(error).__name__
