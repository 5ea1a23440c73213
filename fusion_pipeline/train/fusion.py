"""What a user asks for, a gate and the experts that it fuses, becomes one record that is checked before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fusion_pipeline.errors import UsageError, printable
from fusion_pipeline.train.concat_expert import SOFTMAX
from fusion_pipeline.train.expert_sets import CONCAT, SINGLES, expert_names
from fusion_pipeline.train.gates.registry import GATES, gate_entry


@dataclass(frozen=True)
class Fusion:
    """Which experts are fitted, and how they are fused.

    Attributes
    ----------
    gate : str
        One of `fusion_pipeline.train.gates.registry.GATES`.
    experts : str
        One of `fusion_pipeline.train.expert_sets.EXPERT_SETS`.
    """

    gate: str
    experts: str = SINGLES

    def check(self, backbones: Sequence[str]) -> None:
        """Refuse what cannot be done with some backbones.

        Raises
        ------
        UsageError
            If there is no such gate or set of experts, or a backbone's row would bear another row's name.
        """
        gate_entry(self.gate)
        expert_names(backbones, self.experts)
        for name in set(backbones).intersection([*GATES, SOFTMAX, CONCAT]):
            raise UsageError(
                f"Backbone '{printable(name)}' bears the name of a gate or of the concatenation, so that their rows "
                "would mix. Rename the backbone."
            )

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return {"gate": self.gate, "experts": self.experts}
