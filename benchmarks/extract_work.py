"""Photographs and backbone names become networks with random weights, extractions, and the plain loop beside them."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from fusion_pipeline.extract.networks.backbones import Backbone, find_backbone
from fusion_pipeline.extract.networks.models import construct
from fusion_pipeline.extract.options import Options
from fusion_pipeline.extract.run import Extraction, extract
from fusion_pipeline.images.decode import Place
from fusion_pipeline.images.listing import ImageListing
from fusion_pipeline.images.thumbnails import thumbnails
from fusion_pipeline.store import Cache


@dataclass(frozen=True)
class Work:
    """What all parts need.

    Parameters
    ----------
    images : ImageListing
        The photographs.
    scratch : Path
        Where weights and caches go.
    device : str
    precision : str
    repeat : int
        How often both sides are run, in turn.
    engines : sequence of str
        Those that are compared.
    """

    images: ImageListing
    scratch: Path
    device: str
    precision: str
    repeat: int
    engines: Sequence[str]

    def backbone(self, name: str) -> Backbone:
        """Return a backbone with random weights."""
        record = find_backbone(name, {})
        path = self.scratch / f"{record.library}-{record.architecture}.safetensors"
        if not path.exists():
            save_file(untrained(record).state_dict(), path)
        return find_backbone(name, {name: {"model": record.model, "weights": str(path)}})

    def extract(self, names: Sequence[str], **options: Any) -> Extraction:
        """Extract into an empty cache."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as cache:
            # What random weights give may be too large for float16.
            chosen = Options(dtype="float32", device=self.device, precision=self.precision, **options)
            return extract(self.images, [self.backbone(name) for name in names], Cache(cache), chosen)


class PlainImages(torch.utils.data.Dataset[tuple[torch.Tensor, str, list[np.ndarray]]]):
    """Files as a plain loop reads them."""

    def __init__(self, images: ImageListing, transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self._paths = [images.place(row) for row in range(len(images))]
        self._transform = transform

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, str, list[np.ndarray]]:
        content = path_of(self._paths[row]).read_bytes()
        with Image.open(io.BytesIO(content)) as file:
            image = file.convert("RGB")
        return self._transform(image), hashlib.sha256(content).hexdigest(), list(thumbnails(image).values())


def plain_loop(work: Work, name: str) -> float:
    """Run a backbone as most would; return images per second."""
    import timm  # noqa: PLC0415 - takes seconds

    record = work.backbone(name)
    if record.library != "timm":
        raise SystemExit(f"The plain loop is timm's, and '{record.model}' is not. Give others with --backbones.")
    model: Any = untrained(record).eval().to(work.device)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    loader = torch.utils.data.DataLoader(
        PlainImages(work.images, transform), batch_size=32, num_workers=os.cpu_count() or 1
    )
    started, features, probabilities = time.perf_counter(), [], []
    with torch.inference_mode():
        for pixels, _, _ in loader:
            before = model.forward_head(model.forward_features(pixels.to(work.device)), pre_logits=True)
            features.append(before.cpu().numpy().astype(np.float16))
            probabilities.append(model.get_classifier()(before).softmax(dim=1).cpu().numpy().astype(np.float16))
    with tempfile.TemporaryFile(dir=work.scratch) as file:
        np.savez(file, features=np.concatenate(features), probabilities=np.concatenate(probabilities))
    return len(work.images) / (time.perf_counter() - started)


def untrained(record: Backbone) -> nn.Module:
    """Return a backbone's module with random weights, always the same, whichever library builds it."""
    torch.manual_seed(0)  # type: ignore[no-untyped-call]
    return construct(record)


def path_of(place: Place) -> Path:
    """Return the file of an image."""
    if not isinstance(place, bytes):
        raise SystemExit("The plain loop reads files, not members of archives. Give a folder with --images.")
    return Path(os.fsdecode(place))


def make_images(folder: Path, number: int) -> Path:
    """Write as many small pictures, all different, in two classes."""
    rng = np.random.default_rng(0)
    for row in range(number):
        path = folder / ("odd" if row % 2 else "even") / f"{row:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        coarse.resize((96, 72), Image.Resampling.BICUBIC).save(path, quality=85)
    return folder


def first(images: ImageListing, number: int) -> ImageListing:
    """Return some of the images, of all classes."""
    rows = np.unique(np.linspace(0, len(images) - 1, min(number, len(images))).astype(int))
    return ImageListing(
        images.root,
        images.name,
        tuple(images.paths[row] for row in rows),
        tuple(images.labels[row] for row in rows),
        images.class_names,
    )
