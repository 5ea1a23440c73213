"""A model folder and photographs into labels, probabilities and gate weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fusion_pipeline.errors import FormatError, IncompleteError, RefusedError, UnusableDataError, printable
from fusion_pipeline.extract.engines.choice import choose_engine, find_device
from fusion_pipeline.extract.loading.decoders import make_decoder
from fusion_pipeline.extract.loading.loader import LOADED_AT_ONCE, ImageLoader, Job, Task
from fusion_pipeline.extract.loading.preparation import Preparation, Squares
from fusion_pipeline.extract.meter import Meter
from fusion_pipeline.extract.networks.backbones import Backbone, Preprocessing
from fusion_pipeline.extract.networks.network import build_network
from fusion_pipeline.extract.networks.weights import file_sha256, locate_weights
from fusion_pipeline.extract.options import Options
from fusion_pipeline.extract.passes import Progress, silent
from fusion_pipeline.extract.producers import BackboneProducer, Producer, ThumbnailProducer
from fusion_pipeline.extract.rows import PartitionRows, compute_partition
from fusion_pipeline.images.decode import Reason, decoder_identity
from fusion_pipeline.images.thumbnails import THUMBNAIL_SIZES
from fusion_pipeline.store import layout
from fusion_pipeline.train.classifier import FusionClassifier
from fusion_pipeline.train.model import load_model
from fusion_pipeline.train.run import MODEL_FOLDER

_ROWS = 256


@dataclass(frozen=True)
class Opinion:
    """What one expert says about one photograph.

    Parameters
    ----------
    label : str
        Its most probable class.
    probability : float
        Of that class.
    """

    label: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """What a model says about one photograph.

    Parameters
    ----------
    path : str
        The photograph.
    label : str
        Its most probable class.
    probability : float
        Of that class.
    probabilities : mapping of str to float
        Of every class.
    gate : mapping of str to float
        How much each expert was trusted, by its backbone, and ``concat`` by its name; sums to 1.
    experts : mapping of str to Opinion
        What each of them says by itself.
    thumbnail : ndarray (64, 64, 3), uint8, or None
        Only if it was asked for.
    """

    path: str
    label: str
    probability: float
    probabilities: Mapping[str, float]
    gate: Mapping[str, float]
    experts: Mapping[str, Opinion]
    thumbnail: np.ndarray | None = field(default=None, compare=False, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values, without the thumbnail."""
        return {
            "path": self.path,
            "label": self.label,
            "probability": self.probability,
            "probabilities": dict(self.probabilities),
            "gate": dict(self.gate),
            "experts": {name: asdict(opinion) for name, opinion in self.experts.items()},
        }


