"""What was asked of `fusion train` into the record of experts and gate that the library takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fusion_pipeline.commands.label_options import label_choice, refuse_idle

if TYPE_CHECKING:
    from fusion_pipeline.train.fusion import Fusion


def chosen_fusion(
    gate: str,
    *,
    experts: str,
    label_embedding: str,
    label_vectors: str | None,
    fine_tune_labels: bool,
    top: int | None,
    readout: str | None,
    in_sample: bool,
    joint: bool,
) -> Fusion:
    """Return the experts and the gate that the command's options ask for.

    Raises
    ------
    UsageError
        If two of them cannot go together.
    FusionError
        If there are no word vectors.
    """
    from fusion_pipeline.train.fusion import Fusion
    from fusion_pipeline.train.gates.registry import variant

    refuse_idle([label_embedding], label_vectors, fine_tune_labels, top)
    name = variant(gate, readout=readout, in_sample=in_sample)
    return Fusion(name, experts, label_choice(label_embedding, label_vectors, fine_tune_labels, top), joint)


def fusion_notes(fusion: Fusion) -> Iterator[str]:
    """Yield what to know before the work: which classes have no word vector, and that a gate leaks."""
    if fusion.labels.summary:
        yield fusion.labels.summary
    if fusion.leaks:
        yield f"gate '{fusion.gate}' leaks: it is {fusion.leaks}. Its numbers are no promise about new images."
