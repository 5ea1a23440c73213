"""What is known of an attempt's finished partitions: all compared at once, or each when somebody asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fusion_pipeline.store.making.attempt import Attempt
from fusion_pipeline.store.making.finished import FinishedPartitions
from fusion_pipeline.store.making.unfinished import attempt_folders
from fusion_pipeline.store.storage.local import LocalBackend
from tests.store.made import DATASET, PARTITIONS, RECIPE, SAMPLES, make_encoder, open_attempt, rows_of, write_partition

DAMAGED = 1


class Counted(LocalBackend):
    """A folder that notes which parts are read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.parts: list[str] = []

    def read(self, path: str, **options: Any) -> bytes | None:
        if "/parts/" in path:
            self.parts.append(path.partition("/parts/")[2].partition("-")[0])
        return super().read(path, **options)


@pytest.fixture
def counted(tmp_path: Path) -> Counted:
    """A folder with a finished attempt, one partition of it damaged."""
    backend = LocalBackend(tmp_path / "cache")
    attempt = open_attempt(backend)
    for number in range(PARTITIONS):
        write_partition(attempt, number)
    attempt.close()
    (chunk,) = (tmp_path / "cache").rglob(f"parts/{DAMAGED}-*.features.c.*")
    content = bytearray(chunk.read_bytes())
    content[0] ^= 1
    chunk.write_bytes(content)
    return Counted(tmp_path / "cache")


def loaded(counted: Counted, *, when_asked: bool) -> FinishedPartitions:
    (folder,) = attempt_folders(counted, DATASET)
    found = FinishedPartitions(counted, folder, make_encoder(), when_asked=when_asked)
    found.load()
    return found


def records(counted: Counted) -> int:
    (folder,) = attempt_folders(counted, DATASET)
    return len(counted.list(f"{folder}/done"))


def test_all_are_compared_at_once(counted: Counted) -> None:
    found = loaded(counted, when_asked=False)
    assert {*counted.parts} == {"0", "1", "2"}
    assert [number for number, _ in found] == [0, 2]
    assert records(counted) == PARTITIONS - 1


def test_each_is_compared_when_somebody_asks(counted: Counted) -> None:
    found = loaded(counted, when_asked=True)
    assert [number for number, _ in found] == [0, 1, 2]
    assert counted.parts == []
    assert found.has(2)
    assert {*counted.parts} == {"2"}
    read = len(counted.parts)
    assert found.has(2)
    assert found.find(2, SAMPLES[rows_of(2)]) is not None
    assert len(counted.parts) == read  # once is enough
    assert records(counted) == PARTITIONS


@pytest.mark.parametrize("by", ["has", "find"])
def test_a_damaged_one_is_made_again(counted: Counted, by: str) -> None:
    found = loaded(counted, when_asked=True)
    if by == "has":
        assert not found.has(DAMAGED)
    assert found.find(DAMAGED, SAMPLES[rows_of(DAMAGED)]) is None
    assert not found.has(DAMAGED)
    assert records(counted) == PARTITIONS - 1
    assert {*counted.parts} == {str(DAMAGED)}


def test_who_joins_may_compare_only_what_it_is_given(counted: Counted) -> None:
    attempt = Attempt.open(counted, DATASET, "alpha", RECIPE, make_encoder(), compare_when_asked=True)
    assert counted.parts == []
    assert attempt.has(0)
    assert not attempt.has(DAMAGED)
    assert {*counted.parts} == {"0", str(DAMAGED)}
    attempt.close()
