"""Fitted experts and an unfitted gate become a mixture: the gate learns from the experts, or both learn together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.train.experts import Expert, ExpertFit
from fusion_pipeline.train.gates.gate import Gate, GateInputs

Matrix = NDArray[np.floating]
IntArray = NDArray[np.int64]


def fuse_experts(
    fits: Sequence[ExpertFit],
    gate: Gate,
    see: Callable[[], Sequence[Matrix]],
    inputs: GateInputs,
    labels: IntArray,
    seed: int,
    *,
    joint: bool = False,
) -> list[Expert]:
    """Fit a gate on what experts predicted of rows that they did not see; return the experts that it goes with.

    Parameters
    ----------
    fits : sequence of ExpertFit
        Fitted on the same n rows.
    gate : Gate
        It is fitted here.
    see : callable
        Returns what each expert sees of these rows: called if the gate asks for in-sample predictions, or if `joint`.
    inputs : GateInputs
        Of these rows.
    labels : ndarray (n,), int64
    seed : int
    joint : bool
        Whether experts and gate are then trained together, for which the gate needs a network.

    Raises
    ------
    UsageError
        If `joint`, and the gate has no network.
    """
    if joint:
        from fusion_pipeline.train.joint import train_jointly  # noqa: PLC0415  it loads torch, which few gates need

        return train_jointly(fits, gate, see(), inputs, labels, seed)
    experts = [fit.expert for fit in fits]
    lessons = [fit.out_of_fold for fit in fits]
    if gate.in_sample:
        lessons = [expert.probabilities(matrix) for expert, matrix in zip(experts, see(), strict=True)]
    gate.fit(inputs, np.stack(lessons, axis=1), labels, seed)
    return experts
