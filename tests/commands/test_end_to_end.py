"""The whole way by command: extract two backbones, train in two ways, predict, move the model, predict again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusion_pipeline.store import Cache
from fusion_pipeline.train.model import load_model
from tests.builders import CLASSES, Tiny, tree_bytes, write_picture, write_pictures, write_settings
from tests.commands.made import failure, fusion

PER_CLASS = 12


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_resnet: Tiny, tiny_efficientnet: Tiny) -> Path:
    """A folder with a configuration, the stores of two backbones, and what `fusion extract` said about them."""
    root = tmp_path_factory.mktemp("end_to_end")
    data = write_pictures(root / "flowers", per_class=PER_CLASS)
    # Copies, which tests may spoil.
    copies = [
        Tiny(tiny.name, tiny.architecture, Path(shutil.copy(tiny.weights, root)))
        for tiny in (tiny_resnet, tiny_efficientnet)
    ]
    write_settings(root, data, copies)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        outcome = fusion("extract", "--json")
    assert outcome.code == 0, outcome
    assert [store["computed"] for store in outcome.document["stores"]] == [3 * PER_CLASS] * 2
    (root / "extracted.json").write_text(outcome.output)
    return root


@pytest.fixture
def here(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(home)
    return home


@pytest.fixture(scope="module")
def trained(home: Path) -> Any:
    """What `fusion train` says in the plain loop."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        outcome = fusion("train", "--gate", "embedding", "--executor", "loop", "--json")
    assert outcome.code == 0, outcome
    return outcome.document


def without_seconds(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if not key.endswith("seconds")} for row in rows]


def predict(model: Path, images: list[Path], *options: str) -> Any:
    outcome = fusion("predict", str(model), *map(str, images), "--json", *options)
    assert outcome.code == 0, outcome
    return outcome.document


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    return [write_picture(tmp_path / f"new-{tint}.png", seed=500 + tint, tint=tint) for tint in range(3)]


def test_extract_says_what_it_did(here: Path) -> None:
    plain = fusion("extract")
    assert plain.code == 0
    assert [line.split()[0] for line in plain.output.splitlines()[:3]] == [
        "index",
        "small_resnet",
        "small_efficientnet",
    ]
    assert plain.output.count("up to date") == 3
    again = fusion("extract", "--json")
    document = again.document
    assert document["opens"] == 3 * PER_CLASS
    assert [store["computed"] for store in (document["index"], *document["stores"])] == [0, 0, 0]
    assert document["stores"][0]["manifest"].startswith("sha256:")
    assert "small_resnet" in again.errors  # what people read goes to stderr


def keys(document: Any) -> Any:
    """Return a document with its values dropped: keys with, for objects, their own; a list by its only kind of item."""
    if isinstance(document, dict):
        return {key: keys(value) for key, value in document.items()}
    if isinstance(document, list) and document:
        first, *others = map(keys, document)
        assert all(other == first for other in others)
        return [first]
    return [] if isinstance(document, list) else None


def test_the_document_of_extract(here: Path) -> None:
    document = json.loads((here / "extracted.json").read_text())
    names = "dataset folder backbone key manifest content path rows computed reused overtaken"
    store = dict.fromkeys(names.split())
    assert keys(document) == {
        "index": {**store, "bad": []},
        "stores": [{**store, "bad": []}],
        "opens": None,
        "seconds": None,
        "images_per_second": None,
        "stages": {stage: dict.fromkeys(("seconds", "share")) for stage in document["stages"]},
        "limits": {"decode": None, "forward": None},
        "share_of_limit": None,
        "slowest": None,
        "verdict": None,
    }
    assert set(document["stages"]) == {"read", "decode", "resize", "forward", "write"}
    assert 0 < document["share_of_limit"] <= 1
    assert document["limits"]["decode"] > 0
    assert document["limits"]["forward"] > 0
    assert document["verdict"].endswith(".")


