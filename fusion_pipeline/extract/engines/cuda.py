"""The network on a GPU: a batch is copied there while the one before it is computed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from fusion_pipeline.errors import ClusterError, printable
from fusion_pipeline.extract.engines.eager import autocast, exact
from fusion_pipeline.extract.engines.engine import Engine, Outputs, despite_lack_of_memory
from fusion_pipeline.extract.networks.backbones import Preprocessing
from fusion_pipeline.extract.networks.network import Network
from fusion_pipeline.extract.plan import LAYOUTS

_FORMATS = dict(zip(LAYOUTS, (torch.channels_last, torch.contiguous_format), strict=True))
_GAIN = 1.05
_LARGEST_BATCH = 1024
_TIMED_PASSES = 3


class CudaEngine(Engine):
    """Runs a network on a GPU.

    Images go through pinned memory on a stream of their own, so that `launch` returns before they are there; results
    come back into pinned memory on the stream that computes, behind the last layer.

    Parameters
    ----------
    network, preprocessing, **options
        As `Engine` has them. With a batch size of 0 the fastest is looked for: doubled as long as that is worth 5 %.
    device : str
        ``"cuda"`` or ``"cuda:N"``.
    layout : {"", "channels_last", "channels_first"}
        How images lie in memory; by default as the network is faster on a first batch.

    Raises
    ------
    ClusterError
        If the network does not fit into the device's memory.
    """

    name = "cuda"

    def __init__(
        self, network: Network, preprocessing: Preprocessing, device: str, *, layout: str = "", **options: Any
    ) -> None:
        super().__init__(network, preprocessing, **options)
        self._device = torch.device(device)
        self._layout = layout
        self.seconds["transfer"] = 0.0
        with torch.cuda.device(self._device):
            self._copies = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            if despite_lack_of_memory(lambda: network.module.to(self._device)) is None:
                raise ClusterError(
                    f"No memory left on {printable(device)} for the network. Close what else runs there, or use "
                    "--device cpu."
                )
            self._tune()
        self.seconds.update(forward=0.0, transfer=0.0)

    def made_with(self) -> dict[str, str | int]:
        """Return what a store tells of the engine; see `Engine`."""
        return {**super().made_with(), "layout": self._layout}

    def _launch(self, images: np.ndarray) -> Callable[[], Outputs]:
        with torch.cuda.device(self._device):
            started, copied, begun, done = (_event() for _ in range(4))
            computing = torch.cuda.current_stream()
            with torch.cuda.stream(self._copies):
                pinned = torch.from_numpy(images).pin_memory()
                started.record(self._copies)
                pixels = pinned.to(self._device, non_blocking=True)
                copied.record(self._copies)
            computing.wait_event(copied)
            pixels.record_stream(computing)
            begun.record(computing)
            with exact(), autocast("cuda", self._precision), torch.inference_mode():
                features, probabilities = self._network(
                    self._normalise(pixels).contiguous(memory_format=_FORMATS[self._layout])
                )
                back = [
                    values.to("cpu", non_blocking=True) for values in (features, probabilities) if values is not None
                ]
            done.record(computing)

        def outputs() -> Outputs:
            done.synchronize()
            self.seconds["transfer"] += started.elapsed_time(copied) / 1000
            self.seconds["forward"] += begun.elapsed_time(done) / 1000
            assert pinned.is_pinned()  # kept until it was copied
            return back[0].numpy(), back[1].numpy() if len(back) > 1 else None

        return outputs

    def _tune(self) -> None:
        """Choose the layout and the batch size unless they were asked for; what does not fit has no rate."""
        self._lay_out(self._layout or self._faster_layout())
        if not self.batch_size:
            self.batch_size = self._fastest_batch()

    def _lay_out(self, layout: str) -> None:
        self._layout = layout
        self._network.module.to(memory_format=_FORMATS[layout])

    def _faster_layout(self) -> str:
        rates = {}
        for layout in LAYOUTS:
            self._lay_out(layout)
            rates[layout] = self._rate_of(min(self.batch_size or 32, 32))
        return max(rates, key=lambda layout: rates[layout])

    def _fastest_batch(self) -> int:
        size, best = 32, self._rate_of(32)
        while size < _LARGEST_BATCH:
            rate = self._rate_of(2 * size)
            if not rate or rate < _GAIN * best:
                break
            size, best = 2 * size, rate
        return size

    def _rate_of(self, size: int) -> float:
        return despite_lack_of_memory(lambda: self._rate(self._some_images(size))) or 0.0

    def _rate(self, images: np.ndarray) -> float:
        """Return images per second of the forward pass, the first passes not counted."""
        self._launch(images)()
        torch.cuda.synchronize()
        started = time.perf_counter()
        waiting = [self._launch(images) for _ in range(_TIMED_PASSES)]
        for outputs in waiting:
            outputs()
        return _TIMED_PASSES * len(images) / (time.perf_counter() - started)

    def _some_images(self, number: int) -> np.ndarray:
        size = self._preprocessing.input_size
        return np.random.default_rng(0).integers(0, 256, (number, 3, size, size), dtype=np.uint8)


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
