"""Tasks: a gate learns from what its experts say of rows that they did not see."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fusion_pipeline.train.aligned import Aligned
from fusion_pipeline.train.folds import Split
from fusion_pipeline.train.gates.gate import GateInputs
from fusion_pipeline.train.parts import Part
from fusion_pipeline.train.tasks import ExpertTask, GateTask, run_expert, run_gate
from tests.train.made import make_labels, publish


def test_a_gate_believes_no_expert_that_knows_its_rows_by_heart(tmp_path: Path) -> None:
    labels, row_ids = make_labels(10, 4), np.eye(40, dtype=np.float16)
    aligned = Aligned.of(publish(tmp_path / "cache", {"ids": row_ids}, labels))
    expert = run_expert(ExpertTask(Part(aligned, Split(), None), "ids", 0, alphas=(0.1,)))
    by_heart = expert.fit.expert.probabilities(row_ids)
    assert (by_heart.argmax(axis=1) == labels).all()
    gate = run_gate(GateTask(Part(aligned, Split(), None), "stacking", 0), None, expert).gate
    assert gate.fuse(GateInputs(40), by_heart[:, None]).max() < 0.5
