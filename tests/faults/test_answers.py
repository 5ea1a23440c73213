"""Row 23: what an S3 server may answer, or fail to answer, to any request that a storage makes of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from fusion_pipeline.errors import StorageError
from fusion_pipeline.store.storage.backend import Backend
from fusion_pipeline.store.storage.places import open_backend
from tests.faults.proxy import Mishap, Proxy, busy, denied, half_a_body, lost_answer, passed_on, proxy
from tests.faults.tally import Tally
from tests.servers import BUCKET, variables

_NUMBERS = itertools.count()

CALLS: dict[str, tuple[Callable[[Backend], object], object]] = {
    "read": (lambda storage: storage.read("a/file"), b"some content"),
    "read what is not there": (lambda storage: storage.read("a/none"), None),
    "length": (lambda storage: storage.length("a/file"), 12),
    "entries": (lambda storage: storage.entries("a").files, ("file", "other")),
    "walk": (lambda storage: [file.path for file in storage.walk("a")], ["a/file", "a/other"]),
    "write": (lambda storage: (storage.write("a/file", b"new"), storage.read("a/file"))[1], b"new"),
    "create": (lambda storage: storage.create("a/new", b"mine"), True),
    "create what is there": (lambda storage: storage.create("a/file", b"mine"), False),
    "swap": (lambda storage: storage.swap("a/file", b"some content", b"mine"), True),
    "swap what is another": (lambda storage: storage.swap("a/file", b"before", b"mine"), False),
    "copy": (lambda storage: (storage.copy_all({"b": "a/file"}), storage.read("b"))[1], b"some content"),
    "remove": (lambda storage: (storage.remove("a"), storage.list("a"))[1], []),
    "remove a file": (lambda storage: (storage.remove_file("a/file"), storage.list("a"))[1], ["other"]),
    "check": (lambda storage: storage.check_writable(), None),
}
"""What is asked of a storage that holds ``a/file`` and ``a/other``, and the answer."""

QUICK = ("read", "write", "create", "swap")
SOME = [name if name in QUICK else pytest.param(name, marks=pytest.mark.soak) for name in CALLS]


@pytest.fixture
def way(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The proxy that all storages of a test are found behind."""
    with proxy(moto_endpoint) as made:
        for name, value in variables(made.endpoint).items():
            monkeypatch.setenv(name, value)
        yield made


def filled(way: Proxy, call: str) -> Backend:
    """Return a storage for a call: found to keep conditions, unless the call is to find that."""
    way.clear()
    storage = open_backend(f"s3://{BUCKET}/answers-{next(_NUMBERS)}")
    storage.write_all({"a/file": b"some content", "a/other": b"2"})
    if call != "check":
        storage.check_writable()
    return storage


def each_request(way: Proxy, call: str, mishap: Mishap) -> Iterator[Callable[[], object]]:
    """Yield a call whose first request meets a mishap, then one whose second does, and so on to its last one."""
    act, undisturbed = CALLS[call][0], filled(way, call)
    way.plan(passed_on, lasts=True)
    act(undisturbed)
    for number in range(1, len(way.met) + 1):
        storage = filled(way, call)
        way.plan(mishap, number)
        yield partial(act, storage)


@pytest.mark.parametrize("call", CALLS)
def test_denied(way: Proxy, tally: Tally, call: str) -> None:
    """What may not be seen is never taken for something that is not there."""
    storage = filled(way, call)
    with tally.fault():
        way.plan(denied, lasts=True)
        with pytest.raises(StorageError, match="access denied") as caught:
            CALLS[call][0](storage)
        assert storage.location in str(caught.value)
        assert storage.failing


@pytest.mark.parametrize("mishap", [busy, lost_answer])
@pytest.mark.parametrize("call", SOME)
def test_asked_again(way: Proxy, tally: Tally, call: str, mishap: Mishap) -> None:
    """A call succeeds whichever of its requests is refused, or done without a word."""
    for act in each_request(way, call, mishap):
        with tally.fault():
            assert act() == CALLS[call][1], way.met


@pytest.mark.parametrize("call", SOME)
def test_half_a_body(way: Proxy, tally: Tally, call: str) -> None:
    """Half an answer is no answer: a call asks again, or fails."""
    for act in each_request(way, call, half_a_body):
        with tally.fault():
            try:
                assert act() == CALLS[call][1], way.met
            except StorageError as error:
                assert "run the same command again" in str(error)  # noqa: PT017 - it need not be raised
