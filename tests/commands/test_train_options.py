"""The options of `fusion train` that choose experts and gate: what they lead to, and what cannot go together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusion_pipeline.commands import inputs
from fusion_pipeline.store import Cache
from fusion_pipeline.train.labels.names import imagenet_classes
from fusion_pipeline.train.model import load_model
from tests.commands.made import failure, fusion
from tests.train.made import make_labels, publish, telling_data

LABELS = make_labels(10, 3)


def make_imagenet(labels: np.ndarray, seed: int) -> np.ndarray:
    """Return probabilities (n, 1000) whose first classes tell the label now and then."""
    drawn = np.random.default_rng(seed).random((len(labels), 1000)) ** 40
    drawn[np.arange(len(labels)), labels] += drawn.sum(axis=1) / 4
    return (drawn / drawn.sum(axis=1, keepdims=True)).astype(np.float16)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("options")
    features, thumbnails, labels = telling_data()
    imagenet = {name: make_imagenet(labels, seed) for seed, name in enumerate(features)}
    publish(root / "cache", features, labels, thumbnails=thumbnails, imagenet=imagenet)
    generator = np.random.default_rng(0)
    words = sorted({word for name in imagenet_classes()[:500] for word in name.split() if word.isalpha()})
    lines = [f"{word} {' '.join(f'{value:.3f}' for value in generator.normal(size=4))}\n" for word in words]
    (root / "vectors.txt").write_text("".join(lines))
    return root


@pytest.fixture
def here(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(home)
    return home


def train(*options: str) -> Any:
    outcome = fusion("train", "--executor", "loop", *options, "--json")
    assert outcome.code == 0, outcome
    return outcome.document


def predictions(document: Any) -> tuple[Any, np.ndarray]:
    """Return the model of a run, and what it says of the stored images."""
    classifier, _ = load_model(Path(document["model"]["path"]))
    stores = Cache("cache")["made"]
    features = {name: stores[name].features[:] for name in classifier.backbones_}
    imagenet = {name: stores[name].probabilities[:] for name in classifier.backbones_}
    known = None if classifier.label_space_ is None else imagenet
    thumbnails = stores["alpha"].thumbnails(32)[:] if classifier.gate_.thumbnail_size else None
    return classifier, classifier.predict_proba(features, thumbnails, known)


def test_a_learned_label_embedding(here: Path) -> None:
    document = train("--gate", "average", "--label-embedding", "learned", "--top", "3")
    assert document["protocol"]["label_embedding"] == {
        "kind": "learned",
        "top": 3,
        "vectors_sha256": "",
        "fine_tuned": False,
    }
    assert {row["label_embedding"] for row in document["rows"]} == {"learned"}
    classifier, said = predictions(document)
    assert (classifier.label_embedding, classifier.top) == ("learned", 3)
    assert said.shape == (150, 3)
    lines = fusion("train", "--executor", "loop", "--gate", "average", "--label-embedding", "learned").output
    assert "alpha + learned" in lines


def test_word_vectors_of_one_s_own(here: Path) -> None:
    options = ("--gate", "average", "--label-embedding", "glove", "--label-vectors", "vectors.txt")
    frozen, tuned = train(*options), train(*options, "--fine-tune-labels", "--label-top", "1")
    told = frozen["protocol"]["label_embedding"]
    assert (told["kind"], told["top"], told["fine_tuned"]) == ("glove", 5, False)
    assert 0 < told["classes_without_vector"] < 1000
    assert told["vectors_sha256"].startswith("sha256:")
    for document, blocks in ((frozen, (4,)), (tuned, (4, 1000))):
        classifier, _ = predictions(document)
        assert classifier.label_space_.blocks == blocks
    errors = fusion("train", "--executor", "loop", *options).errors
    assert f"{1000 - told['classes_without_vector']:,} of 1,000 class names have a vector (vectors.txt, 4" in errors


def test_the_concatenation_sees_no_labels(here: Path) -> None:
    document = train("--gate", "average", "--label-embedding", "learned", "--experts", "singles,concat")
    seen = {row["method"]: row["label_embedding"] for row in document["rows"]}
    assert seen == {"alpha": "learned", "beta": "learned", "concat-softmax": "none", "average": "learned"}


@pytest.mark.parametrize(("readout", "gate"), [("gate", "embedding"), ("mean", "embedding-mean")])
def test_readouts(here: Path, readout: str, gate: str) -> None:
    document = train("--gate", "embedding", "--readout", readout)
    assert document["protocol"]["gate"] == document["rows"][-1]["method"] == gate
    assert predictions(document)[0].gate == gate


def test_stacking_in_sample_says_that_it_leaks(here: Path) -> None:
    outcome = fusion("train", "--executor", "loop", "--gate", "stacking", "--in-sample")
    assert outcome.code == 0, outcome
    assert "Note: gate 'leaking-stacking' leaks: it is fitted on" in outcome.errors
    row = next(line for line in outcome.output.splitlines() if line.startswith("leaking-stacking  "))
    assert row.endswith("leaks: fitted on the experts' predictions of their own training rows")
    document = train("--gate", "stacking", "--in-sample")
    assert document["model"]["leaks"] == document["rows"][-1]["leaks"] != ""
    assert {row["leaks"] for row in document["rows"][:-1]} == {""}
    assert train("--gate", "stacking")["model"]["leaks"] == ""


@pytest.mark.parametrize("gate", ["embedding", "cnn32"])
def test_experts_and_gate_together(here: Path, gate: str) -> None:
    together, frozen = train("--gate", gate, "--joint"), train("--gate", gate)
    assert (together["protocol"]["joint"], frozen["protocol"]["joint"]) == (True, False)
    assert together["run"] != frozen["run"]
    scores = [row["nll"] for row in (together["rows"][-1], frozen["rows"][-1])]
    assert scores[0] != scores[1]
    models = [predictions(document)[0] for document in (together, frozen)]
    assert models[0].joint
    assert not np.array_equal(models[0].experts_["alpha"].weights, models[1].experts_["alpha"].weights)
    # The other rows are those of frozen experts.
    assert [row["nll"] for row in together["rows"][:-1]] == [row["nll"] for row in frozen["rows"][:-1]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--label-vectors", "vectors.txt"), "--label-vectors is for GloVe"),
        (("--label-embedding", "learned", "--label-vectors", "vectors.txt"), "--label-vectors is for GloVe"),
        (("--label-embedding", "learned", "--fine-tune-labels"), "--fine-tune-labels is for GloVe"),
        (("--label-top", "3"), "--label-top is for a label embedding"),
        (("--gate", "cnn32", "--readout", "mean"), "readout='mean' is not for gate 'cnn32'"),
        (("--gate", "embedding", "--in-sample"), "Only gate 'stacking' can be fitted in sample"),
        (("--gate", "stacking", "--joint"), "Gate 'stacking' cannot be trained together with experts"),
        (("--readout", "softmax", "--joint"), "Gate 'embedding-softmax' cannot be trained together"),
    ],
)
def test_what_cannot_go_together(here: Path, options: tuple[str, ...], message: str) -> None:
    assert message in failure(2, "train", "--executor", "loop", *options)


def test_word_vectors_that_are_not_there(here: Path) -> None:
    line = failure(10, "train", "--label-embedding", "glove", "--label-vectors", "nowhere.txt")
    assert "no word vectors at 'nowhere.txt'" in line


def test_a_backbone_that_knows_no_imagenet_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    publish(tmp_path / "cache", {"alpha": telling_data(60)[0]["alpha"]}, telling_data(60)[2])
    line = failure(10, "train", "--executor", "loop", "--label-embedding", "learned", "--gate", "average")
    assert "alpha" in line


def test_backbones_that_know_other_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    features, _, labels = telling_data(60)
    imagenet = {"alpha": make_imagenet(labels, 0), "beta": make_imagenet(labels, 1)[:, :10]}
    publish(tmp_path / "cache", features, labels, imagenet=imagenet)
    line = failure(2, "train", "--executor", "loop", "--label-embedding", "learned", "--gate", "average")
    assert "ImageNet probabilities have shape (60, 10), not (60, 1000)" in line


def test_settings_alone_are_a_fusion(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(inputs, "run_training", lambda *arguments: asked.append(arguments[-1]) or 1 / 0)
    monkeypatch.setenv("FUSION_GATE", "cnn64")
    assert fusion("train").code == 1
    assert (asked[0].gate, asked[0].experts, asked[0].joint, asked[0].labels.kind) == (
        "cnn64",
        "singles",
        False,
        "none",
    )
