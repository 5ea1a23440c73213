"""Backbones and what is asked for beside them become the names of the experts, in the order of the gate weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fusion_pipeline.errors import UsageError, printable

SINGLES: Final = "singles"
WITH_CONCAT: Final = "singles,concat"
EXPERT_SETS: Final = (SINGLES, WITH_CONCAT)
"""One expert per backbone; the same, and one more on all their features side by side."""

CONCAT: Final = "concat"
"""What the expert on all features is called, beside the backbones' names."""


def expert_names(backbones: Sequence[str], experts: str = SINGLES) -> tuple[str, ...]:
    """Return the names of the experts.

    Parameters
    ----------
    backbones : sequence of str
    experts : str
        One of `EXPERT_SETS`.

    Raises
    ------
    UsageError
        If there is no such set, or nothing to concatenate, or a backbone is called ``concat``.

    Examples
    --------
    >>> expert_names(["xception", "resnet50"], "singles,concat")
    ('xception', 'resnet50', 'concat')
    """
    if experts not in EXPERT_SETS:
        raise UsageError(f"There are no experts '{printable(str(experts))}'. Known: {' or '.join(EXPERT_SETS)}.")
    if experts == SINGLES:
        return tuple(backbones)
    if CONCAT in backbones:
        raise UsageError(f"Backbone '{CONCAT}' bears the name of the expert on all features. Rename the backbone.")
    if len(backbones) < 2:
        raise UsageError(
            f"Experts '{experts}' need two backbones: '{printable(backbones[0])}' side by side with nothing is itself. "
            "Name another, or leave the concatenation out."
        )
    return (*backbones, CONCAT)
