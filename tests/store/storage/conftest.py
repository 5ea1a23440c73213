"""Servers that answer as a test wants them to."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterator

import pytest

from fusion_pipeline.store.storage import objects
from fusion_pipeline.store.storage.objects import ObjectBackend
from tests.servers import variables
from tests.store.storage.answers import Answer, Server


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[Answer], object]], ObjectBackend]]:
    """Return a function that starts a server with one answer to everything, and opens a cache there."""
    servers: list[socketserver.BaseServer] = []
    monkeypatch.setattr(objects, "_CLIENT", {"connect_timeout": "500ms", "timeout": "500ms"})
    monkeypatch.setattr(objects, "_RETRIES", {**objects._RETRIES, "max_retries": 1})

    def start(answer: Callable[[Answer], object]) -> ObjectBackend:
        server = Server(answer)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        for name, value in variables(f"http://127.0.0.1:{server.server_port}").items():
            monkeypatch.setenv(name, value)
        return ObjectBackend("s3://team/features")

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
