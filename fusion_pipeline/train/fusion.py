"""What a user asks for, a gate and the experts that it fuses, becomes one record that is checked before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fusion_pipeline.errors import UsageError, printable
from fusion_pipeline.train.concat_expert import SOFTMAX
from fusion_pipeline.train.expert_sets import CONCAT, SINGLES, expert_names
from fusion_pipeline.train.gates.gate import IN_SAMPLE
from fusion_pipeline.train.gates.registry import GATES, gate_entry, make_gate
from fusion_pipeline.train.labels.choice import FEATURES_ALONE, LabelChoice


@dataclass(frozen=True)
class Fusion:
    """Which experts are fitted, and how they are fused.

    Attributes
    ----------
    gate : str
        One of `fusion_pipeline.train.gates.registry.GATES`.
    experts : str
        One of `fusion_pipeline.train.expert_sets.EXPERT_SETS`.
    labels : LabelChoice
        What each backbone's expert sees of its ImageNet probabilities.
    joint : bool
        Whether experts and gate are trained together.
    """

    gate: str
    experts: str = SINGLES
    labels: LabelChoice = FEATURES_ALONE
    joint: bool = False

    def check(self, backbones: Sequence[str]) -> None:
        """Refuse what cannot be done with some backbones.

        Raises
        ------
        UsageError
            If there is no such gate or set of experts, the gate cannot be trained jointly, or a backbone's row would
            bear another row's name.
        """
        gate_entry(self.gate)
        expert_names(backbones, self.experts)
        if self.joint:
            from fusion_pipeline.train.joint import with_network  # noqa: PLC0415  it loads torch, which few gates need

            with_network(make_gate(self.gate))
        for name in set(backbones).intersection([*GATES, SOFTMAX, CONCAT]):
            raise UsageError(
                f"Backbone '{printable(name)}' bears the name of a gate or of the concatenation, so that their rows "
                "would mix. Rename the backbone."
            )

    @property
    def leaks(self) -> str:
        """Why what the gate is fitted on leaks, in a few words; empty for one that does not."""
        return IN_SAMPLE if gate_entry(self.gate).settings.get("in_sample") else ""

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return {
            "gate": self.gate,
            "experts": self.experts,
            "label_embedding": self.labels.to_json(),
            "joint": self.joint,
        }
