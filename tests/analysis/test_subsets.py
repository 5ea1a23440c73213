"""The average of every subset, against averages by numpy."""

from __future__ import annotations

from itertools import chain, combinations

import numpy as np
import pytest

from fusion_pipeline.analysis import subsets
from fusion_pipeline.analysis.measures import Measures
from fusion_pipeline.analysis.subsets import measure_subsets

NAMES = ["a", "b", "c", "d"]
COSTS = {"a": 8.0, "b": 4.0, "c": 2.0, "d": 1.0}
LABELS = np.random.default_rng(1).integers(0, 3, 200)
PROBABILITIES = [
    np.random.default_rng(seed).dirichlet([1] * 3, 200)
    + 0.5 * np.eye(3)[LABELS] * (np.arange(200) % 5 != seed)[:, None]
    for seed in range(4)
]


@pytest.mark.parametrize("chunk", [1 << 21, 30], ids=["at once", "in chunks"])
def test_every_subset_is_its_average(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subsets, "_CHUNK", chunk)
    found = measure_subsets(NAMES, PROBABILITIES, LABELS, COSTS)
    expected = list(chain.from_iterable(combinations(range(4), size) for size in range(1, 5)))
    assert [each.members for each in found.tried] == [tuple(NAMES[k] for k in members) for members in expected]
    for each, members in zip(found.tried, expected, strict=True):
        mean = np.mean([PROBABILITIES[k] for k in members], axis=0)
        assert each.correct == (mean.argmax(axis=1) == LABELS).sum()
        assert each.accuracy == each.correct / 200
        assert each.multiply_adds == sum(COSTS[NAMES[k]] for k in members)
    assert found.exhaustive


def test_the_best_of_each_size_and_the_front() -> None:
    found = measure_subsets(NAMES, PROBABILITIES, LABELS, COSTS)
    for size, best in enumerate(found.best, start=1):
        assert best.correct == max(each.correct for each in found.tried if len(each.members) == size)
    for each in found.tried:
        beaten = any(
            other.multiply_adds <= each.multiply_adds and other.correct >= each.correct  # type: ignore[operator]
            for other in found.tried
            if (other.multiply_adds, other.correct) != (each.multiply_adds, each.correct)
        )
        assert (each in found.front) == (not beaten)


def test_of_equal_subsets_the_cheaper_is_the_best() -> None:
    same = [np.eye(2)[[0, 1]]] * 2
    found = measure_subsets(["dear", "cheap"], same, np.array([0, 1]), {"dear": 2.0, "cheap": 1.0})
    assert found.best[0].members == ("cheap",)
    assert [each.members for each in found.front] == [("cheap",)]


def test_costs_that_are_not_known_leave_no_front() -> None:
    found = measure_subsets(NAMES, PROBABILITIES, LABELS, {"a": 8.0})
    assert found.front == ()
    assert [each.multiply_adds for each in found.tried[:2]] == [8.0, None]


def test_many_backbones_are_added_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    every = measure_subsets(NAMES, PROBABILITIES, LABELS, COSTS)
    monkeypatch.setattr(subsets, "ALL_SUBSETS_OF", 3)
    found = measure_subsets(NAMES, PROBABILITIES, LABELS, COSTS)
    assert not found.exhaustive
    assert [len(each.members) for each in found.tried] == [1, 1, 1, 1, 2, 2, 2, 3, 3, 4]
    right = {each.members: each.correct for each in every.tried}
    assert all(right[each.members] == each.correct for each in found.tried)
    for smaller, larger in zip(found.best, found.best[1:], strict=False):
        assert set(smaller.members) < set(larger.members)


def test_all_backbones_are_the_row_of_the_average(measured: Measures) -> None:
    assert measured.subsets.tried[-1].correct == measured.run.scored("average")["correct"]
    assert [each.correct for each in measured.subsets.tried[:2]] == [
        measured.run.scored(name)["correct"] for name in ("alpha", "beta")
    ]