def test_the_document_of_train(here: Path, trained: Any) -> None:
    row = (
        "method", "label_embedding", "accuracy", "correct", "n", "nll", "ece", "macro_f1",
        "fit_seconds", "predict_seconds", "fallback", "leaks",
    )  # fmt: skip
    assert keys({**trained, "rows": [without_fallbacks(row) for row in trained["rows"]]}) == {
        "dataset": dict.fromkeys(("name", "digest", "index", "images", "usable", "classes")),
        "protocol": {
            **dict.fromkeys(("gate", "experts", "joint", "folds", "split_seed", "seed")),
            "label_embedding": {"kind": None},
        },
        "rows": [{**dict.fromkeys(row), "ci95": [None]}],
        "comparisons": [dict.fromkeys(("first", "second", "wins", "losses", "p"))],
        "penalties": {"small_efficientnet": [None], "small_resnet": [None]},
        "model": dict.fromkeys(("path", "fallback", "leaks")),
        "run": None,
    }
    first, second = trained["comparisons"]
    assert (first["first"], first["second"], second["first"]) == ("embedding", "average", "embedding")
    assert json.loads((Path(trained["run"]) / "scores.json").read_text()) == trained


def without_fallbacks(row: dict[str, Any]) -> dict[str, Any]:
    """Leave out the one list whose length differs between rows."""
    assert all(isinstance(fell, bool) for fell in row["fallbacks"])
    return {key: value for key, value in row.items() if key != "fallbacks"}


def test_the_document_of_predict(here: Path, trained: Any, images: list[Path]) -> None:
    assert keys(predict(Path(trained["run"]), images)) == [
        {
            **dict.fromkeys(("path", "label", "probability")),
            "probabilities": dict.fromkeys(CLASSES),
            "gate": dict.fromkeys(("small_resnet", "small_efficientnet")),
            "experts": {
                name: dict.fromkeys(("label", "probability")) for name in ("small_resnet", "small_efficientnet")
            },
        }
    ]


def test_the_documents_of_the_cache(here: Path) -> None:
    names = ("dataset", "folder", "backbone", "key", "manifest", "content", "rows", "bytes", "created", "path")
    assert keys(fusion("cache", "ls", "--json").document) == {"stores": [dict.fromkeys(names)]}
    verified = {**dict.fromkeys(("dataset", "folder", "backbone", "key", "ok", "reason")), "damage": []}
    assert keys(fusion("cache", "verify", "--json").document) == {"stores": [verified]}


def test_the_documents_of_backbones_and_of_failures(here: Path) -> None:
    listed = fusion("backbones", "--json").document
    assert list(listed) == ["backbones", "more"]
    what = ("name", "model", "weights", "arguments", "parameters", "features", "input_size", "classes")
    assert {tuple(item) for item in listed["backbones"]} == {(*what, "at_hand", "url", "problem")}
    failed = fusion("train", "--gate", "embeding", "--json").document
    assert keys(failed) == {"error": dict.fromkeys(("kind", "message", "exit_code"))}


def test_rows_of_training(trained: Any) -> None:
    methods = [row["method"] for row in trained["rows"]]
    assert methods == ["small_resnet", "small_efficientnet", "average", "embedding"]
    assert trained["dataset"]["usable"] == 3 * PER_CLASS
    assert trained["dataset"]["classes"] == len(CLASSES)
    for row in trained["rows"]:
        assert row["n"] == 3 * PER_CLASS
        assert row["accuracy"] == pytest.approx(row["correct"] / row["n"])
        assert row["accuracy"] > 0.5  # chance is a third


@pytest.mark.parametrize("executor", ["processes", "threads"])
def test_executors_agree(here: Path, trained: Any, executor: str) -> None:
    outcome = fusion("train", "--gate", "embedding", "--executor", executor, "--json", "--runs", f"runs-{executor}")
    assert outcome.code == 0, outcome
    assert without_seconds(outcome.document["rows"]) == without_seconds(trained["rows"])


def test_train_for_people(here: Path) -> None:
    outcome = fusion("train", "--gate", "average", "--executor", "loop")
    assert outcome.code == 0, outcome
    assert "36 images, 3 classes, 2-fold cross-validation, seed 0" in outcome.output
    assert outcome.output.splitlines()[-1].startswith("model: ")


def test_one_backbone_leaves_nothing_to_fuse(here: Path, trained: Any) -> None:
    alone = fusion("train", "--backbone", "small_resnet", "--executor", "loop")
    assert alone.code == 0, alone
    assert "Note: one backbone leaves nothing to fuse." in alone.errors
    assert "averages" not in alone.output.splitlines()[-1]
    assert "Note:" not in fusion("train", "--gate", "average", "--executor", "loop").errors


