"""A gate's name, in the paper's words, becomes a gate, whose module is loaded only when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from types import MappingProxyType
from typing import Any

from fusion_pipeline.errors import UsageError, printable
from fusion_pipeline.train.gates.gate import Gate


@dataclass(frozen=True)
class GateEntry:
    """Where a gate is, and what it is made with.

    Attributes
    ----------
    module, class_name : str
    settings : mapping
        Arguments of the class, besides the name.
    """

    module: str
    class_name: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def make(self, name: str) -> Gate:
        """Return the unfitted gate under this name."""
        module = import_module(f"fusion_pipeline.train.gates.{self.module}")
        gate: Gate = getattr(module, self.class_name)(name, **self.settings)
        return gate


GATES: Mapping[str, GateEntry] = MappingProxyType(
    {
        "average": GateEntry("average", "AverageGate"),
        "logit-average": GateEntry("logit_average", "LogitAverageGate"),
        "calibrated-average": GateEntry("calibrated_average", "CalibratedAverageGate"),
        "constant": GateEntry("constant", "ConstantGate"),
        "log-pool": GateEntry("log_pool", "LogPoolGate"),
        "stacking": GateEntry("stacking", "StackingGate"),
        "leaking-stacking": GateEntry("stacking", "StackingGate", {"in_sample": True}),
        "embedding": GateEntry("embedding", "EmbeddingGate"),
        "embedding-mean": GateEntry("embedding", "EmbeddingGate", {"readout": "mean"}),
        "embedding-softmax": GateEntry("embedding_softmax", "EmbeddingSoftmax"),
        "cnn32": GateEntry("cnn", "ThumbnailGate", {"thumbnail_size": 32}),
        "cnn64": GateEntry("cnn", "ThumbnailGate", {"thumbnail_size": 64}),
    }
)


READOUTS: Mapping[str, str] = MappingProxyType(
    {"gate": "embedding", "mean": "embedding-mean", "softmax": "embedding-softmax"}
)
"""How the embedding gate comes to an answer, and what the gate that does so is called."""


def variant(gate: str, *, readout: str | None = None, in_sample: bool = False) -> str:
    """Return the name of a gate with options: each combination is a gate of its own, under a name that tells it.

    Parameters
    ----------
    gate : str
        One of `GATES`.
    readout : {"gate", "mean", "softmax"}, optional
        For the gate ``embedding``.
    in_sample : bool
        For the gate ``stacking``: learn from the experts' predictions of their own training rows, which leaks.

    Raises
    ------
    UsageError
        If the gate does not have the option.

    Examples
    --------
    >>> variant("embedding", readout="mean"), variant("stacking", in_sample=True), variant("cnn32")
    ('embedding-mean', 'leaking-stacking', 'cnn32')
    """
    gate_entry(gate)
    if readout is not None and (gate != "embedding" or readout not in READOUTS):
        raise UsageError(f"readout='{printable(readout)}' is not for gate '{gate}'. 'embedding' has {list(READOUTS)}.")
    if in_sample and gate != "stacking":
        raise UsageError(f"Only gate 'stacking' can be fitted in sample, not '{gate}'. Leave it out.")
    if readout is not None:
        return READOUTS[readout]
    return "leaking-stacking" if in_sample else gate


def gate_entry(name: str) -> GateEntry:
    """Return the entry of a gate; loads nothing.

    Parameters
    ----------
    name : str
        One of `GATES`.

    Raises
    ------
    UsageError
        If there is no such gate, naming the nearest.

    Examples
    --------
    >>> gate_entry("constant").class_name
    'ConstantGate'
    >>> gate_entry("embeding")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    fusion_pipeline.errors.UsageError: There is no gate 'embeding'. Did you mean 'embedding'? Known gates: average, ...
    """
    entry = GATES.get(name)
    if entry is None:
        nearest = get_close_matches(name, GATES, n=1, cutoff=0.0)[0]
        raise UsageError(
            f"There is no gate '{printable(name)}'. Did you mean '{nearest}'? Known gates: {', '.join(GATES)}."
        )
    return entry


def make_gate(name: str) -> Gate:
    """Return an unfitted gate; errors as of `gate_entry`.

    Examples
    --------
    >>> make_gate("constant").name
    'constant'
    """
    return gate_entry(name).make(name)
