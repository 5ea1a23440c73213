"""Whom the gate trusts: weights by hand, and a gate that learned it."""

from __future__ import annotations

import numpy as np
import pytest

from fusion_pipeline.analysis.measures import Measures
from fusion_pipeline.analysis.trust import Trust, measure_trust
from fusion_pipeline.train.rows import RowName
from tests.analysis.made import made_predictions

GATE = RowName("gate", "embedding")
LABELS = [0, 0, 1, 1]


def trust_of(weights: list[list[list[float]]], tested_in: list[list[int]], fallbacks: list[bool]) -> Trust:
    values = np.array(weights)
    even = np.full((len(tested_in), 4, 2), 0.5)
    predictions = made_predictions(LABELS, tested_in, {GATE: even}, {GATE: values})
    found = measure_trust(predictions, predictions.rows[0], ["a", "b"], fallbacks)
    assert found is not None
    return found


def test_means_by_class_and_by_image() -> None:
    """Image 1 is tested by both repeats, image 3 by none."""
    found = trust_of(
        [[[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.5, 0.5]], [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]],
        [[0, 1, 0, -1], [-1, 0, -1, -1]],
        [False] * 4,
    )
    np.testing.assert_allclose(found.by_class, [[2.5 / 3, 0.5 / 3], [0.2, 0.8]], atol=1e-6)
    np.testing.assert_allclose(found.overall, [2.7 / 4, 1.3 / 4], atol=1e-6)
    np.testing.assert_allclose(found.by_image[:3], [[0.9, 0.1], [0.8, 0.2], [0.2, 0.8]], atol=1e-6)
    assert np.isnan(found.by_image[3]).all()
    assert [(each.image, round(each.weight, 3)) for each in found.most[0]] == [(0, 0.9), (1, 0.8), (2, 0.2)]
    assert [each.image for each in found.least[0]] == [2, 1, 0]
    entropy = -(0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    assert found.effective_experts[0] == pytest.approx(np.exp(entropy), abs=1e-6)
    assert found.adapts


def test_a_gate_that_averaged_trusts_everybody_alike() -> None:
    found = trust_of([[[0.5, 0.5]] * 4], [[0, 1, 0, 1]], [True, True])
    assert (found.averaged, found.parts, found.adapts) == (2, 2, False)
    assert found.overall.tolist() == [0.5, 0.5]
    np.testing.assert_allclose(found.effective_experts, 2)
    assert found.most == found.least == ((), ())


def test_images_of_parts_that_averaged_are_at_neither_end() -> None:
    found = trust_of([[[0.5, 0.5], [0.9, 0.1], [0.5, 0.5], [0.2, 0.8]]], [[0, 1, 0, 1]], [True, False])
    assert [each.image for each in found.most[0]] == [1, 3]
    assert [each.image for each in found.least[0]] == [3, 1]


def test_weights_that_are_the_same_for_all_images_of_a_part_have_no_ends() -> None:
    found = trust_of([[[0.7, 0.3], [0.2, 0.8], [0.7, 0.3], [0.2, 0.8]]], [[0, 1, 0, 1]], [False, False])
    assert not found.adapts
    assert found.averaged == 0


def test_certainty_hears_one_expert() -> None:
    found = trust_of([[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.5, 0.5]]], [[0, 0, 0, 0]], [False])
    np.testing.assert_allclose(found.effective_experts, [1, 1, 1, 2])


def test_a_row_without_weights_is_no_gate() -> None:
    predictions = made_predictions(LABELS, [[0, 0, 0, 0]], {GATE: np.full((1, 4, 2), 0.5)})
    assert measure_trust(predictions, predictions.rows[0], ["a", "b"], [False]) is None


def test_a_gate_that_learned_whom_to_trust(measured: Measures) -> None:
    """Alpha is right where the thumbnail is bright: the images at its ends say so."""
    trust = measured.trust
    assert trust is not None
    assert trust.adapts
    assert trust.row == "embedding"
    brightness = {image: picture.mean() for image, picture in measured.pictures.items()}
    assert min(brightness[each.image] for each in trust.most[0]) > 150
    assert max(brightness[each.image] for each in trust.least[0]) < 100
    np.testing.assert_allclose(trust.by_image.sum(axis=1), 1, atol=1e-5)
