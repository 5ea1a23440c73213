"""A model folder and photographs become predictions: the right weights or none, any number of images, any gate."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fusion_pipeline import predict as predict_module
from fusion_pipeline.commands.exits import SKIPPED
from fusion_pipeline.errors import FormatError, IncompleteError, RefusedError, UnusableDataError
from fusion_pipeline.executors import LoopExecutor
from fusion_pipeline.extract.engines.eager import EagerEngine
from fusion_pipeline.extract.networks.backbones import Backbone
from fusion_pipeline.extract.networks.weights import file_sha256
from fusion_pipeline.extract.options import Options
from fusion_pipeline.images.decode import Reason
from fusion_pipeline.images.thumbnails import thumbnail
from fusion_pipeline.predict import Predictor
from fusion_pipeline.train.folds import Split
from fusion_pipeline.train.fusion import Fusion
from fusion_pipeline.train.model import load_model, save_model
from fusion_pipeline.train.run import Training, train
from tests.builders import CLASSES, Tiny, count_opens, write_picture, write_pictures
from tests.commands.made import fusion
from tests.extract.made import run

OPTIONS = Options(device="cpu", workers=2, batch_size=4)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("predict")


def trained(home: Path, gate: str, *backbones: Tiny) -> Training:
    data = write_pictures(home / "flowers", per_class=8)
    extraction = run(data, home / "cache", *backbones)
    stores = [item.store for item in extraction.backbones]
    return train(stores, fusion=Fusion(gate), split=Split(2, 0), executor=LoopExecutor(), runs=home / "runs")


@pytest.fixture(scope="module")
def average(home: Path, tiny_resnet: Tiny, tiny_efficientnet: Tiny) -> Path:
    return trained(home, "average", tiny_resnet, tiny_efficientnet).model


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    return [write_picture(tmp_path / f"new-{number}.png", seed=700 + number, tint=number) for number in range(5)]


def test_order_and_sums(average: Path, images: list[Path]) -> None:
    predictions, bad = Predictor(average, options=OPTIONS).predict(images[::-1])
    assert bad == {}
    assert [item.path for item in predictions] == [str(path) for path in images[::-1]]
    for item in predictions:
        assert list(item.probabilities) == list(CLASSES)
        assert sum(item.probabilities.values()) == pytest.approx(1)
        assert item.probability == max(item.probabilities.values()) == item.probabilities[item.label]
        assert item.gate == {"small_resnet": 0.5, "small_efficientnet": 0.5}


def test_what_each_expert_says(average: Path, images: list[Path]) -> None:
    """Averages of them are what the model says; thumbnails come only where they are asked for."""
    predictor = Predictor(average, options=OPTIONS)
    plain, _ = predictor.predict(images)
    pictured, _ = predictor.predict(images, with_thumbnails=True)
    assert pictured == plain
    for item, path in zip(pictured, images, strict=True):
        assert list(item.experts) == list(item.gate)
        assert sum(opinion.probability for opinion in item.experts.values()) / 2 >= item.probability - 1e-6
        assert {opinion.label for opinion in item.experts.values()} <= set(CLASSES)
        assert item.thumbnail is not None
        with Image.open(path) as picture:
            assert np.array_equal(item.thumbnail, thumbnail(picture.convert("RGB"), 64))
    assert all(item.thumbnail is None for item in plain)
    assert "thumbnail" not in plain[0].to_json()


def test_a_page_explains_predictions(average: Path, images: list[Path], tmp_path: Path) -> None:
    page, settings = tmp_path / "pages" / "why.html", ("--device", "cpu", "--on-bad", "skip")
    images[3].write_bytes(b"")
    arguments = ("predict", str(average), *map(str, images), *settings)
    explained = fusion(*arguments, "--explain", str(page))
    assert explained.code == SKIPPED
    assert explained.output.splitlines()[-1] == f"explained: {page}"
    html = page.read_text(encoding="utf-8")
    assert html.count("<article") == 4
    assert f"skipped {images[3]}: empty file" in html
    for item in fusion(*arguments, "--json").document:
        assert list(item) == ["path", "label", "probability", "probabilities", "gate", "experts"]
        assert f"<bdi>{item['path']}</bdi>" in html
        for opinion in item["experts"].values():
            assert f"{100 * opinion['probability']:.1f}\N{NO-BREAK SPACE}%" in html


def test_many_images_go_in_parts(average: Path, images: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor(average, options=OPTIONS)
    (images[2]).write_bytes(b"")
    monkeypatch.setattr(predict_module, "_ROWS", 2)
    skipping = Predictor(average, options=Options(device="cpu", workers=2, batch_size=4, on_bad="skip"))
    predictions, bad = skipping.predict(images)
    assert [item.path for item in predictions] == [str(path) for path in images if path != images[2]]
    assert bad == {str(images[2]): Reason.EMPTY}
    with pytest.raises(UnusableDataError, match=r"1 of 5 photographs cannot be used .*empty file"):
        predictor.predict(images)


def test_all_bad_images_are_named_before_any_network_runs(
    average: Path, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many parts and batches they are in."""
    images[1].write_bytes(b"")
    images[4].write_bytes(b"text")
    monkeypatch.setattr(predict_module, "_ROWS", 2)
    monkeypatch.setattr(EagerEngine, "launch", lambda *_: pytest.fail("a network ran"))
    for batch_size in (1, 2, 5, 32):
        predictor = Predictor(average, options=Options(device="cpu", workers=2, batch_size=batch_size))
        with pytest.raises(UnusableDataError, match=r"^2 of 5 .*new-1\.png': empty file; .*new-4\.png': not an image"):
            predictor.predict(images)


