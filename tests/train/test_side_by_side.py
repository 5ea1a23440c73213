"""A fused classifier of one matrix: every check of scikit-learn, cross-validation and searches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from fusion_pipeline.errors import UnusableDataError, UsageError
from fusion_pipeline.train.classifier import FusionClassifier
from fusion_pipeline.train.side_by_side import SideBySide
from tests.train.made import make_features, make_labels

CODES = make_labels(12, 3)
LABELS = np.array(["tulip", "daisy", "rose"])[CODES]
FEATURES = {"alpha": make_features(CODES, 6, 1), "beta": make_features(CODES, 9, 2)}
TOGETHER = np.hstack(list(FEATURES.values()))
COLUMNS = {"alpha": 6, "beta": 9}


@parametrize_with_checks([SideBySide(FusionClassifier("average"))])
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def test_scores_of_cross_validation_are_those_of_the_mapping() -> None:
    cut = StratifiedKFold(3)
    scores = cross_val_score(SideBySide(FusionClassifier("constant"), COLUMNS), TOGETHER, LABELS, cv=cut)
    expected = []
    for train, test in cut.split(TOGETHER, LABELS):
        seen, unseen = ({name: matrix[rows] for name, matrix in FEATURES.items()} for rows in (train, test))
        expected.append(FusionClassifier("constant").fit(seen, LABELS[train]).score(unseen, LABELS[test]))
    np.testing.assert_array_equal(scores, expected)


def test_a_search_over_gates() -> None:
    model = SideBySide(FusionClassifier(), COLUMNS)
    found = GridSearchCV(model, {"classifier__gate": ["average", "stacking"]}, cv=2).fit(TOGETHER, LABELS)
    assert found.best_params_["classifier__gate"] in ("average", "stacking")
    assert found.best_estimator_.classifier_.backbones_ == ("alpha", "beta")


def test_columns_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(UsageError, match="alpha, beta add up to 14, but there are 15"):
        SideBySide(FusionClassifier("average"), {"alpha": 6, "beta": 8}).fit(TOGETHER, LABELS)


def test_what_the_classifier_refuses_is_refused() -> None:
    with pytest.raises(UnusableDataError, match="only class 'rose'"):
        SideBySide(FusionClassifier("average"), COLUMNS).fit(TOGETHER, ["rose"] * 36)
    with pytest.raises(UsageError, match="no gate 'best'"):
        SideBySide(FusionClassifier("best"), COLUMNS).fit(TOGETHER, LABELS)
