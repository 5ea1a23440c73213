"""What a worker refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fusion_pipeline.errors import ClusterError
from fusion_pipeline.extract.cluster.assignment import Assignment
from fusion_pipeline.extract.cluster.worker import Worker, check_worker
from fusion_pipeline.extract.index_target import IndexTarget
from fusion_pipeline.extract.options import Options
from fusion_pipeline.images.index import list_image_folder
from tests.builders import Tiny, write_pictures

CHOSEN = Options(device="cpu", workers=2, partition_rows=4, batch_size=4)


@pytest.fixture
def assignment(tmp_path: Path, tiny_resnet: Tiny) -> Assignment:
    folder = list_image_folder(write_pictures(tmp_path / "flowers"))
    return Assignment(folder, (tiny_resnet.backbone,), str(tmp_path / "cache"), CHOSEN, {}, {}, "one")


def test_another_version(assignment: Assignment) -> None:
    with pytest.raises(ClusterError, match=r"has fusion-pipeline .*, this machine 0\.0\.7\. Install the same"):
        check_worker(replace(assignment, version="0.0.7"))


def test_no_images(assignment: Assignment, tmp_path: Path) -> None:
    folder = replace(assignment.folder, root=tmp_path / "elsewhere")
    with pytest.raises(ClusterError, match=r"does not see the images at .*elsewhere"):
        check_worker(replace(assignment, folder=folder))


def test_other_features(assignment: Assignment, tiny_resnet: Tiny) -> None:
    wanted = {tiny_resnet.name: {"kind": "backbone", "weights": "others"}}
    with pytest.raises(ClusterError, match=f"would make '{tiny_resnet.name}' otherwise: .*weights"):
        Worker(replace(assignment, wanted=wanted))


def test_a_cache_of_its_own(assignment: Assignment, tmp_path: Path) -> None:
    wanted = {"index": dict(IndexTarget(assignment.folder, CHOSEN.budget).recipe)}
    with pytest.raises(ClusterError, match="does not see the others in the cache"):
        Worker(replace(assignment, wanted=wanted))
    assert list((tmp_path / "cache").rglob("writers/*.json")) == []  # it has left


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"device": "cuda:7"}, "Device 'cuda:7' is not on this machine"),
        ({"device": "cpu", "weights": "nowhere.pth"}, "are not at 'nowhere.pth'"),
    ],
)
def test_what_it_does_not_have(assignment: Assignment, options: dict[str, Any], told: str) -> None:
    weights = options.pop("weights", assignment.backbones[0].weights)
    backbone = replace(assignment.backbones[0], weights=weights)
    with pytest.raises(ClusterError, match=f"Worker .* cannot begin: .*{told}"):
        Worker(replace(assignment, backbones=(backbone,), options=replace(CHOSEN, **options)))