@pytest.mark.parametrize(("on_bad", "batch_size", "opens"), [("skip", 2, 1), ("stop", 5, 1), ("stop", 2, 2)])
def test_how_often_images_are_opened(
    average: Path, images: list[Path], monkeypatch: pytest.MonkeyPatch, on_bad: str, batch_size: int, opens: int
) -> None:
    """Once, or a second time where more than one batch has to be good before the first one is computed."""
    predictor = Predictor(average, options=Options(device="cpu", workers=2, batch_size=batch_size, on_bad=on_bad))
    opened = count_opens(monkeypatch, images[0].parent)
    assert len(predictor.predict(images)[0]) == len(images)
    assert sorted(opened()) == sorted(map(str, images * opens))


def test_an_image_that_turns_bad_while_others_are_predicted(
    average: Path, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor(average, options=Options(device="cpu", workers=1, batch_size=1))
    forward = EagerEngine.launch

    def spoiling(*arguments: Any) -> Any:
        images[4].write_bytes(b"")
        return forward(*arguments)

    monkeypatch.setattr(predict_module, "_ROWS", 2)
    monkeypatch.setattr(EagerEngine, "launch", spoiling)
    with pytest.raises(UnusableDataError, match=r"1 of 5 photographs cannot be used .*new-4\.png': empty file"):
        predictor.predict(images)


def test_nothing_but_bad_images(average: Path, images: list[Path]) -> None:
    images[0].write_bytes(b"text")
    skipping = Predictor(average, options=Options(device="cpu", workers=1, on_bad="skip"))
    assert skipping.predict(images[:1]) == ([], {str(images[0]): Reason.NOT_AN_IMAGE})
    assert skipping.predict(["/nowhere.png"]) == ([], {"/nowhere.png": Reason.UNREADABLE})


def test_the_thumbnail_gate_sees_the_thumbnails(home: Path, tiny_resnet: Tiny, tiny_efficientnet: Tiny) -> None:
    training = trained(home, "cnn32", tiny_resnet, tiny_efficientnet)
    classifier, _ = load_model(training.model)
    run_again = run(home / "flowers", home / "cache", tiny_resnet, tiny_efficientnet)
    stores = {item.store.name: item.store for item in run_again.backbones}
    features = {name: stores[name].features[:] for name in classifier.backbones_}
    expected = classifier.gate_weights(features, stores["small_resnet"].thumbnails(32)[:])
    paths = [home / "flowers" / sample for sample in stores["small_resnet"].sample_ids]
    predictions, _ = Predictor(training.model, options=OPTIONS).predict(paths)
    found = np.array([list(item.gate.values()) for item in predictions])
    assert np.abs(found - expected).max() < 1e-2


def test_what_to_know_about_a_model(average: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate that fell back to averaging, and another decoder than at training; else nothing."""
    assert Predictor(average, options=OPTIONS).notes == []
    classifier, description = load_model(average)
    classifier.fallback_ = True
    monkeypatch.setattr(predict_module, "load_model", lambda _folder: (classifier, description))
    notes = ["the model's gate learned nothing better than averaging: every expert has the same weight."]
    assert Predictor(average, options=OPTIONS).notes == notes
    monkeypatch.setattr(predict_module, "decoder_identity", lambda: {"library": "Pillow", "major": 99})
    gate, *decoders = Predictor(average, options=OPTIONS).notes
    assert gate == notes[0]
    assert [note.split("'")[1] for note in decoders] == ["small_resnet", "small_efficientnet"]
    assert all("pixels may differ" in note and "99" in note for note in decoders)


def test_a_lone_backbone_has_no_gate_to_speak_of(
    tmp_path: Path, tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier, description = load_model(trained(tmp_path, "embedding", tiny_resnet).model)
    classifier.fallback_ = True
    monkeypatch.setattr(predict_module, "load_model", lambda _folder: (classifier, description))
    assert Predictor(tmp_path, options=OPTIONS).notes == []


def test_weights_of_the_configuration_come_first(
    average: Path, tmp_path: Path, tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then those that the model remembers, which nobody reads if the configured ones are right."""
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(tiny_resnet.weights.read_bytes())
    configured = {"small_resnet": replace(tiny_resnet.backbone, weights=str(copy))}
    read: list[str] = []
    monkeypatch.setattr(predict_module, "file_sha256", lambda path: (read.append(path.name), file_sha256(path))[1])
    Predictor(average, configured.get, OPTIONS)
    assert read == ["copy.safetensors", "small_efficientnet.safetensors"]
    copy.write_bytes(b"others")
    read.clear()
    Predictor(average, configured.get, OPTIONS)
    assert read == ["copy.safetensors", "small_resnet.safetensors", "small_efficientnet.safetensors"]


def broken(average: Path, folder: Path, change: str) -> Path:
    """Save the model again with something missing from what it says about a backbone."""
    classifier, description = load_model(average)
    described = json.loads(json.dumps(description))
    match change:
        case "backbones":
            del described["backbones"]
        case "identity":
            del described["backbones"]["small_resnet"]["identity"]
        case "weights":
            del described["backbones"]["small_resnet"]["identity"]["weights"]
        case "source":
            del described["backbones"]["small_resnet"]["source"]
    save_model(folder, classifier, described)
    return folder


@pytest.mark.parametrize("change", ["backbones", "identity", "weights"])
def test_a_model_that_does_not_say_how_features_were_made(average: Path, tmp_path: Path, change: str) -> None:
    with pytest.raises(FormatError, match="does not say how the features of 'small_resnet' were made"):
        Predictor(broken(average, tmp_path / "model", change), options=OPTIONS)


def test_a_model_that_forgot_where_its_weights_were(
    average: Path, tmp_path: Path, tiny_resnet: Tiny, images: list[Path]
) -> None:
    """The configuration can say it instead."""
    model = broken(average, tmp_path / "model", "source")
    known = {"small_resnet": tiny_resnet.backbone}
    predictions, _ = Predictor(model, known.get, OPTIONS).predict(images)
    assert predictions == Predictor(average, options=OPTIONS).predict(images)[0]


def test_other_weights_in_the_configuration_do_not_count(
    average: Path, tiny_efficientnet: Tiny, images: list[Path]
) -> None:
    """The file that the model remembers is still the right one."""

    def configured(name: str) -> Backbone | None:
        return tiny_efficientnet.backbone if name == "small_resnet" else None

    predictions, _ = Predictor(average, configured, OPTIONS).predict(images)
    assert predictions == Predictor(average, options=OPTIONS).predict(images)[0]


def test_weights_that_are_gone_or_others(home: Path, tiny_resnet: Tiny, tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(tiny_resnet.weights.read_bytes())
    moved = Tiny("small_resnet", tiny_resnet.architecture, weights)
    model = trained(tmp_path, "average", moved).model
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(RefusedError, match="not those that the model was trained with"):
        Predictor(model, options=OPTIONS)
    weights.unlink()
    with pytest.raises(IncompleteError, match="Weights of backbone 'small_resnet' are not at"):
        Predictor(model, options=OPTIONS)
    assert Predictor(model, lambda _name: tiny_resnet.backbone, OPTIONS).classifier.backbones_ == ("small_resnet",)
