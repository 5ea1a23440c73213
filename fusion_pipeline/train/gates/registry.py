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
        "constant": GateEntry("constant", "ConstantGate"),
        "stacking": GateEntry("stacking", "StackingGate"),
        "embedding": GateEntry("embedding", "EmbeddingGate"),
        "cnn32": GateEntry("cnn", "ThumbnailGate", {"thumbnail_size": 32}),
        "cnn64": GateEntry("cnn", "ThumbnailGate", {"thumbnail_size": 64}),
    }
)


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
