"""Object stores: who creates is the only one, refusals are never taken for absence, failures say what to mend."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import obstore
import pytest
from obstore.exceptions import AlreadyExistsError, NotSupportedError, PreconditionError
from obstore.store import MemoryStore

from fusion_pipeline.errors import FusionError, RefusedError, StorageError, UsageError
from fusion_pipeline.store import Cache, Store
from fusion_pipeline.store.care.verify import verify_dataset
from fusion_pipeline.store.storage.objects import ObjectBackend
from fusion_pipeline.store.storage.places import open_backend
from tests.store.made import DATASET, FEATURES, publish_index, publish_on
from tests.store.storage.answers import half, hang_up, no_answer, status

CALLS: dict[str, Callable[[ObjectBackend], object]] = {
    "read": lambda backend: backend.read("a"),
    "read a part": lambda backend: backend.read("a", at_most=3),
    "length": lambda backend: backend.length("a"),
    "holds": lambda backend: backend.holds("a", b"1"),
    "entries": lambda backend: backend.entries("a"),
    "walk": lambda backend: list(backend.walk("a")),
    "exists": lambda backend: backend.exists("a"),
    "write": lambda backend: backend.write("a", b"1"),
    "write_all": lambda backend: backend.write_all({"a": b"1", "b": b"2"}),
    "create": lambda backend: backend.create("a", b"1"),
    "swap": lambda backend: backend.swap("a", b"1", b"2"),
    "copy_all": lambda backend: backend.copy_all({"b": "a"}),
    "remove": lambda backend: backend.remove("a"),
    "remove_file": lambda backend: backend.remove_file("a"),
    "check_writable": lambda backend: backend.check_writable(),
}


@pytest.fixture
def memory() -> ObjectBackend:
    return ObjectBackend("s3://team/features", store=MemoryStore())


class Put:
    """`obstore.put`, but for what a test changes about it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.true = obstore.put
        self.modes: list[Any] = []
        monkeypatch.setattr(obstore, "put", self)

    def __call__(self, store: Any, path: str, content: bytes, *, mode: Any, **options: Any) -> Any:
        self.modes.append(mode)
        return self.put(store, path, content, mode, options)

    def put(self, store: Any, path: str, content: bytes, mode: Any, options: dict[str, Any]) -> Any:
        return self.true(store, path, content, mode=mode, **options)


class IgnoringPut(Put):
    """To a store that ignores conditions."""

    def put(self, store: Any, path: str, content: bytes, mode: Any, options: dict[str, Any]) -> Any:
        return self.true(store, path, content, mode="overwrite", **options)


class LosingPut(Put):
    """Whose answer is lost each time: the client repeats it, and hears what the condition makes of that."""

    def put(self, store: Any, path: str, content: bytes, mode: Any, options: dict[str, Any]) -> Any:
        self.true(store, path, content, mode=mode, **options)
        return self.true(store, path, content, mode=mode, **options)


