"""What became of each image, and which are shown first."""

from __future__ import annotations

import numpy as np

from fusion_pipeline.analysis.report.outcomes import Outcome, most_telling, outcomes_of

# One image a column, the true class is 0: all right; mended by both; made by both; best alone right; all wrong.
LABELS = np.zeros(5, dtype=np.int64)
FUSED = np.array([0, 0, 1, 1, 2])
AVERAGE = np.array([0, 1, 0, 1, 2])
BEST = np.array([0, 2, 0, 0, 2])
OTHER = np.array([0, 2, 1, 1, 2])


def test_by_hand() -> None:
    found = outcomes_of(LABELS, FUSED, AVERAGE, BEST, np.stack([BEST, OTHER]))
    assert [Outcome(each) for each in found.tolist()] == [
        Outcome(0),
        Outcome.GATE_MENDED | Outcome.FUSING_MENDED,
        Outcome.WRONG | Outcome.GATE_MADE | Outcome.FUSING_MADE | Outcome.DISAGREED,
        Outcome.WRONG | Outcome.FUSING_MADE | Outcome.DISAGREED,
        Outcome.WRONG,
    ]


def test_nothing_to_compare_with() -> None:
    found = outcomes_of(LABELS, FUSED, None, None, np.stack([BEST]))
    assert found.tolist() == [0, 0, 1, 1, 1]


def test_the_most_telling_come_first() -> None:
    outcomes = np.array(
        [0, Outcome.WRONG, Outcome.FUSING_MENDED, 0, Outcome.GATE_MADE | Outcome.WRONG, Outcome.DISAGREED]
    )
    assert most_telling(outcomes, 100).tolist() == [4, 2, 1, 0, 3, 5]
    assert most_telling(outcomes, 2).tolist() == [4, 2]
    assert most_telling(outcomes, 0).tolist() == []


def test_the_rest_is_spread_over_the_data_set() -> None:
    """Not the first classes only."""
    outcomes = np.zeros(1000, dtype=np.int64)
    outcomes[999] = Outcome.WRONG
    assert most_telling(outcomes, 6).tolist() == [999, 0, 199, 399, 599, 799]
