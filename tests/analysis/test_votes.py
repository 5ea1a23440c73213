"""Votes are what the rows of the backbones predicted for each tested image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fusion_pipeline.analysis.kept_run import KeptRun
from fusion_pipeline.analysis.measures import Measures
from fusion_pipeline.analysis.votes import Votes
from fusion_pipeline.errors import IncompleteError


def test_each_repeat_votes_on_each_image(kept: KeptRun) -> None:
    votes, predictions = Votes.of(kept.predictions), kept.predictions
    assert votes.experts == ("alpha", "beta")
    assert votes.predicted.shape == (2, 2 * 149)
    for row, predicted in zip(predictions.rows, votes.predicted, strict=False):
        np.testing.assert_array_equal(predicted, row.predicted.ravel())
    np.testing.assert_array_equal(votes.labels, np.tile(predictions.labels, 2))


def test_accuracies_of_the_table_follow(kept: KeptRun) -> None:
    votes = Votes.of(kept.predictions)
    for number, name in enumerate(votes.experts):
        assert votes.correct[number].sum() == kept.scored(name)["correct"]
    gate = kept.predictions.row("embedding")
    assert gate is not None
    assert (votes.of_row(gate) == votes.labels).sum() == kept.scored("embedding")["correct"]


def test_images_that_nobody_tested_have_no_vote(lonely: Measures) -> None:
    votes, predictions = lonely.votes, lonely.run.predictions
    assert len(votes.labels) == 50
    assert len(predictions.labels) == 99
    assert votes.predicted.min() >= 0
    np.testing.assert_array_equal(votes.images, np.flatnonzero(predictions.tested_in[0] >= 0))


def test_without_a_backbone_there_is_nothing_to_compare(kept: KeptRun) -> None:
    gates = tuple(each for each in kept.predictions.rows if each.row.kind == "gate")
    with pytest.raises(IncompleteError, match="no row of a backbone"):
        Votes.of(replace(kept.predictions, rows=gates))