def test_the_concatenation_as_one_more_expert(here: Path, images: list[Path], tmp_path: Path) -> None:
    options = ("--gate", "average", "--experts", "singles,concat", "--executor", "loop", "--json")
    outcome = fusion("train", *options)
    assert outcome.code == 0, outcome
    assert [row["method"] for row in outcome.document["rows"]] == [
        "small_resnet",
        "small_efficientnet",
        "concat-softmax",
        "average",
    ]
    assert list(outcome.document["penalties"]) == ["small_resnet", "small_efficientnet", "concat-softmax"]
    model = Path(outcome.document["run"]) / "model"
    first = predict(model, images)
    assert {*first[0]["gate"]} == {"small_resnet", "small_efficientnet", "concat"}
    assert predict(shutil.copytree(model, tmp_path / "moved"), images) == first
    assert "concat 0.33" in fusion("predict", str(model), str(images[0])).output
    assert "side by side with nothing" in failure(2, "train", *options[:-1], "--backbone", "small_resnet")


@pytest.mark.parametrize(
    "options",
    [
        ("--gate", "embedding", "--label-embedding", "learned", "--joint", "--experts", "singles,concat"),
        ("--gate", "stacking", "--in-sample"),
        ("--gate", "embedding", "--readout", "softmax"),
    ],
    ids=["labels, joint", "in sample", "softmax"],
)
def test_models_of_all_kinds_predict_the_same_after_a_move(
    here: Path, images: list[Path], tmp_path: Path, options: tuple[str, ...]
) -> None:
    outcome = fusion("train", *options, "--executor", "loop", "--json")
    assert outcome.code == 0, outcome
    model = Path(outcome.document["run"]) / "model"
    first = predict(model, images)
    assert all(sum(item["probabilities"].values()) == pytest.approx(1) for item in first)
    assert predict(shutil.copytree(model, tmp_path / "moved"), images) == first
    notes = fusion("predict", str(model), str(images[0])).errors
    assert ("the model's gate leaks: it was fitted on" in notes) == ("--in-sample" in options)


def test_a_model_that_averages_says_so(here: Path, trained: Any, images: list[Path]) -> None:
    """Once, on stderr."""
    note = "Note: the model's gate learned nothing better than averaging: every expert has the same weight."
    outcome = fusion("predict", trained["run"], *map(str, images))
    assert outcome.errors.count(note) == trained["model"]["fallback"]
    classifier, description = load_model(Path(trained["run"]) / "model")
    for fallback in (True, False):
        classifier.fallback_ = fallback
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("fusion_pipeline.predict.load_model", lambda _: (classifier, description))
            outcome = fusion("predict", trained["run"], *map(str, images))
        assert outcome.errors.splitlines().count(note) == fallback
        assert "Note" not in outcome.output


def test_a_broken_table_is_not_passed_over(here: Path, trained: Any, images: list[Path]) -> None:
    settings = here / "fusion.toml"
    text = settings.read_text()
    settings.write_text(text.replace('"timm:test_resnet"', '"tim:test_resnet"'))
    try:
        assert "model 'tim:test_resnet'; write timm:NAME" in failure(2, "predict", trained["run"], str(images[0]))
    finally:
        settings.write_text(text)


def test_predict_here_and_after_a_move(here: Path, trained: Any, images: list[Path], tmp_path: Path) -> None:
    model = Path(trained["run"]) / "model"
    first = predict(model, images)
    assert [item["path"] for item in first] == [str(path) for path in images]
    for item in first:
        assert item["label"] == max(item["probabilities"], key=item["probabilities"].get)
        assert set(item["probabilities"]) == set(CLASSES)
        assert sum(item["probabilities"].values()) == pytest.approx(1, abs=1e-6)
        assert set(item["gate"]) == {"small_resnet", "small_efficientnet"}
        assert sum(item["gate"].values()) == pytest.approx(1, abs=1e-6)
    moved = shutil.copytree(model, tmp_path / "moved")
    assert predict(moved, images) == first
    assert predict(Path(trained["run"]), images) == first  # the run folder will do as well


