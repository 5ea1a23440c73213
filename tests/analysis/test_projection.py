"""t-SNE: the same bytes, neighbours kept, few images, features that are all alike."""

from __future__ import annotations

import numpy as np
import pytest

from fusion_pipeline.analysis import projection
from fusion_pipeline.analysis.projection import project


def two_clouds(n: int, d: int = 8) -> np.ndarray:
    generator = np.random.default_rng(0)
    return (generator.normal(size=(2 * n, d)) + 20 * (np.arange(2 * n) >= n)[:, None]).astype(np.float16)


def test_two_clouds_stay_apart() -> None:
    points = project(two_clouds(25))
    assert points.shape == (50, 2)
    gap = np.linalg.norm(points[:25].mean(axis=0) - points[25:].mean(axis=0))
    assert gap > 2 * max(points[:25].std(), points[25:].std())


@pytest.mark.parametrize("exact", [600, 10], ids=["exact", "by neighbours"])
def test_the_same_features_are_the_same_bytes(exact: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "_EXACT", exact)
    features = two_clouds(12)
    assert project(features, seed=3).tobytes() == project(features.copy(), seed=3).tobytes()


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7])
def test_few_images(n: int) -> None:
    points = project(np.random.default_rng(0).normal(size=(n, 5)))
    assert points.shape == (n, 2)
    assert np.isfinite(points).all()


def test_one_feature_alone() -> None:
    assert np.isfinite(project(np.arange(12.0)[:, None])).all()


def test_images_that_are_all_alike_lie_in_one_place() -> None:
    assert not project(np.ones((9, 4))).any()
