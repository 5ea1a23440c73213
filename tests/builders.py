"""Turns a seed and a few numbers into folders of pictures, weights files and settings that the tests share."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

CLASSES = ("iris", "rose", "tulip")
SIZE = 32
N_CLASSES = 10
HUB_COMMIT = "0123456789abcdef0123456789abcdef01234567"


def write_picture(path: Path, seed: int, tint: int = 0, size: tuple[int, int] = (48, 40)) -> Path:
    """Write a PNG of smooth noise; `tint` shifts its colour, so that classes can be told apart."""
    generator = np.random.default_rng(seed)
    small = generator.integers(0, 160, (5, 6, 3), dtype=np.uint8)
    small[..., tint % 3] += 90
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(path, "PNG")
    return path


def write_pictures(root: Path, per_class: int = 3, classes: Iterable[str] = CLASSES, seed: int = 0) -> Path:
    """Write a folder of class folders with `per_class` different PNG files each; return it."""
    for tint, name in enumerate(classes):
        for number in range(per_class):
            write_picture(root / name / f"{number:03}.png", seed=1000 * seed + 100 * tint + number, tint=tint)
    return root


def random_module(architecture: str, seed: int = 0, **arguments: Any) -> Any:
    """Return a timm model in evaluation mode with random weights that depend on the seed alone."""
    import timm  # noqa: PLC0415 - takes seconds, and most tests do without
    import torch  # noqa: PLC0415

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = timm.create_model(architecture, pretrained=False, **arguments).eval()
        # Fresh classifiers are all but zero, which would hide a wrong head; running means of zero hide a wrong fold.
        for name, tensor in module.state_dict().items():
            if tensor.ndim == 2:
                tensor.normal_(std=tensor.shape[1] ** -0.5)
            elif name.endswith("running_mean"):
                tensor.normal_(std=0.1)
    return module


def write_weights(path: Path, architecture: str, seed: int = 0, **arguments: Any) -> Path:
    """Write the weights of `random_module` as a safetensors file; return its path."""
    from safetensors.torch import save  # noqa: PLC0415 - imports torch

    path.write_bytes(save(random_module(architecture, seed, **arguments).state_dict()))
    return path


@dataclass(frozen=True)
class Tiny:
    """A backbone small enough for tests: its name, its timm model and the files of its random weights."""

    name: str
    architecture: str
    weights: Path

    @property
    def table(self) -> dict[str, Any]:
        """Its ``[backbone.NAME]`` table."""
        return {
            "model": f"timm:{self.architecture}",
            "weights": str(self.weights),
            "arguments": {"num_classes": N_CLASSES},
            "input_size": SIZE,
        }

    @property
    def backbone(self) -> Any:
        """Its record."""
        from fusion_pipeline.extract.networks.backbones import find_backbone  # noqa: PLC0415 - only tests of stage one need it

        return find_backbone(self.name, {self.name: self.table})

    def module(self) -> Any:
        """Return the very network as plain timm, for comparison."""
        from safetensors.torch import load_file  # noqa: PLC0415 - imports torch

        module = random_module(self.architecture, num_classes=N_CLASSES)
        module.load_state_dict(load_file(self.weights))
        return module

    def to_toml(self) -> str:
        """Return its table as text of a fusion.toml."""
        return (
            f'[backbone.{self.name}]\nmodel = "timm:{self.architecture}"\nweights = "{self.weights}"\n'
            f"arguments = {{ num_classes = {N_CLASSES} }}\ninput_size = {SIZE}\n"
        )


def put_into_hub(cache: Path, repository: str, file: str, content: bytes, stated: str | None = None) -> Path:
    """Lay a file into a cache of the hub as huggingface_hub does: a link to a blob that is named by its hash."""
    home = cache / f"models--{repository.replace('/', '--')}"
    blob = home / "blobs" / (stated or hashlib.sha256(content).hexdigest())
    path = home / "snapshots" / HUB_COMMIT / file
    for folder in (blob.parent, path.parent, home / "refs"):
        folder.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    path.unlink(missing_ok=True)
    path.symlink_to(os.path.relpath(blob, path.parent))
    (home / "refs" / "main").write_text(HUB_COMMIT)
    return path


def write_settings(folder: Path, data: Path, backbones: Iterable[Tiny], extra: str = "") -> Path:
    """Write a fusion.toml for a folder of pictures and some backbones; return `folder`."""
    backbones = list(backbones)
    names = ", ".join(f'"{tiny.name}"' for tiny in backbones)
    head = f'data = "{data}"\ncache = "cache"\nruns = "runs"\nbackbones = [{names}]\ndevice = "cpu"\nworkers = 2\n'
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fusion.toml").write_text("\n".join([head + extra, *(tiny.to_toml() for tiny in backbones)]))
    return folder


def tree_bytes(root: Path) -> dict[str, str]:
    """Return the sha256 of every file below a folder by its relative path."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def count_opens(monkeypatch: pytest.MonkeyPatch, root: Path) -> Callable[[], list[str]]:
    """Count the opens of files below `root` by this process; call what is returned to get their paths so far."""
    opened: list[str] = []
    true_open = os.open

    def counting(path: Any, *arguments: Any, **options: Any) -> int:
        if not isinstance(path, int) and os.fsdecode(path).startswith(f"{root}{os.sep}"):
            opened.append(os.fsdecode(path))
        return true_open(path, *arguments, **options)

    monkeypatch.setattr(os, "open", counting)
    return lambda: list(opened)
