"""Model folders: the same bits after a move, and nothing damaged, newer, strange or hostile is read."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from fusion_pipeline.errors import (
    FormatError,
    IncompleteError,
    IntegrityError,
    RefusedError,
    StorageError,
    UsageError,
)
from fusion_pipeline.train.classifier import FusionClassifier
from fusion_pipeline.train.gates.registry import GATES
from fusion_pipeline.train.model import load_model, save_model
from tests.train.made import make_features, make_labels, telling_data

CODES = make_labels(8, 3)
LABELS = np.array(["tulip", "daisy", "rose"])[CODES]
FEATURES = {"alpha": make_features(CODES, 6, 1, 0.4), "beta": make_features(CODES, 9, 2, 0.4)}
DESCRIPTION = {"stores": {"alpha": "sha256:12"}, "scores": [0.5]}


@pytest.fixture(scope="module")
def classifier() -> FusionClassifier:
    return FusionClassifier(gate="constant", seed=2, alphas=[1.0, 10.0]).fit(FEATURES, LABELS)


@pytest.fixture
def folder(tmp_path: Path, classifier: FusionClassifier) -> Path:
    save_model(tmp_path / "model", classifier, DESCRIPTION)
    return tmp_path / "model"


def rewrite(folder: Path, name: str, content: bytes) -> None:
    """Replace a file and make the manifest agree, as somebody who wants to be believed would."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"][name] = {"length": len(content), "sha256": "sha256:" + hashlib.sha256(content).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("gate", [name for name in GATES if name != "cnn64"])
def test_predictions_are_the_same_bits_after_a_move(gate: str, tmp_path: Path) -> None:
    features, pictures, labels = telling_data()
    thumbnails = pictures if gate == "cnn32" else None
    model = FusionClassifier(gate=gate, seed=1).fit(features, labels, thumbnails)
    assert gate in ("constant", "log-pool", "embedding-mean") or not model.fallback_, (
        "otherwise no learned gate is stored"
    )
    save_model(tmp_path / "model", model, DESCRIPTION)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "model").rename(tmp_path / "elsewhere" / "moved")
    again, description = load_model(tmp_path / "elsewhere" / "moved")
    assert description == DESCRIPTION
    for method in ("predict_proba", "gate_weights"):
        before, after = (getattr(m, method)(features, thumbnails) for m in (model, again))
        assert before.tobytes() == after.tobytes()
    assert again.predict(features, thumbnails).tolist() == model.predict(features, thumbnails).tolist()
    assert (again.backbones_, again.fallback_) == (model.backbones_, model.fallback_)
    assert again.get_params() == model.get_params()


def test_the_folder_holds_three_files_that_follow_the_umask(tmp_path: Path, classifier: FusionClassifier) -> None:
    before = os.umask(0o002)
    try:
        save_model(tmp_path / "parent" / "model", classifier, {})
    finally:
        os.umask(before)
    files = {entry.name: entry.stat().st_mode & 0o777 for entry in os.scandir(tmp_path / "parent" / "model")}
    assert files == {"manifest.json": 0o664, "model.json": 0o664, "tensors.safetensors": 0o664}
    assert (tmp_path / "parent" / "model").stat().st_mode & 0o777 == 0o775
    assert os.listdir(tmp_path / "parent") == ["model"], "nothing is left beside it"


def test_an_earlier_model_is_replaced_and_an_empty_folder_used(folder: Path, classifier: FusionClassifier) -> None:
    save_model(folder, classifier, {"second": True})
    assert load_model(folder)[1] == {"second": True}
    (folder.parent / "empty").mkdir()
    save_model(folder.parent / "empty", classifier, {})
    assert sorted(os.listdir(folder.parent)) == ["empty", "model"]


def test_anything_else_is_never_overwritten(tmp_path: Path, classifier: FusionClassifier) -> None:
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "rose.jpg").write_bytes(b"rose")
    (tmp_path / "file").write_bytes(b"mine")
    for name in ("photographs", "file"):
        with pytest.raises(UsageError, match="not a model"):
            save_model(tmp_path / name, classifier, {})
    assert (tmp_path / "photographs" / "rose.jpg").read_bytes() == b"rose"
    assert (tmp_path / "file").read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["model.json", "tensors.safetensors"])
