"""Real photographs through real networks: as many right as other libraries count."""

from __future__ import annotations

import csv
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from fusion_pipeline.extract.backbones import Backbone, find_backbone
from fusion_pipeline.extract.options import Options
from fusion_pipeline.extract.run import extract
from fusion_pipeline.images.index import list_image_folder
from fusion_pipeline.store import Cache

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif("FUSION_TEST_DATA" not in os.environ, reason="FUSION_TEST_DATA names no folder of real data"),
]

RIGHT_OF_100 = {"squeezenet1_1": 66, "mobilenet_v2": 85}
"""Images whose most probable class is the true one, counted with the same weights by torchvision and timm alone."""


@pytest.fixture(scope="module")
def real() -> Path:
    return Path(os.environ["FUSION_TEST_DATA"])


def load_backbone(real: Path, name: str) -> Backbone:
    """Return the record of a backbone as the description beside its weights has it."""
    described = json.loads((real / "weights" / "backbones.json").read_text(encoding="utf-8"))
    (found,) = (entry for entry in described if entry["file"] == f"{name}.safetensors")
    preprocessing = dict(found["preprocessing"])
    table = {
        "model": f"{found['library']}:{found['model']}",
        "weights": str(real / "weights" / found["file"]),
        "arguments": found["kwargs"],
        "input_size": preprocessing.pop("size"),
        **preprocessing,
    }
    return find_backbone(name, {name: table})


def test_top_1_on_imagenet_photographs(real: Path, tmp_path: Path) -> None:
    with tarfile.open(real / "data" / "imagenet_sample_100.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    with open(real / "data" / "imagenet1k_classes.tsv", encoding="utf-8") as file:
        position = {row["synset"]: int(row["index"]) for row in csv.DictReader(file, delimiter="\t")}
    folder = list_image_folder(tmp_path / "imagenet_sample_100")
    backbones = [load_backbone(real, name) for name in RIGHT_OF_100]
    result = extract(folder, backbones, Cache(tmp_path / "cache"), Options(device="cpu"))
    assert result.opens == len(folder) == 100
    truth = np.array([position[folder.class_names[label]] for label in folder.labels])
    for item in result.backbones:
        right = int((np.argmax(item.store.probabilities[:], axis=1) == truth).sum())
        assert abs(right - RIGHT_OF_100[item.store.name]) <= 1, f"{item.store.name}: {right}"
