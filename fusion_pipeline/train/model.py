"""A fitted classifier becomes safetensors and strict JSON in a folder, and the folder the same classifier again.

The folder can be moved and shared: there is no pickle in it, and the classifier that comes back predicts the same bits.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from fusion_pipeline.errors import FormatError, RefusedError, UsageError, printable
from fusion_pipeline.train.classifier import FusionClassifier
from fusion_pipeline.train.expert_sets import SINGLES, expert_names
from fusion_pipeline.train.experts import Expert
from fusion_pipeline.train.gates.registry import make_gate
from fusion_pipeline.train.labels.space import LabelSpace, space_parameters
from fusion_pipeline.train.model_folder import (
    FORMAT,
    VERSION,
    check_version,
    json_bytes,
    json_object,
    read_folder,
    write_folder,
)

MODEL = "model.json"
TENSORS = "tensors.safetensors"

_VECTORS = "labels.vectors"

Arrays = dict[str, NDArray[Any]]


def save_model(folder: str | os.PathLike[str], classifier: FusionClassifier, description: Mapping[str, Any]) -> None:
    """Write a fitted classifier as a model folder: all of it, or nothing.

    Parameters
    ----------
    folder : path
        New, empty, or an earlier model, which is replaced.
    classifier : FusionClassifier
        Fitted; its labels are str or int.
    description : mapping
        JSON values that go with the model: store identities, manifest digests, preprocessing, versions, scores.

    Raises
    ------
    UsageError
        If there is something else than a model at `folder`, or the labels are of another kind.
    StorageError
        If the folder cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> rows = np.linspace(-1.0, 1.0, 12)[:, None]
    >>> model = FusionClassifier(gate="average").fit({"a": rows}, np.arange(12) // 6)
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     save_model(f"{parent}/model", model, {"note": "tiny"})
    ...     again, description = load_model(f"{parent}/model")
    >>> bool((again.predict_proba({"a": rows}) == model.predict_proba({"a": rows})).all()), description
    (True, {'note': 'tiny'})
    """
    record = _record(classifier, description)
    write_folder(Path(folder), {MODEL: json_bytes(record), TENSORS: save_tensors(_arrays(classifier))})


def load_model(folder: str | os.PathLike[str]) -> tuple[FusionClassifier, dict[str, Any]]:
    """Read a model folder after checking every byte of it.

    Parameters
    ----------
    folder : path

    Returns
    -------
    classifier : FusionClassifier
        Predicts the same bits as the one that was saved.
    description : dict
        As it was given to `save_model`.

    Raises
    ------
    IncompleteError
        If nothing is there, or a file is missing.
    FormatError
        If it is no model, one of a newer major version, or its parts do not fit together.
    RefusedError
        If it holds anything that a model does not, such as a pickle.
    IntegrityError
        If a file is not what was saved.
    StorageError
        If a file cannot be read.
    """
    target = Path(folder)
    files = read_folder(target, (MODEL, TENSORS))
    record = json_object(files[MODEL], target / MODEL)
    check_version(record, target / MODEL)
    classifier = _classifier(record, _tensors(files[TENSORS], target / TENSORS), target)
    return classifier, dict(record["description"])


def _arrays(classifier: FusionClassifier) -> Arrays:
    arrays: Arrays = {}
    for position, expert in enumerate(classifier.experts_.values()):
        arrays[f"expert.{position}.weights"] = np.ascontiguousarray(expert.weights)
        arrays[f"expert.{position}.bias"] = np.ascontiguousarray(expert.bias)
    gate_arrays, _ = classifier.gate_.state()
    if classifier.label_space_ is not None and classifier.label_space_.vectors is not None:
        arrays[_VECTORS] = np.ascontiguousarray(classifier.label_space_.vectors)
    arrays.update({f"gate.{name}": np.ascontiguousarray(array) for name, array in gate_arrays.items()})
    return arrays


def _record(classifier: FusionClassifier, description: Mapping[str, Any]) -> dict[str, Any]:
    classes = classifier.classes_.tolist()
    if not (_all_of(str, classes) or _all_of(int, classes)):
        raise UsageError(f"A model folder holds labels that are all text or all whole numbers, not {classes[0]!r}.")
    return {
        "format": FORMAT,
        "version": VERSION,
        "classes": classes,
        "backbones": [{"name": name, "n_features": n_features} for name, n_features in classifier.n_features.items()],
        "experts": classifier.experts,
        "label_space": _label_record(classifier.label_space_),
        "joint": bool(classifier.joint),
        "gate": {"name": classifier.gate_.name, "settings": classifier.gate_.state()[1]},
        "seed": int(classifier.seed),
        "alphas": None if classifier.alphas is None else [float(alpha) for alpha in classifier.alphas],
        "description": dict(description),
    }


def _label_record(space: LabelSpace | None) -> dict[str, Any] | None:
    if space is None:
        return None
    return {"kind": space.kind, "n_classes": space.n_classes, "top": int(space.top), "fine_tuned": space.fine_tuned}


def _classifier(record: dict[str, Any], arrays: Arrays, folder: Path) -> FusionClassifier:
    try:
        _check_record(record)
        gate = make_gate(record["gate"]["name"])
        gate_arrays = {name.removeprefix("gate."): array for name, array in arrays.items() if name.startswith("gate.")}
        gate.restore(gate_arrays, record["gate"]["settings"])
        space = _label_space(record.get("label_space"), arrays)
        experts = {name: _expert(position, arrays, size) for position, (name, size) in enumerate(_sizes(record, space))}
        settings = {"seed": record["seed"], "alphas": record["alphas"], "joint": record.get("joint", False)}
        settings["experts"] = record.get("experts", SINGLES)
        classifier = FusionClassifier(gate.name, **settings, **space_parameters(space))
        classifier.assemble(record["classes"], experts, gate, space)
        _try(classifier)
    except (
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        AttributeError,
        RuntimeError,
        MemoryError,
        UsageError,
    ) as error:
        raise FormatError(
            f"The parts of model '{printable(str(folder))}' do not fit together ({printable(str(error))[:200]}). "
            "Train it again, or get another copy."
        ) from error
    return classifier


def _check_record(record: Mapping[str, Any]) -> None:
    """Refuse what could not have been saved, before anything is made as large as it says."""
    classes, backbones, settings = record["classes"], record["backbones"], record["gate"]["settings"]
    if not (_all_of(str, classes) or _all_of(int, classes)) or len(set(classes)) != len(classes):
        raise ValueError("its classes are not different names or numbers")
    experts = expert_names([entry["name"] for entry in backbones], record.get("experts", SINGLES))
    if not experts or settings["n_experts"] != len(experts):
        raise ValueError(f"it has {len(experts)} experts and a gate for {settings['n_experts']!r:.20}")
    if len({entry["name"] for entry in backbones}) != len(backbones):
        raise ValueError("two of its backbones have one name")
    if not isinstance(record["seed"], int) or not isinstance(record["description"], dict):
        raise TypeError("its seed or its description is of a wrong type")
    if not isinstance(record.get("joint", False), bool):
        raise TypeError("its way of training is of a wrong type")


def _all_of(kind: type, values: Any) -> bool:
    return isinstance(values, list) and bool(values) and all(type(value) is kind for value in values)


def _label_space(entry: Mapping[str, Any] | None, arrays: Arrays) -> LabelSpace | None:
    """Return the label space of a record; models from before there were any have none."""
    if entry is None:
        return None
    vectors = arrays.get(_VECTORS)
    if vectors is not None and vectors.dtype != np.float32:
        raise TypeError(f"its label vectors are {vectors.dtype}, not float32")
    if type(entry["n_classes"]) is not int or type(entry["fine_tuned"]) is not bool:
        raise TypeError("its label space is of wrong types")
    return LabelSpace(entry["kind"], entry["n_classes"], entry["top"], vectors, entry["fine_tuned"])


def _sizes(record: Mapping[str, Any], space: LabelSpace | None) -> Iterator[tuple[str, int]]:
    """Yield each expert's name, and how many columns it sees."""
    sizes = {entry["name"]: entry["n_features"] for entry in record["backbones"]}
    width = 0 if space is None else space.width
    for name in expert_names(tuple(sizes), record.get("experts", SINGLES)):
        yield name, sizes[name] + width if name in sizes else sum(sizes.values())


def _expert(position: int, arrays: Arrays, size: int) -> Expert:
    weights, bias = arrays[f"expert.{position}.weights"], arrays[f"expert.{position}.bias"]
    if weights.dtype != np.float32 or bias.dtype != np.float64:
        raise TypeError(f"expert {position} is {weights.dtype} and {bias.dtype}, not float32 and float64")
    if weights.ndim != 2 or bias.shape != weights.shape[1:] or len(weights) != size:
        raise ValueError(f"expert {position} has shapes {weights.shape} and {bias.shape}")
    return Expert(weights, bias)


def _try(classifier: FusionClassifier) -> None:
    """Predict one empty image: what does not fit together shows itself here, not at a user's first photograph."""
    rows = {name: np.zeros((1, n_features)) for name, n_features in classifier.n_features.items()}
    size = classifier.gate_.thumbnail_size
    thumbnails = None if size is None else np.zeros((1, size, size, 3), dtype=np.uint8)
    space = classifier.label_space_
    imagenet = None if space is None else {name: np.full((1, space.n_classes), 1.0) for name in rows}
    probabilities = classifier.predict_proba(rows, thumbnails, imagenet)
    if probabilities.shape != (1, len(classifier.classes_)) or not np.isfinite(probabilities).all():
        raise ValueError(f"probabilities of shape {probabilities.shape} for {len(classifier.classes_)} classes")
    if classifier.gate_weights(rows, thumbnails).shape != (1, len(classifier.experts_)):
        raise ValueError("gate weights for another number of experts")


def _tensors(content: bytes, path: Path) -> Arrays:
    try:
        return dict(load_tensors(content))
    except (SafetensorError, ValueError, KeyError) as error:
        raise RefusedError(
            f"'{printable(str(path))}' is not a safetensors file that can be trusted. Get another copy of the model."
        ) from error