def test_a_store_that_ignores_conditions_is_refused(memory: ObjectBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    IgnoringPut(monkeypatch)
    with pytest.raises(RefusedError, match=r"'s3://team/features' ignores If-None-Match.* --single-writer") as caught:
        memory.create("manifest.json", b"1")
    assert caught.value.exit_code == 16
    with pytest.raises(RefusedError, match="ignores If-None-Match"):
        memory.check_writable()
    assert list(memory.walk("")) == []


def test_who_is_alone_needs_no_conditions(monkeypatch: pytest.MonkeyPatch) -> None:
    put = IgnoringPut(monkeypatch)
    alone = ObjectBackend("s3://team/features", single_writer=True, store=MemoryStore())
    alone.check_writable()
    assert (alone.create("m", b"1"), alone.create("m", b"2")) == (True, False)
    assert (alone.swap("m", b"2", b"3"), alone.swap("m", b"1", b"3")) == (False, True)
    assert alone.read("m") == b"3"
    assert set(put.modes) == {"overwrite"}


def test_conditions_are_probed_once(memory: ObjectBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    put = Put(monkeypatch)
    memory.check_writable()
    for number in range(3):
        memory.create(f"m{number}", b"1")
    assert put.modes == ["create"] * 5


def test_a_lost_answer_to_a_creation_is_a_success(memory: ObjectBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.check_writable()
    LosingPut(monkeypatch)
    assert memory.create("m", b"1")
    assert not memory.create("m", b"2")
    assert memory.read("m") == b"1"


def test_a_lost_answer_to_a_swap_is_a_success(memory: ObjectBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.write("m", b"1")
    LosingPut(monkeypatch)
    assert memory.swap("m", b"1", b"2")
    assert not memory.swap("m", b"1", b"3")
    assert memory.read("m") == b"2"


def test_a_swap_that_somebody_came_before_fails(memory: ObjectBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    class LatePut(Put):
        def put(self, store: Any, path: str, content: bytes, mode: Any, options: dict[str, Any]) -> Any:
            self.true(store, path, b"theirs", mode="overwrite")
            return self.true(store, path, content, mode=mode, **options)

    memory.write("m", b"1")
    LatePut(monkeypatch)
    assert not memory.swap("m", b"1", b"ours")
    assert memory.read("m") == b"theirs"


def test_a_swap_where_no_version_can_be_asked_for(memory: ObjectBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    class PlainPut(Put):
        def put(self, store: Any, path: str, content: bytes, mode: Any, options: dict[str, Any]) -> Any:
            if isinstance(mode, dict):
                raise NotSupportedError("no If-Match here")
            return self.true(store, path, content, mode=mode, **options)

    memory.write("m", b"1")
    PlainPut(monkeypatch)
    assert memory.swap("m", b"1", b"2")
    assert memory.read("m") == b"2"


@pytest.mark.parametrize("error", [AlreadyExistsError, PreconditionError])
def test_any_refusal_to_create_is_one(
    memory: ObjectBackend, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    class RefusingPut(Put):
        def put(self, store: Any, path: str, content: bytes, mode: Any, options: dict[str, Any]) -> Any:
            raise error(path)

    memory.write("m", b"theirs")
    memory.check_writable()
    RefusingPut(monkeypatch)
    assert not memory.create("m", b"ours")


@pytest.mark.parametrize(("arrived", "well"), [(b"sent", True), (b"seNt", False)])
def test_a_tag_that_is_not_the_md5_is_looked_into(
    memory: ObjectBackend, monkeypatch: pytest.MonkeyPatch, arrived: bytes, well: bool
) -> None:
    """Stores that encrypt tag otherwise, and are believed once what they hold was read back."""

    class TaggingPut(Put):
        def put(self, store: Any, path: str, content: bytes, mode: Any, options: dict[str, Any]) -> Any:
            return {**self.true(store, path, arrived, mode=mode, **options), "e_tag": f'"{"0" * 32}"'}

    TaggingPut(monkeypatch)
    if well:
        memory.write("a", b"sent")
    else:
        with pytest.raises(StorageError, match="holds other bytes than were sent"):
            memory.write("a", b"sent")


@pytest.mark.parametrize("code", [401, 403])
@pytest.mark.parametrize("call", CALLS)
def test_who_is_refused_does_not_take_anything_for_absent(answering: Any, call: str, code: int) -> None:
    backend = answering(status(code))
    with pytest.raises(
        StorageError, match=r"access denied\. Check the credentials.*Then run the same command"
    ) as caught:
        CALLS[call](backend)
    assert caught.value.exit_code == 15
    assert "\n" not in str(caught.value)
    assert backend.failing


FAILURES = {
    "500": (status(500), "the server answered 500 Internal Server Error. See what ails it."),
    "503": (status(503), "the server answered 503 Service Unavailable. See what ails it."),
    "400": (status(400), "the server answered 400 Bad Request. See what ails it."),
    "silence": (no_answer, "no answer in time. See that the server runs and can be reached."),
    "hung up": (hang_up, "the server cannot be reached. See that it runs."),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("call", ["read", "length", "entries", "write", "create"])
def test_failures_say_what_to_mend(answering: Any, call: str, failure: str) -> None:
    answer, reason = FAILURES[failure]
    backend = answering(answer)
    with pytest.raises(StorageError, match=re.escape(f": {reason} Then run the same command again.")):
        CALLS[call](backend)
    assert backend.failing


def test_half_a_body_is_not_a_content(answering: Any) -> None:
    with pytest.raises(StorageError):
        answering(half).read("a")


def test_a_server_that_is_not_there(answering: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(status(200))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StorageError, match=r"the server cannot be reached\. See that it runs\."):
        Cache("s3://team/features")


@pytest.mark.parametrize("call", ["entries", "walk", "write", "create", "remove", "check_writable"])
def test_a_bucket_that_is_not_there(s3: str, call: str) -> None:
    backend = ObjectBackend("s3://no-such-bucket/features")
    with pytest.raises(StorageError, match=r"there is no such bucket\. Make it, or check its name\."):
        CALLS[call](backend)


def test_what_works_again_is_not_failing(memory: ObjectBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> None:
        raise PermissionError("no")

    with monkeypatch.context() as patch:
        patch.setattr(obstore, "head", denied)
        with pytest.raises(StorageError):
            memory.length("a")
    assert memory.failing
    assert memory.length("a") is None
    assert not memory.failing


@pytest.mark.parametrize("location", ["ftp://team/features", "s3://", "s3:///", "http://team/features"])
def test_other_urls_are_refused(location: str) -> None:
    with pytest.raises(UsageError, match=r"neither a folder nor one of s3://BUCKET/PREFIX, gs://.*, az://"):
        open_backend(location)


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"])
def test_the_endpoint_comes_from_the_usual_variables(
    endpoint: str, s3: str, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.setenv(variable, endpoint)
    backend = open_backend(s3)
    backend.write("a", b"1")
    assert backend.read("a") == b"1"


def test_a_prefix_ends_at_a_slash(s3: str) -> None:
    here, beside, whole = (open_backend(location) for location in (f"{s3}/", f"{s3}0", s3.rpartition("/")[0]))
    beside.write("a", b"1")
    assert here.entries("").names == []
    assert list(here.walk("")) == []
    assert whole.read(f"{s3.rpartition('/')[2]}0/a") == b"1"


def test_a_store_on_a_server_is_a_store(s3: str) -> None:
    cache = Cache(s3)
    assert list(cache) == []
    publish_index(s3)
    store = publish_on(cache.backend)
    assert np.array_equal(store.features[:], FEATURES)
    assert np.array_equal(store.read("features", "crc32c"), FEATURES)
    assert store.labels.tolist() == [0, 0, 1, 1, 1]
    assert [list(report.damage) for report in verify_dataset(Cache(s3)[DATASET])] == [[], []]
    assert Store.open(store.ref).manifest == store.manifest
    with pytest.raises(UsageError, match=r"lies in no folder\. 'fusion cache pull'"):
        _ = store.path


def test_another_thing_in_a_bucket_is_no_cache(s3: str) -> None:
    open_backend(s3).write("photographs/rose.jpg", b"1")
    with pytest.raises(FusionError, match=r"is not a fusion cache: it holds 'photographs'"):
        Cache(s3)
