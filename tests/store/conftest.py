"""The storages that a cache may lie in, for tests of what all of them promise."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from fusion_pipeline.store.storage.backend import Backend
from fusion_pipeline.store.storage.local import LocalBackend
from fusion_pipeline.store.storage.objects import ObjectBackend
from tests.servers import BUCKET, moto, variables

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of an S3 server in memory, which lasts as long as the session."""
    with moto(tmp_path_factory.mktemp("moto")) as url:
        yield url


@pytest.fixture
def s3(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Location of an empty cache on that server, found by the environment."""
    for name, value in variables(endpoint).items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/cache-{next(_NUMBERS)}"


@pytest.fixture(params=["folder", "memory", "s3"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """An empty place for a cache, of every kind."""
    match request.param:
        case "folder":
            return LocalBackend(tmp_path / "cache")
        case "memory":
            return ObjectBackend("s3://team/features", store=MemoryStore())
        case _:
            return ObjectBackend(request.getfixturevalue("s3"))
