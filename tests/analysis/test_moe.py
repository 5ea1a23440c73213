"""The row that stands for the fused model is chosen by what it is, never by its score."""

from __future__ import annotations

import numpy as np
import pytest

from fusion_pipeline.analysis.moe import choose_moe
from fusion_pipeline.errors import RefusedError, UsageError
from fusion_pipeline.train.predictions import Predictions
from fusion_pipeline.train.rows import RowName
from tests.analysis.made import made_predictions

RIGHT, WRONG = np.eye(2)[[[0, 1]]], np.eye(2)[[[1, 0]]]


def predictions(*names: str) -> Predictions:
    """Return rows of which only the last one is ever right, so that who looked at scores would take it."""
    rows = {RowName("backbone", "a"): WRONG}
    for name in names:
        method, _, labels = name.partition(" + ")
        kind = "concat" if method.startswith("concat-") else "gate"
        beside = labels == "concat"
        rows[
            RowName(
                kind,
                method,
                "none" if beside or not labels else labels,
                experts="singles,concat" if beside else "singles",
            )
        ] = RIGHT if name == names[-1] else WRONG
    return made_predictions([0, 1], [[0, 1]], rows)


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("cnn32", "embedding", "stacking"), "embedding"),
        (("cnn64", "cnn32", "cnn32 + learned"), "cnn32"),
        (("embedding + learned", "cnn64", "average"), "cnn64"),
        (("average", "embedding + concat", "embedding + glove"), "embedding + concat"),
        (("average", "constant", "stacking", "logit-average"), "stacking"),
        (("average", "constant"), "constant"),
        (("concat-softmax", "leaking-stacking", "average"), "average"),
        (("concat-softmax", "leaking-stacking"), None),
        ((), None),
    ],
)
def test_the_choice(names: tuple[str, ...], chosen: str | None) -> None:
    found = choose_moe(predictions(*names))
    assert (None if found is None else found.row.text) == chosen


def test_a_row_by_name() -> None:
    found = choose_moe(predictions("average", "embedding", "concat-softmax"), "concat-softmax")
    assert found is not None
    assert found.row.kind == "concat"


def test_a_row_that_is_not_there() -> None:
    with pytest.raises(
        UsageError, match=r"no fused row 'embeding'. Did you mean 'embedding'\? It has: average, embedding"
    ):
        choose_moe(predictions("average", "embedding"), "embeding")


def test_a_backbone_fuses_nothing() -> None:
    with pytest.raises(UsageError, match="no fused row 'a'"):
        choose_moe(predictions("average"), "a")


def test_a_row_that_leaks_is_refused() -> None:
    with pytest.raises(RefusedError, match="leaking-stacking' leaks"):
        choose_moe(predictions("average", "leaking-stacking"), "leaking-stacking")
