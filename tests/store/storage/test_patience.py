"""Object stores over slow lines and on servers that stop: who is heard of is waited for, who is not ends the run."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from obstore.store import MemoryStore

from fusion_pipeline.errors import StorageError
from fusion_pipeline.store.storage import objects
from fusion_pipeline.store.storage.objects import ObjectBackend
from tests.store.storage.answers import Answer, begin_object, status

LARGE = bytes(100_000)


def slow(request: Answer) -> None:
    """Take objects as from a slow line, give them as over one, and answer everything else at once."""
    if request.command == "PUT":
        time.sleep(1)
        begin_object(request, 0)
    elif request.command == "HEAD":
        status(404)(request)
    else:
        begin_object(request, 8)
        for _ in range(8):
            request.wfile.write(b"1")
            request.wfile.flush()
            time.sleep(0.15)


def stalling(request: Answer) -> None:
    """Begin to give an object, and do nothing else."""
    if request.command == "GET" and not request.headers.get("Range"):
        begin_object(request, 8)
        request.wfile.write(b"1")
        request.wfile.flush()
    time.sleep(5)


@pytest.fixture
def hasty(answering: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(objects, "_CLIENT", {"connect_timeout": "500ms", "read_timeout": "500ms", "timeout": "20s"})
    monkeypatch.setattr(objects, "_ASK_SECONDS", 0.1)
    return answering


def test_on_a_slow_line_large_objects_take_their_time(hasty: Any) -> None:
    backend = hasty(slow)
    backend.write_all({f"a{number}": LARGE for number in range(16)})
    assert backend.read("a") == b"1" * 8


@pytest.mark.parametrize("code", [403, 503])
def test_any_answer_is_one(hasty: Any, code: int) -> None:
    """Who may only write is not told what is there, and who asks too often is told nothing."""
    asked: list[str] = []

    def answer(request: Answer) -> None:
        asked.append(request.command)
        (slow if request.command == "PUT" else status(code))(request)

    hasty(answer).write("a", LARGE)
    assert asked.count("PUT") == 1, "it was sent again"
    assert "HEAD" in asked, "it was sent before anything was asked"


@pytest.mark.parametrize("call", ["read", "write"])
def test_a_server_that_stops_in_the_middle(hasty: Any, call: str) -> None:
    backend, began = hasty(stalling), time.monotonic()
    with pytest.raises(StorageError, match=r"no answer in time\. See that the server runs"):
        backend.read("a") if call == "read" else backend.write("a", LARGE)
    assert time.monotonic() - began < 3


def test_large_objects_are_sent_from_any_thread() -> None:
    memory = ObjectBackend("s3://team/features", store=MemoryStore())

    async def notebook() -> None:
        memory.write("a", LARGE)

    asyncio.run(notebook())
    assert memory.read("a") == LARGE
