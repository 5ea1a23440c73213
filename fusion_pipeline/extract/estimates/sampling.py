"""A few of the images into how long it takes here to read, decode and resize one, and to run a network on it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from fusion_pipeline.extract.loading.decoders import make_decoder
from fusion_pipeline.extract.loading.loader import ImageLoader, Job, Loaded, Task
from fusion_pipeline.extract.loading.preparation import Preparation
from fusion_pipeline.extract.meter import THREAD_STAGES, Meter
from fusion_pipeline.extract.options import Options
from fusion_pipeline.extract.producers import BackboneProducer, Producer
from fusion_pipeline.images.decode import Reason
from fusion_pipeline.images.listing import ImageListing

SAMPLED = 16
"""Images in a sample, where there are as many."""

# What a network's sample takes at most, about: five of them on a small CPU are then done within half a minute.
_SECONDS = 4.0


@dataclass(frozen=True)
class Sample:
    """A few images, decoded.

    Parameters
    ----------
    images : int
        How many.
    inputs : mapping of Preparation to ndarray
        What networks take in: the good ones as (n, 3, input_size, input_size) uint8.
    seconds : mapping of str to float
        Of an image in one thread, on average: ``"read"``, ``"decode"`` and ``"resize"``.
    bad : mapping of str to Reason
        Those that could not be decoded, and why.
    """

    images: int
    inputs: Mapping[Preparation, np.ndarray]
    seconds: Mapping[str, float]
    bad: Mapping[str, Reason]


def spread_rows(rows: int) -> list[int]:
    """Return the rows of a sample, evenly spread.

    Examples
    --------
    >>> spread_rows(3), spread_rows(1360)[:3], spread_rows(1360)[-1]
    ([0, 1, 2], [0, 91, 181], 1359)
    """
    return [int(row) for row in np.linspace(0, rows - 1, min(rows, SAMPLED)).round()]


def load_sample(folder: ImageListing, options: Options, device: str, producers: Sequence[Producer]) -> Sample:
    """Read a few images, and decode them for those who are to make rows of them, as a run would.

    Parameters
    ----------
    folder : ImageListing
        The images.
    options : Options
        How the run would go.
    device : str
        Where its networks would be.
    producers : sequence of Producer
        Who makes rows; with none, the images are read and hashed, and not decoded.

    Returns
    -------
    Sample
    """
    rows = spread_rows(len(folder))
    meter, places = Meter(), [folder.place(row) for row in rows]
    tasks = [Task(producer, {}) for producer in producers]
    loader = ImageLoader(
        workers=options.threads,
        batch_size=SAMPLED,
        budget=options.budget,
        decoder=make_decoder(options, device, [producer.preparation for producer in producers]),
        progress=lambda _images: None,
        meter=Meter(),
    )
    with loader:
        _load(loader, Job(0, places[:1], tasks))  # what is imported or started at first is not counted
        loader.meter = meter
        images = _load(loader, Job(0, places, tasks))
        # Copies: what other processes decode lies in memory that goes with the loader.
        inputs = {
            producer.preparation: _stacked(images, producer.preparation)
            for producer in producers
            if isinstance(producer, BackboneProducer)
        }
    bad = {folder.sample_ids[row]: image.reason for row, image in zip(rows, images, strict=True) if image.reason}
    return Sample(len(rows), inputs, {stage: meter.seconds[stage] / len(rows) for stage in THREAD_STAGES}, bad)


def time_forward(producer: BackboneProducer, sample: Sample) -> float:
    """Return the seconds that a network takes for an image.

    Parameters
    ----------
    producer : BackboneProducer
        Runs the network.
    sample : Sample
        On a CPU it sees as many of these as fit into a few seconds; on a GPU they are repeated to fill a batch.
    """
    batch = sample.inputs[producer.preparation]
    first = _seconds(producer, batch[:1], warm=True)
    most = producer.batch_size if producer.engine.name == "cuda" else min(len(batch), max(int(_SECONDS / first), 1))
    return _seconds(producer, batch[np.arange(most) % len(batch)]) / most


def _load(loader: ImageLoader, job: Job) -> list[Loaded]:
    return [image for _, batches in loader.partitions([job]) for batch in batches for image in batch]


def _stacked(images: Sequence[Loaded], preparation: Preparation) -> np.ndarray:
    """Return what a network takes in; a black image where there is no good one."""
    found = [arrays[0] for image in images if (arrays := image.prepared(preparation)) is not None]
    return np.stack(found or [preparation(Image.new("RGB", (64, 64)))[0]])


def _seconds(producer: BackboneProducer, batch: np.ndarray, *, warm: bool = False) -> float:
    """Return how long a batch takes; the first one of its kind, that prepares for others, is not counted."""
    if warm:
        producer.engine.forward(batch)
    started = time.perf_counter()
    producer.engine.forward(batch)
    return time.perf_counter() - started