class Predictor:
    """A loaded model with its networks, ready for photographs.

    Parameters
    ----------
    model : str or Path
        A model folder, or a run folder with one in it.
    find_backbone : callable, optional
        Given a backbone's name, its record in the configuration at hand, or None if it has none. The place that the
        model remembers is tried after it.
    options : Options, optional
        Device, batch size and so on.

    Attributes
    ----------
    classifier : FusionClassifier
        The model.
    notes : list of str
        What to know before trusting it: a gate that only averages, or inputs that differ from those at training.

    Raises
    ------
    IncompleteError
        If the model or the weights of a backbone are not there.
    RefusedError
        If the only weights found are not those that the model was trained with.
    """

    def __init__(
        self,
        model: str | Path,
        find_backbone: Callable[[str], Backbone | None] = lambda _name: None,
        options: Options | None = None,
    ) -> None:
        self._options = options or Options()
        folder = Path(model)
        inner = folder / MODEL_FOLDER
        self.classifier, description = load_model(inner if inner.is_dir() else folder)
        self.notes = _gate_notes(self.classifier)
        self._dtypes: dict[str, str] = {}
        self._producers: dict[str, Producer] = {}
        self._device = find_device(self._options.device)
        for name in self.classifier.backbones_:
            made = _made_with(description, name)
            identity = made["identity"]
            backbone, weights = _find_weights(name, identity, made.get("source", {}), find_backbone(name))
            self._note_decoder(name, identity["decoder"])
            preprocessing = _preprocessing(identity["preprocessing"])
            network = build_network(backbone, weights, preprocessing.input_size, identity["weights"])
            precision = str(identity.get("precision", "float32")).removeprefix("autocast ")
            plan = replace(self._options, precision=precision).plan(self._device)
            engine = choose_engine(name, network, preprocessing, plan)
            self._producers[name] = BackboneProducer(name, preprocessing, engine)
            self._dtypes[name] = str(identity["dtype"])

    def _note_decoder(self, name: str, trained: Mapping[str, Any]) -> None:
        ours = decoder_identity()
        if trained != ours:
            self.notes.append(
                f"Backbone '{printable(name)}' was trained on images decoded by {trained}, here by {ours}: "
                "pixels may differ slightly."
            )

    def predict(
        self, images: Sequence[str | Path], progress: Progress | None = None, *, with_thumbnails: bool = False
    ) -> tuple[list[Prediction], dict[str, Reason]]:
        """Predict the classes of photographs.

        Parameters
        ----------
        images : sequence of str or Path
            Image files.
        progress : callable, optional
            Shows how far it is.
        with_thumbnails : bool
            Keep a thumbnail of each, 12 KB, to be shown beside what is said of it.

        Returns
        -------
        predictions : list of Prediction
            In the order of `images`, without those that could not be decoded.
        bad : dict of str to Reason
            Those, if ``on_bad`` is ``"skip"``.

        Raises
        ------
        UnusableDataError
            If photographs cannot be decoded and ``on_bad`` is ``"stop"``: it names them all, and no network has run.
        """
        names, show = [os.fspath(path) for path in images], progress or silent
        self._check(names, show)
        predictions: list[Prediction] = []
        bad: dict[str, Reason] = {}
        for part, rows in self._features(names, show, with_thumbnails=with_thumbnails):
            bad.update({part[row]: reason for row, reason in rows.bad.items()})
            self._refuse(bad, len(names))
            good = np.array([row for row in range(len(part)) if row not in rows.bad], dtype=np.int64)
            if len(good):
                found = _predict(self.classifier, [part[row] for row in good], *self._inputs(rows, good))
                predictions += _with_thumbnails(found, rows, good) if with_thumbnails else found
        return predictions, bad

    def _check(self, names: Sequence[str], progress: Progress) -> None:
        """Refuse all bad photographs before any network runs."""
        if self._options.on_bad == "skip" or len(names) <= min(self._at_once, _ROWS):
            return  # the only batch is decoded before its networks run: no need to open the files twice
        with progress("checking", len(names)) as done, self._loader(done) as loader:
            found = loader.partitions([Job(0, _absolute(names), check=True)])
            loaded = [item.reason for _, batches in found for batch in batches for item in batch]
        bad = {name: reason for name, reason in zip(names, loaded, strict=True) if reason is not Reason.OK}
        self._refuse(bad, len(names))

    def _features(
        self, names: Sequence[str], progress: Progress, *, with_thumbnails: bool
    ) -> Iterator[tuple[Sequence[str], PartitionRows]]:
        """Yield the photographs in parts of bounded memory, with what every producer makes of them."""
        tasks = [
            Task(producer, {layout.FEATURES: dtype, layout.PROBABILITIES: dtype})
            for producer, dtype in zip(self._producers.values(), self._dtypes.values(), strict=True)
        ]
        if self._thumbnail_size or with_thumbnails:
            thumbnails = {layout.THUMBNAILS.format(size=size): "uint8" for size in THUMBNAIL_SIZES}
            tasks.append(Task(ThumbnailProducer(), thumbnails))
        with progress("predicting", len(names)) as done, self._loader(done) as loader:
            parts = [names[start : start + _ROWS] for start in range(0, len(names), _ROWS)]
            stop = self._options.on_bad == "stop"
            jobs = (Job(number, _absolute(part), tasks, check=stop) for number, part in enumerate(parts))
            for job, batches in loader.partitions(jobs):
                yield parts[job.number], compute_partition(loader.meter, job, batches, 0, stop_on_bad=stop)

    def _loader(self, done: Callable[[int], object]) -> ImageLoader:
        return ImageLoader(
            workers=self._options.threads,
            batch_size=self._at_once,
            budget=self._options.budget,
            decoder=make_decoder(self._options, self._device, self._preparations),
            progress=done,
            meter=Meter(),
            by_turns=self._device == "cpu",
        )

    @property
    def _preparations(self) -> list[Preparation]:
        return [Squares(), *(producer.preparation for producer in self._producers.values())]

    @property
    def _at_once(self) -> int:
        return self._options.batch_size or LOADED_AT_ONCE

    def _inputs(
        self, rows: PartitionRows, good: np.ndarray
    ) -> tuple[dict[str, np.ndarray], np.ndarray | None, dict[str, np.ndarray] | None]:
        """Return features, thumbnails and ImageNet probabilities, as the classifier takes them."""
        features = self._of_backbones(layout.FEATURES, rows, good)
        size = self._thumbnail_size
        thumbnails = rows.arrays[-1][layout.THUMBNAILS.format(size=size)][good] if size else None
        looks_at_labels = self.classifier.label_space_ is not None
        return features, thumbnails, self._of_backbones(layout.PROBABILITIES, rows, good) if looks_at_labels else None

    def _of_backbones(self, array: str, rows: PartitionRows, good: np.ndarray) -> dict[str, np.ndarray]:
        return {name: rows.arrays[number][array][good] for number, name in enumerate(self.classifier.backbones_)}

    @property
    def _thumbnail_size(self) -> int | None:
        return self.classifier.gate_.thumbnail_size

    def _refuse(self, bad: Mapping[str, Reason], of: int) -> None:
        if bad and self._options.on_bad == "stop":
            listed = "; ".join(f"'{printable(name)}': {reason.text}" for name, reason in bad.items())
            raise UnusableDataError(
                f"{len(bad):,} of {of:,} photographs cannot be used ({listed}). Leave them out, or use --on-bad skip."
            )


