"""The gate of Eq. 5: its statistics."""

from __future__ import annotations

import numpy as np
import torch

from fusion_pipeline.train.gates.cnn import ThumbnailGate


def test_colour_statistics_come_from_the_training_rows_alone() -> None:
    thumbnails = torch.zeros((3, 8, 8, 3), dtype=torch.uint8)
    thumbnails[1] = 2
    thumbnails[2] = 200
    gate = ThumbnailGate("cnn32", 8)
    gate.n_experts = 2
    network = gate.build((thumbnails,), np.array([0, 1]))
    assert network.get_buffer("mean").tolist() == [1.0] * 3
    assert network.get_buffer("scale").tolist() == [1.0] * 3
