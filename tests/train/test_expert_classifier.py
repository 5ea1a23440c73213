"""The expert as an estimator: every check of scikit-learn, and the same expert as a fused classifier has."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from fusion_pipeline.errors import UnusableDataError, UsageError
from fusion_pipeline.train.classifier import FusionClassifier
from fusion_pipeline.train.expert_classifier import ExpertClassifier
from tests.train.made import make_features, make_labels

CODES = make_labels(10, 3)
LABELS = np.array(["tulip", "daisy", "rose"])[CODES]
FEATURES = make_features(CODES, 6, 1, strength=2.0)


@parametrize_with_checks([ExpertClassifier()])
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def test_it_is_the_expert_of_a_fused_classifier() -> None:
    alone = ExpertClassifier(seed=3).fit(FEATURES, LABELS)
    fused = FusionClassifier(gate="average", seed=3).fit({"alpha": FEATURES}, LABELS)
    assert alone.predict_proba(FEATURES).tobytes() == fused.predict_proba({"alpha": FEATURES}).tobytes()
    assert alone.classes_.tolist() == fused.classes_.tolist()
    assert alone.alpha_ == min(alone.out_of_fold_nll_, key=lambda alpha: alone.out_of_fold_nll_[alpha])


def test_its_out_of_fold_predictions_know_nothing_of_their_own_row() -> None:
    row_ids = np.eye(len(CODES))
    expert = ExpertClassifier(alphas=[0.1]).fit(row_ids, LABELS)
    assert expert.score(row_ids, LABELS) == 1.0
    assert (expert.out_of_fold_.argmax(axis=1) == CODES).mean() < 0.6
    np.testing.assert_allclose(expert.out_of_fold_.sum(axis=1), 1.0)


def test_scores_of_cross_validation_and_searches() -> None:
    assert cross_val_score(ExpertClassifier(), FEATURES, LABELS, cv=3).mean() > 0.8
    search = GridSearchCV(ExpertClassifier(), {"alphas": [[1e4], [1.0]]}, cv=2).fit(FEATURES, LABELS)
    assert search.best_params_["alphas"] in ([1e4], [1.0])


def test_a_pickled_expert_does_the_same_to_the_bit() -> None:
    expert = ExpertClassifier().fit(FEATURES, LABELS)
    again = pickle.loads(pickle.dumps(expert))
    assert again.predict_proba(FEATURES).tobytes() == expert.predict_proba(FEATURES).tobytes()


def test_labels_of_one_class_or_with_lonely_rows_are_refused() -> None:
    with pytest.raises(UnusableDataError, match="only class 'rose'"):
        ExpertClassifier().fit(FEATURES, ["rose"] * 30)
    with pytest.raises(ValueError, match="Class 'iris' has 1 usable image"):
        ExpertClassifier().fit(FEATURES, [*LABELS[:-1], "iris"])


@pytest.mark.parametrize("settings", [{"seed": -1}, {"seed": None}, {"alphas": []}, {"alphas": [0.0]}])
def test_settings_that_are_none_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="was given"):
        ExpertClassifier(**settings).fit(FEATURES, LABELS)
