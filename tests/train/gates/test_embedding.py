"""The gate of Eq. 6: what features far from all that it has seen do to it."""

from __future__ import annotations

import pytest
import torch

from fusion_pipeline.train.gates.embedding import EmbeddingNetwork
from fusion_pipeline.train.gates.training import seeded


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_beyond_eight_deviations_a_feature_counts_as_eight(sign: float) -> None:
    network = EmbeddingNetwork([1, 1])
    network.initialise(seeded(0, 0))
    torch.nn.init.normal_(network.head.weight, generator=seeded(0, 1))
    near, at_eight, far = (network(torch.tensor([[sign * value]]), torch.zeros(1, 1)) for value in (7.0, 8.0, 1e4))
    assert torch.equal(far, at_eight)
    assert not torch.equal(near, at_eight)
