"""Ridge: predictions without a fold are those of a refit without it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge as Reference

from fusion_pipeline.train.solvers.ridge import Ridge
from tests.train.solvers.made import CLASSES, make_part


@given(
    shape=st.sampled_from(["wide", "tall"]),
    alpha=st.floats(1e-3, 1e3),
    folds=st.lists(st.integers(0, 3), min_size=24, max_size=24).filter(lambda folds: len(set(folds)) > 1),
)
def test_predictions_are_those_of_refits(shape: str, alpha: float, folds: list[int]) -> None:
    part, labels, rows, _ = make_part(shape)
    parts = [np.flatnonzero(np.array(folds) == fold) for fold in set(folds)]
    found = Ridge.of(part, labels, CLASSES).out_of_fold(parts, alpha)
    targets = np.eye(CLASSES)[labels]
    for fold in parts:
        others = np.setdiff1d(np.arange(len(rows)), fold)
        refit = Reference(alpha, solver="svd").fit(rows[others], targets[others])
        np.testing.assert_allclose(found[fold], refit.predict(rows[fold]), atol=1e-9)


@pytest.mark.parametrize("shape", ["wide", "tall"])
def test_held_out_predictions_are_those_of_a_fit(shape: str) -> None:
    part, labels, rows, unseen = make_part(shape)
    reference = Reference(0.5, solver="svd").fit(rows, np.eye(CLASSES)[labels])
    found = Ridge.of(part, labels, CLASSES).held_out(part, 0.5)
    np.testing.assert_allclose(found, reference.predict(unseen), atol=1e-9)


@pytest.mark.parametrize("folds", [[[0, 1], [1, 2]], [[0, 1]], [[0, 1, 2]], [[0], [1], [3]]])
def test_folds_that_do_not_cover_the_rows_once_are_refused(folds: list[list[int]]) -> None:
    part, labels, _, _ = make_part("wide")
    ridge = Ridge.of(part, labels, CLASSES)
    few = Ridge(ridge.basis, ridge.targets[:3])
    with pytest.raises(ValueError, match="every row once"):
        few.out_of_fold([np.array(fold) for fold in folds], 1.0)
