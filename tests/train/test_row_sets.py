"""Sets of rows: they do what Python's sets do, and come back from JSON as they were."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_pipeline.errors import FormatError
from fusion_pipeline.train.row_sets import RowSet

numbers = st.sets(st.integers(0, 99))


@given(numbers, numbers)
def test_they_do_what_pythons_sets_do(first: set[int], second: set[int]) -> None:
    a, b = RowSet.of(list(first), 100), RowSet.of(list(second), 100)
    assert (a | b).rows.tolist() == sorted(first | second)
    assert (a & b).rows.tolist() == sorted(first & second)
    assert (a - b).rows.tolist() == sorted(first - second)
    assert len(a) == len(first)
    assert (a.digest == b.digest) == (a == b) == (first == second)


@given(numbers)
def test_there_and_back(rows: set[int]) -> None:
    written = json.loads(json.dumps(RowSet.of(list(rows), 100).to_json()))
    assert RowSet.from_json(written).rows.tolist() == sorted(rows)


def test_runs_can_be_read_and_random_rows_are_bits() -> None:
    assert RowSet.of([7, 0, 1, 2, 9], 10).to_json() == {"n": 10, "ranges": [[0, 2], [7, 7], [9, 9]]}
    assert RowSet.of([], 3).to_json() == {"n": 3, "ranges": []}
    scattered = RowSet.of(np.arange(0, 30_000, 2), 30_000).to_json()
    assert set(scattered) == {"n", "bits"}
    assert len(scattered["bits"]) < 30_000 / 8 * 4 / 3 + 4


def test_whole_groups() -> None:
    assert RowSet.of([0, 4], 6).whole_groups(np.array([1, 2, 1, 3, 3, 2])).rows.tolist() == [0, 2, 3, 4]


def test_the_number_of_rows_is_part_of_the_digest() -> None:
    assert RowSet.of([1], 5).digest != RowSet.of([1], 6).digest


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"n": 5},
        {"n": 5, "ranges": [[3, 5]]},
        {"n": 5, "ranges": [[-1, 2]]},
        {"n": 5, "ranges": [1]},
        {"n": 5, "bits": "!"},
        {"n": 5, "bits": "AAA="},
        {"n": 5, "bits": "AQ=="},  # a row beyond the fifth
    ],
)
def test_what_is_no_set_is_refused(content: dict[str, object]) -> None:
    with pytest.raises(FormatError, match="A set of rows in the ledger cannot be read"):
        RowSet.from_json(content)


def test_rows_that_there_are_not() -> None:
    with pytest.raises(ValueError, match="not all among 5"):
        RowSet.of([5], 5)