def test_predictions_on_training_images_use_the_stored_features(here: Path, trained: Any) -> None:
    """An image of the data set goes through the same pixels and networks as at extraction."""
    classifier, _ = load_model(Path(trained["run"]) / "model")
    stores = Cache(here / "cache")["flowers"]
    features = {name: stores[name].features[:] for name in classifier.backbones_}
    expected = classifier.predict_proba(features, None)
    paths = [here / "flowers" / sample for sample in stores["small_resnet"].sample_ids]
    found = [list(item["probabilities"].values()) for item in predict(Path(trained["run"]), paths)]
    assert np.abs(np.array(found) - expected).max() < 1e-2
    assert (np.array(found).argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.9


def test_predict_with_other_weights_is_refused(here: Path, trained: Any, images: list[Path]) -> None:
    weights = here / "small_resnet.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    try:
        line = failure(16, "predict", trained["run"], str(images[0]))
        assert "small_resnet" in line
        assert "not those that the model was trained with" in line
    finally:
        weights.write_bytes(good)


def test_predict_finds_weights_where_it_is_told(here: Path, trained: Any, images: list[Path], tmp_path: Path) -> None:
    expected = predict(Path(trained["run"]), images)
    kept = {name: (here / f"{name}.safetensors").read_bytes() for name in ("small_resnet", "small_efficientnet")}
    elsewhere = tmp_path / "weights"
    elsewhere.mkdir()
    for name in kept:
        (here / f"{name}.safetensors").rename(elsewhere / f"{name}.safetensors")
    try:
        assert "small_resnet" in failure(10, "predict", trained["run"], str(images[0]))
        assert predict(Path(trained["run"]), images, "--weights", str(elsewhere)) == expected
    finally:
        for name, content in kept.items():
            (here / f"{name}.safetensors").write_bytes(content)


def test_predict_with_bad_photographs(here: Path, trained: Any, images: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad\x1b[2J.png"
    bad.write_bytes(b"")
    line = failure(17, "predict", trained["run"], str(images[0]), str(bad))
    assert "empty file" in line
    outcome = fusion("predict", trained["run"], str(images[0]), str(bad), "--on-bad", "skip")
    assert outcome.code == 3
    assert "\x1b" not in outcome.output
    assert "skipped" in outcome.output
    assert failure(10, "predict", str(tmp_path / "nothing"), str(images[0]))


def test_cache_ls_and_verify(here: Path) -> None:
    listed = fusion("cache", "ls", "--json").document["stores"]
    assert {store["backbone"] for store in listed} == {"index", "small_resnet", "small_efficientnet"}
    assert all(Path(store["path"]).is_dir() and store["bytes"] > 0 for store in listed)
    assert len(fusion("cache", "ls").output.splitlines()) == 3
    verified = fusion("cache", "verify", "--json")
    assert verified.code == 0
    assert [store["ok"] for store in verified.document["stores"]] == [True] * 3


def test_damage_is_named_and_never_trained_on(here: Path, tmp_path: Path) -> None:
    cache = shutil.copytree(here / "cache", tmp_path / "cache")
    chunk = next(cache.glob("flowers/small_resnet-*/attempts/*/features/c/0/0"))
    content = bytearray(chunk.read_bytes())
    content[5] ^= 1
    chunk.write_bytes(content)
    before = tree_bytes(cache)
    outcome = fusion("cache", "verify", "--cache", str(cache), "--json")
    assert outcome.code == 12
    damaged = [store for store in outcome.document["stores"] if not store["ok"]]
    assert [(store["backbone"], store["damage"]) for store in damaged] == [
        ("small_resnet", [{"file": "features/c/0/0", "kind": "content"}])
    ]
    assert str(chunk) in fusion("cache", "verify", "--cache", str(cache)).output
    assert str(chunk) in failure(12, "train", "--cache", str(cache), "--executor", "loop")
    assert tree_bytes(cache) == before


def test_backbones_are_listed(here: Path) -> None:
    names = [item["name"] for item in fusion("backbones", "--json").document["backbones"]]
    assert {"xception", "small_resnet", "small_efficientnet"} <= set(names)
    assert "small_resnet" in fusion("backbones").output
