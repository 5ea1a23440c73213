"""Columns that count the rows are found; what looks like photographs' features is not taken for one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata

from fusion_pipeline.train.row_order import TOLD, row_order
from tests.train.made import make_features

LABELS = np.repeat(np.arange(6), 20)


@pytest.mark.parametrize("sort", [True, False])
@pytest.mark.parametrize(
    "column",
    [
        np.arange,
        lambda n: -np.arange(n) / n,
        lambda n: np.log1p(np.arange(n)),
        lambda n: np.arange(n) // 3,
        lambda n: np.arange(n) + np.random.default_rng(0).normal(0, 1.5, n),
    ],
    ids=["counting", "backwards", "bent", "coarse", "noisy"],
)
def test_a_row_number_among_features(column: object, sort: bool) -> None:
    labels = LABELS if sort else np.random.default_rng(1).permutation(LABELS)
    features = make_features(labels, 50, seed=0)
    assert row_order(features, labels) < 0.5
    planted = np.column_stack([features, column(len(labels))])  # type: ignore[operator]
    assert row_order(planted.astype(np.float32), labels) >= TOLD


def test_it_is_the_rank_correlation_within_classes() -> None:
    generator = np.random.default_rng(0)
    labels, column = generator.integers(0, 4, 80), generator.integers(0, 9, 80).astype(float)
    centred = []
    for values in (column, np.arange(80.0)):
        ranks = np.empty(80)
        for label in range(4):
            ranks[labels == label] = rankdata(values[labels == label])
            ranks[labels == label] -= ranks[labels == label].mean()
        centred.append(ranks)
    expected = abs(np.corrcoef(*centred)[0, 1])
    assert row_order(column[:, None], labels) == pytest.approx(expected, abs=1e-6)


def test_classes_that_stand_in_order_are_nothing_to_find() -> None:
    assert row_order(np.eye(6)[LABELS] @ np.arange(6.0)[:, None], LABELS) == 0.0


def test_too_few_rows_tell_nothing() -> None:
    labels = np.repeat(np.arange(10), 2)
    assert row_order(np.arange(20.0)[:, None], labels) == 0.0


def test_columns_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    features = make_features(LABELS, 30, seed=2)
    whole = row_order(features, LABELS)
    monkeypatch.setattr("fusion_pipeline.train.row_order._BLOCK", 7 * len(LABELS))
    assert row_order(features, LABELS) == whole