def test_every_kind_of_damage_is_found_and_named(name: str, folder: Path) -> None:
    whole = (folder / name).read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content in (bytes(flipped), b"", whole[:3], whole[:-1], whole + b"x"):
        (folder / name).write_bytes(content)
        with pytest.raises(IntegrityError, match=name):
            load_model(folder)
    (folder / name).unlink()
    with pytest.raises(IncompleteError, match=f"lacks {name}"):
        load_model(folder)


def test_what_is_no_model_is_told_apart(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(IncompleteError, match="no model at"):
        load_model(tmp_path / "nowhere")
    (tmp_path / "other").mkdir()
    with pytest.raises(FormatError, match=r"has no manifest\.json"):
        load_model(tmp_path / "other")
    for content in (b"{", b"[]", b'{"format": "fusion-store"}', b'{"format": NaN}'):
        (folder / "manifest.json").write_bytes(content)
        with pytest.raises(FormatError):
            load_model(folder)
    (folder / "manifest.json").write_bytes(b"[" * 60_000)
    with pytest.raises(RefusedError, match="nested too deeply"):
        load_model(folder)


def test_a_newer_major_is_refused_and_a_newer_minor_read(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    for version, fine in (("1.7", True), ("2.0", False)):
        (folder / "manifest.json").write_text(json.dumps({**manifest, "version": version}))
        if fine:
            load_model(folder)
        else:
            with pytest.raises(FormatError, match=r"version 2\.0"):
                load_model(folder)


class Canary:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("canary",)


def test_a_pickle_is_never_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    payload = pickle.dumps(Canary())
    (folder / "model.pkl").write_bytes(payload)
    with pytest.raises(RefusedError, match=r"model\.pkl"):
        load_model(folder)
    (folder / "model.pkl").unlink()
    rewrite(folder, "tensors.safetensors", payload)
    with pytest.raises(RefusedError, match=r"tensors\.safetensors"):
        load_model(folder)
    assert not (folder.parent / "canary").exists()


def test_a_link_out_of_the_folder_is_refused(folder: Path) -> None:
    (folder / "model.json").rename(folder.parent / "model.json")
    (folder / "model.json").symlink_to(folder.parent / "model.json")
    with pytest.raises(RefusedError, match=r"model\.json"):
        load_model(folder)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("expert.0.weights", np.zeros((6, 4), np.float32)),
        ("expert.0.weights", np.zeros((6, 3), np.float64)),
        ("expert.1.bias", np.zeros(2)),
        ("expert.1.bias", np.zeros(3, np.float32)),
        ("gate.proportions", np.zeros(3)),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(folder: Path, name: str, array: np.ndarray) -> None:
    record = json.loads((folder / "model.json").read_bytes())
    record["gate"]["settings"]["fallback"] = False
    rewrite(folder, "model.json", json.dumps(record).encode())
    tensors = {"gate.proportions": np.full(2, 0.5), **load((folder / "tensors.safetensors").read_bytes())}
    rewrite(folder, "tensors.safetensors", save(tensors))
    load_model(folder)
    rewrite(folder, "tensors.safetensors", save({**tensors, name: array}))
    with pytest.raises(FormatError, match="do not fit together"):
        load_model(folder)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("gate", "settings", "n_experts"), 10**13),
        (("gate", "settings", "n_experts"), 1),
        (("classes",), ["a", "a", "b"]),
        (("classes",), [["a"], ["b"], ["c"]]),
        (("classes",), [None, 1.5, 2]),
        (("classes",), ["a", 1, "b"]),
        (("description",), [1]),
        (("description",), "abc"),
        (("seed",), "x"),
        (("backbones", 0, "n_features"), 7),
        (("backbones", 1, "name"), "alpha"),
        (("backbones",), []),
    ],
)
def test_a_record_that_no_fit_leaves_behind_is_refused(folder: Path, path: tuple[Any, ...], value: object) -> None:
    record = json.loads((folder / "model.json").read_bytes())
    inner = record
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    rewrite(folder, "model.json", json.dumps(record).encode())
    with pytest.raises(FormatError, match="do not fit together"):
        load_model(folder)


def test_labels_that_json_cannot_tell_are_refused(tmp_path: Path) -> None:
    model = FusionClassifier(gate="average").fit(FEATURES, CODES + 0.5)
    with pytest.raises(UsageError, match="all text or all whole numbers"):
        save_model(tmp_path / "model", model, {})
    assert not (tmp_path / "model").exists()


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path: Path, classifier: FusionClassifier) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="Storage failed"):
        save_model(tmp_path / "file" / "model", classifier, {})
