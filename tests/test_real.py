"""Real photographs through real networks: as many right as other libraries count."""

from __future__ import annotations

import csv
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score, confusion_matrix, f1_score

from fusion_pipeline.extract.networks.backbones import Backbone, find_backbone
from fusion_pipeline.extract.options import Options
from fusion_pipeline.extract.run import extract
from fusion_pipeline.images.datasets.check import check_copy
from fusion_pipeline.images.datasets.registry import DATASETS
from fusion_pipeline.images.index import list_image_folder
from fusion_pipeline.images.inputs import list_images
from fusion_pipeline.images.thumbnails import thumbnail
from fusion_pipeline.store import Cache
from fusion_pipeline.train.duplicates import find_duplicates
from fusion_pipeline.train.statistics.holm import holm
from tests.commands.made import fusion

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif("FUSION_TEST_DATA" not in os.environ, reason="FUSION_TEST_DATA names no folder of real data"),
]

COUNTED = {"squeezenet1_1": 387_747_520.0, "mobilenet_v2": 300_774_272.0}
"""Multiply-adds of one image, at their own sizes of input."""

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


@pytest.fixture(scope="module")
def flowers(real: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack Flowers17 into class folders, and link the same files into the flat layout of its official archive."""
    home = tmp_path_factory.mktemp("flowers")
    with tarfile.open(real / "data" / "flowers17.tar") as archive:
        archive.extractall(home / "folders", filter="data")
    (home / "official" / "jpg").mkdir(parents=True)
    for file in (home / "folders").rglob("image_*.jpg"):
        os.link(file, home / "official" / "jpg" / file.name)
    return home


def test_flowers17_in_its_official_layout(flowers: Path) -> None:
    """Every photograph has the class that it has in folders, by its number alone."""
    official, folders = list_images(flowers / "official"), list_image_folder(flowers / "folders" / "flowers17")
    assert len(official) == len(folders) == 1360
    assert official.class_names == folders.class_names
    label = {path.rpartition(b"/")[2]: label for path, label in zip(folders.paths, folders.labels, strict=True)}
    assert [label[path.rpartition(b"/")[2]] for path in official.paths] == list(official.labels)
    assert check_copy(DATASETS["flowers17"], flowers / "official").is_complete
    assert check_copy(DATASETS["flowers17"], flowers / "folders" / "flowers17").is_complete


ALSO_THE_SAME = {
    ("04_bluebell/image_0242.jpg", "04_bluebell/image_0243.jpg"),  # mirrored
    ("09_fritillary/image_0676.jpg", "09_fritillary/image_0705.jpg"),  # cut
    ("10_sunflower/image_0729.jpg", "10_sunflower/image_0735.jpg"),  # mirrored, and with another sky
    ("10_sunflower/image_0746.jpg", "10_sunflower/image_0764.jpg"),  # framed
    ("13_dandelion/image_0994.jpg", "13_dandelion/image_1015.jpg"),  # cut, with a name on it
    ("13_dandelion/image_0997.jpg", "13_dandelion/image_1022.jpg"),  # framed
}
"""Pairs that the list of near-duplicates lacks, and that are the same photograph to whoever looks at them."""


@pytest.mark.parametrize("size", [32, 64])
def test_near_duplicates_of_flowers17(real: Path, flowers: Path, size: int) -> None:
    """All 68 pairs that are known, and no pair of different photographs."""
    folder = list_image_folder(flowers / "folders" / "flowers17")
    pictures = []
    for path in folder.paths:
        with Image.open(os.path.join(bytes(folder.root), path)) as picture:
            pictures.append(thumbnail(picture.convert("RGB"), size))
    found = find_duplicates(np.stack(pictures)).pairs
    pairs = {(folder.sample_ids[first], folder.sample_ids[second]) for first, second in found}
    with open(real / "data" / "flowers17_near_duplicates.tsv", encoding="utf-8") as file:
        known = {(row["a"], row["b"]) for row in csv.DictReader(file, delimiter="\t")}
    assert len(known) == 68
    assert known <= pairs
    assert pairs <= known | ALSO_THE_SAME


def test_a_tar_of_flowers17_is_the_folder(real: Path, flowers: Path) -> None:
    shards, folders = (
        list_images(place) for place in (real / "data" / "flowers17.tar", flowers / "folders" / "flowers17")
    )
    assert (shards.name, shards.listing) == (folders.name, folders.listing)


def test_features_of_photographs_however_they_come(real: Path, flowers: Path, tmp_path: Path) -> None:
    """Some photographs from a table, then from the official layout's files: one forward pass each."""
    listing = list_images(flowers / "official")
    rows = [f"{listing.sample_ids[row]},{listing.class_names[listing.labels[row]]}" for row in range(0, 1360, 40)]
    table = flowers / "official" / "some.csv"
    table.write_text("\n".join(["path,label", *rows]) + "\n")
    backbone, cache = load_backbone(real, "squeezenet1_1"), Cache(tmp_path / "cache")
    first = extract(list_images(table), [backbone], cache, Options(device="cpu"))
    assert (first.opens, first.backbones[0].computed, first.bad) == (34, 34, {})
    with tarfile.open(tmp_path / "some.tar", "w") as archive:
        for row in range(0, 1360, 40):
            name = f"{listing.class_names[listing.labels[row]]}/{row:04}.jpg"
            archive.add(os.fsdecode(os.path.join(bytes(listing.root), listing.paths[row])), name)
    again = extract(list_images(tmp_path / "some.tar"), [backbone], cache, Options(device="cpu"))
    assert (again.opens, again.backbones[0].computed) == (34, 0)
    features = [result.backbones[0].store.read("features") for result in (first, again)]
    np.testing.assert_array_equal(*features)


def test_shuffled_labels_of_photographs_are_chance(real: Path, flowers: Path, tmp_path: Path) -> None:
    """Of 170 photographs in 17 classes; every row of the table, with near-duplicates on one side of each split.

    Nineteen rows have nineteen occasions to be off by luck, so that their intervals hold together, by Holm.
    """
    listing = list_images(flowers / "official")
    chosen = range(0, 1360, 8)
    shuffled = np.random.default_rng(0).permutation([listing.class_names[listing.labels[row]] for row in chosen])
    table = flowers / "official" / "shuffled.csv"
    rows = [f"{listing.sample_ids[row]},{label}" for row, label in zip(chosen, shuffled, strict=True)]
    table.write_text("\n".join(["path,label", *rows]) + "\n")
    backbones, cache = [load_backbone(real, name) for name in RIGHT_OF_100], tmp_path / "cache"
    made = extract(list_images(table), backbones, Cache(cache), Options(device="cpu"))
    where = ("--cache", str(cache), "--runs", str(tmp_path / "runs"), "--dataset", made.index.store.dataset)
    found = fusion("benchmark", *where, "--label-embedding", "learned", "--executor", "loop", "--json")
    assert found.code == 0, found
    scored = found.document["rows"]
    assert {(row["method"], row["label_embedding"]) for row in scored} >= {("cnn64", "none"), ("cnn64", "learned")}
    assert len(scored) == 19
    assert {row["n"] for row in scored} == {170}
    unlikely = holm([float(binomtest(row["correct"], row["n"], 1 / 17).pvalue) for row in scored])
    assert min(unlikely) > 0.05, [(row["method"], row["accuracy"]) for row in scored]


def test_figures_of_photographs_are_what_scikit_learn_counts(real: Path, flowers: Path, tmp_path: Path) -> None:
    """Section 2 on 170 photographs and two backbones, from the tables that `fusion analyze` writes."""
    listing = list_images(flowers / "official")
    table = flowers / "official" / "analyzed.csv"
    rows = [f"{listing.sample_ids[row]},{listing.class_names[listing.labels[row]]}" for row in range(0, 1360, 8)]
    table.write_text("\n".join(["path,label", *rows]) + "\n")
    backbones, cache = [load_backbone(real, name) for name in RIGHT_OF_100], tmp_path / "cache"
    extract(list_images(table), backbones, Cache(cache), Options(device="cpu"))
    where = ("--cache", str(cache), "--runs", str(tmp_path / "runs"), "--dataset", "analyzed", "--executor", "loop")
    found = fusion("benchmark", *where, "--label-embedding", "none", "--row", "*net*", "--row", "average", "--json")
    assert found.code == 0, found
    outcome = fusion("analyze", found.document["run"], "--json")
    assert outcome.code == 0, outcome
    (run,), folder = outcome.document["runs"], Path(outcome.document["folder"])

    tensors = load_file(Path(found.document["run"]) / "predictions.safetensors")
    labels, (first, second, average) = tensors["labels"], (tensors[f"predicted.{row}"][0] for row in range(3))
    names = [row["method"] for row in found.document["rows"]]
    assert sorted(names[:2]) == sorted(RIGHT_OF_100)
    assert names[2] == run["fused"] == "average"
    assert run["agreement"]["pairs"][0]["kappa"] == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)
    right = (first == labels).astype(int) + (second == labels)
    assert run["correct"]["counts"] == np.bincount(right, minlength=3).tolist()
    scores = [f1_score(labels, each, average=None) for each in (first, second, average)]
    with open(folder / "class-f1.csv", encoding="utf-8", newline="") as file:
        told = [float(row["f1"]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(told, np.transpose(scores).ravel(), atol=1e-12)
    both = confusion_matrix(labels, first) + confusion_matrix(labels, second)
    assert run["confused"]["confusions"] == (both + both.T)[np.triu_indices(17, 1)].max()
    apart = first != second
    told_apart = run["distinct_votes"][1]
    assert told_apart["n"] == apart.sum()
    assert told_apart["accuracies"]["average"] == pytest.approx(float((average == labels)[apart].mean()))
    assert run["subsets"]["front"][-1]["correct"] == max(each["correct"] for each in run["subsets"]["best"])
    assert run["subsets"]["front"][0]["multiply_adds"] == COUNTED["mobilenet_v2"]
    assert (folder / "confused-pair-projections.csv").stat().st_size > 1000