def _absolute(names: Sequence[str]) -> list[bytes]:
    return [os.fsencode(Path(name).absolute()) for name in names]


def _predict(
    classifier: FusionClassifier,
    names: Sequence[str],
    features: Mapping[str, np.ndarray],
    thumbnails: np.ndarray | None,
    imagenet: Mapping[str, np.ndarray] | None,
) -> list[Prediction]:
    probabilities = classifier.predict_proba(features, thumbnails, imagenet)
    weights = classifier.gate_weights(features, thumbnails)
    opinions = classifier.expert_proba(features, thumbnails, imagenet)
    labels = [str(label) for label in classifier.classes_]
    return [
        Prediction(
            path=name,
            label=labels[int(row.argmax())],
            probability=float(row.max()),
            probabilities=dict(zip(labels, map(float, row), strict=True)),
            gate=dict(zip(classifier.experts_, map(float, gate), strict=True)),
            experts={
                expert: Opinion(labels[int(said.argmax())], float(said.max()))
                for expert, said in zip(classifier.experts_, each, strict=True)
            },
        )
        for name, row, gate, each in zip(names, probabilities, weights, opinions, strict=True)
    ]


def _with_thumbnails(predictions: Sequence[Prediction], rows: PartitionRows, good: np.ndarray) -> list[Prediction]:
    squares = rows.arrays[-1][layout.THUMBNAILS.format(size=max(THUMBNAIL_SIZES))][good]
    return [replace(item, thumbnail=square) for item, square in zip(predictions, squares, strict=True)]


def _gate_notes(classifier: FusionClassifier) -> list[str]:
    if classifier.gate_.leaks:
        return [f"the model's gate leaks: it was {classifier.gate_.leaks}, and is surer than it should be."]
    if not classifier.fallback_ or len(classifier.experts_) < 2:
        return []
    return ["the model's gate learned nothing better than averaging: every expert has the same weight."]


def _made_with(description: Mapping[str, Any], name: str) -> dict[str, Any]:
    try:
        made = dict(description["backbones"][name])
        identity = made["identity"]
        _ = (
            identity["weights"],
            identity["dtype"],
            identity["decoder"],
            identity["backbone"]["arguments"],
            identity["preprocessing"],
        )
    except (KeyError, TypeError, ValueError):
        raise FormatError(
            f"The model does not say how the features of '{printable(name)}' were made. "
            "Train it again with 'fusion train'."
        ) from None
    return made


def _find_weights(
    name: str, identity: Mapping[str, Any], source: Mapping[str, Any], configured: Backbone | None
) -> tuple[Backbone, Path]:
    """Find weights with the sha256 that the model was trained with: where the configuration says, or the model."""
    network = identity["backbone"]
    remembered = Backbone(
        name,
        str(source.get("model") or f"{network['library']}:{network['architecture']}"),
        weights=source.get("weights"),
        in_order=bool(source.get("in_order", False)),
    )
    problems: list[IncompleteError] = []
    wrong: list[str] = []
    for candidate in (configured, remembered):
        if candidate is None:
            continue
        try:
            path = locate_weights(candidate)
        except IncompleteError as error:
            problems.append(error)
            continue
        if file_sha256(path) == identity["weights"]:
            model = f"{network['library']}:{network['architecture']}"
            exact = Backbone(name, model, arguments=network["arguments"], in_order=candidate.in_order)
            return exact, path
        wrong.append(str(path))
    if wrong:
        raise RefusedError(
            f"Weights '{printable(wrong[0])}' are not those that the model was trained with for backbone "
            f"'{printable(name)}' ({identity['weights']}). Give the right file with --weights or in fusion.toml."
        )
    raise problems[0]


def _preprocessing(stated: Mapping[str, Any]) -> Preprocessing:
    fields = {key: value for key, value in stated.items() if key != "antialias"}
    return Preprocessing(**{**fields, "mean": tuple(stated["mean"]), "std": tuple(stated["std"])})
