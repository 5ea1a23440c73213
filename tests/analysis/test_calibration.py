"""Reliability curves by hand, and the table's calibration error."""

from __future__ import annotations

import numpy as np
import pytest

from fusion_pipeline.analysis.calibration import measure_calibration
from fusion_pipeline.analysis.kept_run import KeptRun
from fusion_pipeline.analysis.measures import Measures


def test_by_hand() -> None:
    """Two predictions at 0.9, one right; one at 0.6, right; one in no repeat."""
    probabilities = np.array([[[0.9, 0.1], [0.1, 0.9], [0.6, 0.4], [np.nan, np.nan]]])
    found = measure_calibration("a", probabilities, np.array([0, 0, 0, 1]))
    assert (found.counts[13], found.counts[9], sum(found.counts)) == (2, 1, 3)
    assert found.accuracies[13] == 0.5
    assert found.confidences[13] == pytest.approx(0.9)
    assert found.accuracies[9] == 1
    assert found.accuracies[0] is None
    assert found.ece == pytest.approx((2 * 0.4 + 0.4) / 3)


def test_the_curve_explains_its_error() -> None:
    """The mean distance of the curve from the diagonal, weighted by images, is the expected calibration error."""
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet([0.5] * 4, (1, 500))
    found = measure_calibration("a", probabilities, generator.integers(0, 4, 500))
    gaps = [
        count * abs(confidence - accuracy)
        for count, confidence, accuracy in zip(found.counts, found.confidences, found.accuracies, strict=True)
        if confidence is not None and accuracy is not None
    ]
    assert sum(gaps) / 500 == pytest.approx(found.ece)


def test_the_error_is_that_of_the_table(measured: Measures, kept: KeptRun) -> None:
    assert [curve.name for curve in measured.calibration] == ["alpha", "beta", "average", "embedding"]
    for curve in measured.calibration:
        assert curve.ece == pytest.approx(kept.scored(curve.name)["ece"], abs=1e-6)
        assert sum(curve.counts) == kept.scored(curve.name)["n"]


def test_sure_of_everything_is_the_last_bin() -> None:
    found = measure_calibration("a", np.array([[[1.0, 0.0]] * 3]), np.zeros(3, int))
    assert found.counts[14] == 3
    assert found.ece == 0
