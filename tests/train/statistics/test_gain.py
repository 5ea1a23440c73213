"""The gain taken apart: every step, what it won and lost, and both ways of choosing the single backbone."""

from __future__ import annotations

import numpy as np
import pytest

from fusion_pipeline.train.statistics.gain import (
    BY_OUT_OF_FOLD,
    BY_TEST,
    CHOSEN_SINGLE,
    choose_singles,
    put_together,
    take_apart,
)
from fusion_pipeline.train.statistics.holm import holm
from fusion_pipeline.train.statistics.repeats import Outcomes


def outcomes(**right: str) -> dict[str, Outcomes]:
    return {name.replace("_", "-"): Outcomes.of([mark == "1" for mark in marks]) for name, marks in right.items()}


ALL = outcomes(
    weak="1000000000",
    strong="0111110000",
    average="1111110000",
    calibrated_average="1111111000",
    constant="0111111100",
    stacking="1111111100",
    embedding="1111111110",
    embedding_learned="1111111111",
)


def test_every_step_by_hand() -> None:
    chosen = Outcomes.of([True, True] + [False] * 8)
    found = take_apart(
        ALL, ["weak", "strong"], chosen_single=chosen, adaptive="embedding", label_embedding="embedding-learned"
    )
    assert [(step.first, step.second, step.wins, step.losses) for step in found] == [
        ("strong", "average", 1, 0),
        (CHOSEN_SINGLE, "average", 4, 0),
        ("average", "calibrated-average", 1, 0),
        ("calibrated-average", "constant", 1, 1),
        ("constant", "stacking", 1, 0),
        ("stacking", "embedding", 1, 0),
        ("embedding", "embedding-learned", 1, 0),
    ]
    assert [step.first_chosen_by for step in found] == [BY_TEST, BY_OUT_OF_FOLD, *[""] * 5]
    assert (found[1].first_accuracy, found[1].second_accuracy) == (0.2, 0.6)
    assert found[1].p == pytest.approx(2 / 2**4)
    assert [step.p_holm for step in found] == pytest.approx(holm([step.p for step in found]))


def test_the_steps_add_up() -> None:
    found = take_apart(ALL, ["weak", "strong"], adaptive="embedding")
    gained = sum(step.wins - step.losses for step in found)
    assert gained == round(10 * (ALL["embedding"].accuracy - ALL["strong"].accuracy))


def test_methods_that_were_not_run_are_passed_over() -> None:
    some = {name: ALL[name] for name in ("weak", "strong", "average", "stacking")}
    found = take_apart(some, ["weak", "strong"], adaptive="embedding")
    assert [(step.first, step.second) for step in found] == [("strong", "average"), ("average", "stacking")]
    with pytest.raises(ValueError, match="no method beyond the backbones"):
        take_apart({"weak": ALL["weak"]}, ["weak"])


def test_the_single_that_each_training_part_would_have_chosen() -> None:
    evidence = {"a": [0.9, 0.8], "b": [0.9, 0.85]}
    assert choose_singles(evidence) == ("a", "b")
    rows = {"a": np.arange(8.0).reshape(4, 2), "b": -np.arange(8.0).reshape(4, 2)}
    found = put_together(choose_singles(evidence), [np.array([0, 2]), np.array([1, 3])], rows)
    np.testing.assert_array_equal(found, [[0, 1], [-2, -3], [4, 5], [-6, -7]])
    with pytest.raises(ValueError, match="same training parts"):
        choose_singles({"a": [0.9], "b": [0.9, 0.85]})
