"""Calls for partitions at one process, while others end their extractions or nobody calls for a while."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from fusion_pipeline.errors import ClusterError
from fusion_pipeline.extract.cluster import station
from fusion_pipeline.extract.cluster.station import Station, leave_work, work_on


class Built(list["Built"]):
    """Stands for a worker that takes a moment; the class lists those that were built."""

    all: list[Built]
    seconds = 0.0

    def __init__(self, assignment: Any) -> None:
        super().__init__()
        self.token, self.is_closed = assignment.token, False
        self.all.append(self)

    def work_on(self, number: int) -> int:
        if self.is_closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        time.sleep(self.seconds)
        assert not self.is_closed
        return number

    def leave(self) -> None:
        assert not self.is_closed
        self.is_closed = True


@pytest.fixture(autouse=True)
def built(monkeypatch: pytest.MonkeyPatch) -> list[Built]:
    monkeypatch.setattr(station, "Worker", Built)
    monkeypatch.setattr(Built, "all", [], raising=False)
    monkeypatch.setattr(Station, "_all", {})
    return Built.all


def assignment(token: str) -> Any:
    return SimpleNamespace(token=token)


def all_close(built: list[Built]) -> bool:
    """Wait until all have been left; return whether they have."""
    deadline = time.monotonic() + 10
    while not all(one.is_closed for one in built) and time.monotonic() < deadline:
        time.sleep(0.01)
    return all(one.is_closed for one in built)


def test_it_is_kept_from_call_to_call(built: list[Built]) -> None:
    assert [work_on(assignment("a"), number) for number in range(3)] == [0, 1, 2]
    assert len(built) == 1
    asyncio.run(leave_work("a"))
    assert built[0].is_closed
    assert not Station._all
    asyncio.run(leave_work("a"))  # nothing is there any more


def test_other_extractions_are_left_alone(built: list[Built]) -> None:
    work_on(assignment("a"), 0)
    work_on(assignment("b"), 0)
    asyncio.run(leave_work("a"))
    assert [(one.token, one.is_closed) for one in built] == [("a", True), ("b", False)]


def test_calls_while_it_is_closed_for_idleness(monkeypatch: pytest.MonkeyPatch, built: list[Built]) -> None:
    monkeypatch.setattr(station, "_IDLE_SECONDS", 0.0)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda number: work_on(assignment("a"), number), range(400))) == list(range(400))
    assert len(built) > 1
    assert all_close(built)


def test_an_idle_one_is_closed(monkeypatch: pytest.MonkeyPatch, built: list[Built]) -> None:
    monkeypatch.setattr(station, "_IDLE_SECONDS", 0.05)
    work_on(assignment("a"), 0)
    assert all_close(built)
    assert not Station._all


def test_who_leaves_does_not_wait_for_a_partition(monkeypatch: pytest.MonkeyPatch, built: list[Built]) -> None:
    monkeypatch.setattr(Built, "seconds", 1.0)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(work_on, assignment("a"), 1)
        while not built:
            time.sleep(0.001)
        second = pool.submit(work_on, assignment("a"), 2)
        began = time.monotonic()
        asyncio.run(leave_work("a"))
        assert time.monotonic() - began < 0.5
        assert first.result() == 1
        with pytest.raises(ClusterError, match="ended before this partition was begun"):
            second.result()


def test_what_cannot_begin_is_tried_again(monkeypatch: pytest.MonkeyPatch, built: list[Built]) -> None:
    def refuse(_assignment: Any) -> None:
        raise ClusterError("no images")

    monkeypatch.setattr(station, "Worker", refuse)
    with pytest.raises(ClusterError, match="no images"):
        work_on(assignment("a"), 0)
    monkeypatch.setattr(station, "Worker", Built)
    assert work_on(assignment("a"), 0) == 0
    assert len(built) == 1
