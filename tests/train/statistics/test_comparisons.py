"""McNemar's exact test by hand, and whom a gate is compared with."""

from __future__ import annotations

import numpy as np
import pytest

from fusion_pipeline.train.statistics.comparisons import compare, comparisons


def test_mcnemar_by_hand() -> None:
    first, second = np.array([1, 1, 1, 1, 1, 0, 1]), np.array([0, 0, 0, 0, 0, 1, 1])
    found = compare("a", first == 1, "b", second == 1)
    assert (found.wins, found.losses) == (5, 1)
    assert found.p == pytest.approx(2 * (1 + 6) / 2**6)  # P(at most 1 of 6) on both sides
    assert compare("a", first == 1, "a", first == 1).p == 1.0


def test_a_gate_is_compared_with_averaging_and_with_the_best_backbone() -> None:
    labels = np.zeros(4, int)
    right, wrong = [0.9, 0.1], [0.1, 0.9]
    probabilities = {
        "weak": np.array([right, wrong, wrong, wrong]),
        "strong": np.array([wrong, right, right, wrong]),
        "average": np.array([right, right, wrong, wrong]),
        "embedding": np.array([right, right, right, wrong]),
    }
    found = comparisons("embedding", ["weak", "strong"], probabilities, labels)
    assert [(c.second, c.wins, c.losses) for c in found] == [("average", 1, 0), ("strong", 1, 0)]
    assert [c.second for c in comparisons("average", ["weak", "strong"], probabilities, labels)] == ["strong"]
