"""A pattern into the backbones that can be had, each with its size and where its weights are."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from fusion_pipeline.errors import FusionError, UsageError, printable
from fusion_pipeline.extract.networks import hub
from fusion_pipeline.extract.networks.backbones import Backbone
from fusion_pipeline.extract.networks.models import outline
from fusion_pipeline.extract.networks.network import find_preprocessing, with_trained_arguments
from fusion_pipeline.extract.networks.taps import tap
from fusion_pipeline.extract.networks.weights import is_published, weights_at_hand


@dataclass(frozen=True)
class Entry:
    """What a backbone is, without its weights.

    Parameters
    ----------
    backbone : Backbone
        Its record.
    parameters : int
        How many numbers it consists of, its head included.
    n_features : int
        Length of its feature vector.
    input_size : int
        Side of its input in pixels.
    n_classes : int
        Classes of its head; 0 for a network whose stores hold features only.
    at_hand : Path or None
        Where its weights are on this machine.
    url : str or None
        Where they are published; None if nobody publishes them, or a file is named.
    """

    backbone: Backbone
    parameters: int
    n_features: int
    input_size: int
    n_classes: int
    at_hand: Path | None
    url: str | None


def describe(backbone: Backbone) -> Entry:
    """Return what a backbone is; builds its network without memory, reads no weights and asks no network.

    Raises
    ------
    UsageError
        If its library does not know the model or the arguments.

    Examples
    --------
    >>> entry = describe(Backbone("x", "timm:resnet50.tv_in1k"))
    >>> entry.parameters, entry.n_features, entry.input_size, entry.n_classes
    (25557032, 2048, 224, 1000)
    """
    size = find_preprocessing(backbone).input_size
    complete = with_trained_arguments(backbone)
    module = outline(complete)
    n_classes, n_features = _widths(module, complete)
    files = hub.published_files(backbone) if is_published(backbone) else ()
    return Entry(
        backbone=backbone,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        n_features=n_features,
        input_size=size,
        n_classes=n_classes,
        at_hand=weights_at_hand(backbone),
        url=files[0].url if files else None,
    )


@dataclass(frozen=True)
class Row:
    """What a list of backbones says of one name.

    Parameters
    ----------
    name : str
        As ``--backbone`` takes it.
    backbone : Backbone or None
        Its record; None if its table in the configuration makes none.
    found : Entry or FusionError
        What it is, or why nobody can say.
    """

    name: str
    backbone: Backbone | None
    found: Entry | FusionError


def describe_all(records: Mapping[str, Backbone | FusionError]) -> list[Row]:
    """Return a row for each name: one that is wrong must not hide the others.

    Parameters
    ----------
    records : mapping of str to Backbone or FusionError
        By name, the record or what is wrong with it.
    """
    return [_row(name, record) for name, record in records.items()]


def search(pattern: str, named: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of all backbones that match a pattern: the named ones, then timm's, then torchvision's.

    Parameters
    ----------
    pattern : str
        A part of a name, or a whole one with ``*`` and ``?``; of a named one, its model's name counts too.
    named : mapping of str to str
        Those that go by a name of their own, each with its model.

    Returns
    -------
    tuple of str
        As ``--backbone`` takes them.

    Raises
    ------
    UsageError
        If nothing matches; the message names the nearest.

    Examples
    --------
    >>> search("resnet18*v1", {})
    ('torchvision:resnet18.IMAGENET1K_V1',)
    """
    wanted, library = _glob(pattern), library_models()
    own = [name for name, model in named.items() if _matches(wanted, name) or _matches(wanted, model)]
    found = [model for model in library if _matches(wanted, model)]
    if not own and not found:
        raise UsageError(
            f"No backbone matches '{printable(pattern)}'.{_nearest(pattern, library)} Give a part of a name, or a "
            "pattern such as '*dinov2*'."
        )
    return (*own, *found)


def library_models() -> list[str]:
    """Return every model of the libraries as ``LIBRARY:NAME``, with each tag of its published weights.

    Examples
    --------
    >>> "timm:resnet50.tv_in1k" in library_models(), "torchvision:raft_large" in library_models()
    (True, False)
    """
    import timm  # noqa: PLC0415 - takes seconds
    from torchvision import models  # noqa: PLC0415 - takes seconds

    tagged = timm.list_pretrained()
    published = {name.partition(".")[0] for name in tagged}
    names = [f"timm:{name}" for name in sorted([*tagged, *(set(timm.list_models()) - published)])]
    for name in models.list_models(module=models):
        names += [f"torchvision:{name}.{weights.name}" for weights in models.get_model_weights(name)]
    return names


def _row(name: str, record: Backbone | FusionError) -> Row:
    if isinstance(record, FusionError):
        return Row(name, None, record)
    try:
        return Row(name, record, describe(record))
    except FusionError as error:
        return Row(name, record, error)


def _widths(module: nn.Module, backbone: Backbone) -> tuple[int, int]:
    """Return the number of classes and of features of a network that has shapes only."""
    _, classifier = tap(module, backbone)
    if isinstance(classifier, nn.Linear):
        return classifier.out_features, classifier.in_features
    if isinstance(classifier, nn.Conv2d):
        return classifier.out_channels, classifier.in_channels
    model: Any = module
    width = getattr(model, "head_hidden_size", None) or getattr(model, "num_features", None)
    if width is None:
        raise UsageError(
            f"Backbone '{printable(backbone.name)}': {printable(backbone.model)} gives no one feature vector. "
            "Check its arguments."
        )
    return (0 if classifier is None else int(model.num_classes)), int(width)


def _glob(pattern: str) -> str:
    lowered = pattern.lower()
    return lowered if any(sign in lowered for sign in "*?[") else f"*{lowered}*"


def _matches(wanted: str, name: str) -> bool:
    """Compare a name, with and without its library."""
    lowered = name.lower()
    return any(fnmatch.fnmatchcase(part, wanted) for part in (lowered, lowered.partition(":")[2]))


def _nearest(pattern: str, models: Sequence[str]) -> str:
    """Name the models, or else the words of their names, that a pattern resembles."""
    wanted = pattern.lower().strip("*?").removeprefix("timm:").removeprefix("torchvision:").partition(".")[0]
    names = dict.fromkeys(model.partition(":")[2].partition(".")[0] for model in models)
    words = dict.fromkeys(word for name in names for word in name.split("_"))
    for known in (names, words):
        if nearest := difflib.get_close_matches(wanted, known, n=3, cutoff=0.7):
            return f" The nearest are {', '.join(nearest)}." if len(nearest) > 1 else f" Did you mean '{nearest[0]}'?"
    return ""
