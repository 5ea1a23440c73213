"""Sentences say what the numbers say, where these are the same, or few, or not all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fusion_pipeline.analysis import subsets
from fusion_pipeline.analysis.calibration import Reliability
from fusion_pipeline.analysis.confused_pair import find_confused_pair
from fusion_pipeline.analysis.distinct_votes import by_distinct_votes
from fusion_pipeline.analysis.measures import Measures
from fusion_pipeline.analysis.readings import (
    read_calibration,
    read_confused,
    read_distinct,
    read_subsets,
    read_trust,
)
from fusion_pipeline.analysis.subsets import measure_subsets
from fusion_pipeline.analysis.votes import Votes
from tests.analysis.made import made_votes
from tests.analysis.test_subsets import LABELS, NAMES, PROBABILITIES


def confused(votes: Votes) -> str:
    found = find_confused_pair(votes)
    assert found is not None
    return read_confused(found, votes.class_names)


def test_who_confuses_most() -> None:
    votes = made_votes([[1, 1, 1], [0, 1, 1]], [0, 0, 1])
    assert confused(votes) == (
        "'class 0' and 'class 1' are confused most, 3 times by all backbones together: 2 times by a, 1 time by b."
    )


def test_all_confuse_alike() -> None:
    assert confused(made_votes([[1, 1], [0, 0]], [0, 1])).endswith(
        "are confused most, 2 times by all backbones together, 1 time by each."
    )
    assert confused(made_votes([[1, 1]], [0, 1])).endswith("are confused most, 1 time.")


def test_the_best_where_backbones_disagree_need_not_be_the_best() -> None:
    votes = made_votes([[0, 0, 1, 1], [0, 0, 0, 1]], [0, 0, 0, 1])
    assert read_distinct(by_distinct_votes(votes, {"gate": votes.labels}), "gate") == (
        "All backbones agree on 75.0 % of the images; where they do not, gate is right on 100.0 %, and the backbone "
        "that is best there, b, on 100.0 %."
    )


def test_not_all_subsets_are_said_to_be_all(monkeypatch: pytest.MonkeyPatch) -> None:
    every = read_subsets(measure_subsets(NAMES, PROBABILITIES, LABELS))
    monkeypatch.setattr(subsets, "ALL_SUBSETS_OF", 3)
    some = read_subsets(measure_subsets(NAMES, PROBABILITIES, LABELS))
    assert every.startswith("Of all subsets the average of ")
    assert some.startswith("Of the 10 tried subsets the average of ")
    assert every.endswith("(chosen on these images, so a little too good).")


def test_rows_that_are_calibrated_alike() -> None:
    a = Reliability("a", (), (), (), 0.0251)
    assert read_calibration([a, replace(a, name="b", ece=0.0249)]) == (
        "What any row says to be likely is off by 2.5 points on average (ECE)."
    )
    assert read_calibration([a, replace(a, name="b", ece=0.05)]) == (
        "What a says to be likely is off by 2.5 points on average (ECE), the least; b is off by 5.0, the most."
    )


def test_a_gate_of_one_expert(measured: Measures) -> None:
    assert measured.trust is not None
    one = replace(measured.trust, experts=("alpha",), overall=measured.trust.overall[:1])
    assert read_trust(one) == "embedding has one expert, which it cannot but trust."
