"""Principal components: scikit-learn's scores but for signs, fitted on training rows alone."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from fusion_pipeline.train.solvers import pca
from fusion_pipeline.train.solvers.eigenbasis import Eigenbasis
from fusion_pipeline.train.solvers.pca import pca_scores
from fusion_pipeline.train.solvers.rows import hold
from tests.train.solvers.made import make_part


@pytest.mark.parametrize(("shape", "components"), [("wide", 23), ("wide", 5), ("tall", 15), ("tall", 4)])
def test_scores_are_those_of_scikit_learn_but_for_signs(shape: str, components: int) -> None:
    part, _, rows, unseen = make_part(shape)
    reference = PCA(components, svd_solver="full").fit(rows)
    scores, held_out = pca_scores(part, 0, components)
    theirs = reference.transform(rows)
    signs = np.sign((scores * theirs).sum(axis=0))
    np.testing.assert_allclose(scores, signs * theirs, atol=1e-7)
    np.testing.assert_allclose(held_out, signs * reference.transform(unseen), atol=1e-7)


def test_there_are_no_more_components_than_directions() -> None:
    part, _, _, _ = make_part("wide")
    assert pca_scores(part, 0)[0].shape == (24, 23)  # centred rows have one direction less than there are rows
    flat = hold([np.arange(4.0)[:, None] * np.ones(6)]).part(np.arange(4))
    assert pca_scores(flat, 0)[0].shape == (4, 1)


@pytest.mark.parametrize("shape", ["wide", "tall"])
def test_the_row_furthest_from_zero_is_positive(shape: str) -> None:
    scores, _ = pca_scores(make_part(shape)[0], 0)
    furthest = np.abs(scores).argmax(axis=0)
    assert (scores[furthest, np.arange(scores.shape[1])] > 0).all()


def test_large_parts_are_searched_at_random_and_hold_nearly_as_much_variance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pca, "_SMALL", 100)
    rng = np.random.default_rng(0)
    decaying = rng.normal(size=(300, 400)) / np.arange(1.0, 401.0) ** 0.5
    part = hold([decaying]).part(np.arange(200), np.arange(200, 300))
    scores, held_out = pca_scores(part, 0, 40)
    exact = Eigenbasis.exact(part, 40)
    assert (scores**2).sum() == pytest.approx(exact.variances.sum(), rel=5e-3)
    assert (scores**2).sum() < exact.variances.sum()
    assert held_out.tobytes() == pca_scores(part, 0, 40)[1].tobytes()
    assert held_out.tobytes() != pca_scores(part, 1, 40)[1].tobytes()
