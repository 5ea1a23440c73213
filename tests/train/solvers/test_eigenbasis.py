"""Principal axes: orthonormal, exact, and without those that are rounding noise."""

from __future__ import annotations

import numpy as np
import pytest

from fusion_pipeline.train.solvers.eigenbasis import Eigenbasis
from tests.train.solvers.made import make_part


@pytest.mark.parametrize("shape", ["wide", "tall"])
def test_axes_and_scores_make_up_the_rows(shape: str) -> None:
    part, _, rows, unseen = make_part(shape)
    basis = Eigenbasis.exact(part)
    assert basis.axes.shape[1] == {"wide": 23, "tall": 15}[shape]
    np.testing.assert_allclose(basis.scores @ basis.scores.T, rows @ rows.T, atol=1e-9)
    np.testing.assert_allclose(part.held_out(basis.axes) @ basis.scores.T, unseen @ rows.T, atol=1e-9)
    np.testing.assert_allclose((basis.scores**2).sum(axis=0), basis.variances, rtol=1e-8)
    assert (np.diff(basis.variances) <= 0).all()


@pytest.mark.parametrize("shape", ["wide", "tall"])
def test_axes_are_orthonormal_in_the_space_of_the_rows(shape: str) -> None:
    part, _, _, _ = make_part(shape)
    axes = Eigenbasis.exact(part, 9).axes
    _, offsets = part.weights(axes)
    assert offsets.shape == (9,)
    np.testing.assert_allclose(part.paired(axes, part.values(axes)).T @ axes, np.eye(9), atol=1e-9)
