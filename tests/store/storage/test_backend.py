"""What every storage promises, whichever it is: a folder, objects in memory, objects on a server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from fusion_pipeline.store.storage.backend import PARTIAL, Backend, Entries

NAMES = ["fleurs été/rosé", "a%20b/c", "x#y/?z", "100%/&", "Rose (1)/[2]"]


def together(number: int, call: Callable[[int], object]) -> None:
    """Make a call from many threads at the same moment."""
    barrier = threading.Barrier(number)

    def run(which: int) -> None:
        barrier.wait()
        call(which)

    threads = [threading.Thread(target=run, args=(which,)) for which in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_write_and_read(backend: Backend) -> None:
    backend.write("a/b/c", b"one")
    backend.write("a/b/c", b"two")
    backend.write("a/d", b"")
    assert (backend.read("a/b/c"), backend.read("a/d")) == (b"two", b"")
    assert (backend.length("a/b/c"), backend.length("a/d")) == (3, 0)


@pytest.mark.parametrize("path", ["nothing", "nothing/below", "folder", "folder/file/below"])
def test_what_is_not_a_file_is_none(backend: Backend, path: str) -> None:
    backend.write("folder/file", b"1")
    assert backend.read(path) is None
    assert backend.read(path, at_most=10) is None
    assert backend.length(path) is None
    assert backend.read_into(path, [memoryview(bytearray(3))]) is None


def test_lengths_of_many_files(backend: Backend) -> None:
    for name, content in {"c/0/0": b"1", "c/1/0": b"", "c/10/0": b"123"}.items():
        backend.write(f"a/{name}", content)
    assert backend.lengths("a", ["c/10/0", "c/2/0", "c/1/0", "c/0/0", "c"]) == [3, None, 0, 1, None]
    assert backend.lengths("nothing", ["c/0"]) == [None]
    assert backend.lengths("a", []) == []


@pytest.mark.parametrize(("at_most", "content"), [(0, b"1"), (3, b"1234"), (4, b"12345"), (5, b"12345"), (9, b"12345")])
def test_of_a_longer_file_one_byte_more_is_read(backend: Backend, at_most: int, content: bytes) -> None:
    backend.write("a", b"12345")
    assert backend.read("a", at_most) == content


def test_no_more_than_nothing_is_read_of_an_empty_file(backend: Backend) -> None:
    backend.write("a", b"")
    assert backend.read("a", at_most=0) == b""


@pytest.mark.parametrize(
    ("content", "length"), [(b"", 0), (b"123", 3), (b"12345", 5), (b"123456", 6), (b"12345678", 6)]
)
def test_buffers_are_filled_in_their_order(backend: Backend, content: bytes, length: int) -> None:
    backend.write("a", content)
    first, second = bytearray(b"...."), bytearray(b".")
    assert backend.read_into("a", [memoryview(first), memoryview(second)]) == length
    assert bytes(first + second) == content[:5].ljust(5, b".")


def test_holds_this_very_content(backend: Backend) -> None:
    backend.write("a", b"12")
    found = [backend.holds(*what) for what in (("a", b"12"), ("a", b"13"), ("a", b"1"), ("a", b"123"), ("b", b""))]
    assert found == [True, False, False, False, False]


def test_entries_tell_files_from_folders(backend: Backend) -> None:
    for path in ("b", "folder/inside", "a", "ab/c", "folder2/x"):
        backend.write(path, b"1")
    assert backend.entries("") == Entries(("a", "b"), ("ab", "folder", "folder2"))
    assert backend.entries("folder") == Entries(("inside",), ())
    assert backend.list("") == ["a", "ab", "b", "folder", "folder2"]
    assert backend.entries("nothing") == Entries()
    assert all(backend.exists(path) for path in ("a", "folder", "folder/inside"))
    assert not any(backend.exists(path) for path in ("fold", "nothing", "folder/nothing"))


def test_walk_yields_every_file_below(backend: Backend) -> None:
    for path in ("a/b/c", "a/d", "a/e/f/g", "ab/no", f"a/half{PARTIAL}0123"):
        backend.write(path, path.encode())
    found = {file.path: file.length for file in backend.walk("a")}
    assert found == {path: len(path) for path in ("a/b/c", "a/d", "a/e/f/g", f"a/half{PARTIAL}0123")}
    assert "ab/no" in {file.path for file in backend.walk("")}
    assert list(backend.walk("nothing")) == []


@pytest.mark.parametrize("name", NAMES)
def test_any_name_comes_back(backend: Backend, name: str) -> None:
    backend.write(name, b"1")
    folder, _, file = name.partition("/")
    assert backend.read(name) == b"1"
    assert backend.entries("") == Entries((), (folder,))
    assert backend.entries(folder) == Entries((file,), ())
    assert [found.path for found in backend.walk(folder)] == [name]


def test_create_never_replaces(backend: Backend) -> None:
    assert backend.create("m", b"first")
    assert not backend.create("m", b"second")
    assert backend.read("m") == b"first"
    assert backend.list("") == ["m"]


def test_exactly_one_of_many_creates(backend: Backend) -> None:
    wins: list[int] = []

    def create(number: int) -> None:
        if backend.create("manifest.json", b"%d" % number):
            wins.append(number)

    together(16, create)
    assert len(wins) == 1
    assert backend.read("manifest.json") == b"%d" % wins[0]


def test_swap_replaces_what_was_seen(backend: Backend) -> None:
    assert not backend.swap("m", b"first", b"second")
    assert backend.swap("m", None, b"first")
    assert not backend.swap("m", None, b"second")
    assert not backend.swap("m", b"other", b"second")
    assert backend.read("m") == b"first"
    assert backend.swap("m", b"first", b"second")
    assert backend.read("m") == b"second"


def test_copies_hold_the_same(backend: Backend) -> None:
    backend.write_all({"a/b": b"1", "a/c": b"22", "d": b""})
    backend.copy_all({"x/b": "a/b", "x/y/c": "a/c", "x/d": "d"})
    backend.remove("a")
    assert [backend.read(path) for path in ("x/b", "x/y/c", "x/d", "a/b")] == [b"1", b"22", b"", None]


def test_what_is_not_there_is_not_copied(backend: Backend) -> None:
    backend.write("a", b"1")
    with pytest.raises(FileNotFoundError):
        backend.copy_all({"x/a": "a", "x/b": "b"})


def test_a_record_is_made_once_and_after_what_it_tells_of(backend: Backend) -> None:
    assert backend.write_recorded({"parts/a": b"1", "parts/b": b"2"}, "done/0", lambda: b"first")
    assert not backend.write_recorded({"parts/c": b"3"}, "done/0", lambda: b"second")
    assert (backend.list("parts"), backend.list("done")) == (["a", "b", "c"], ["0"])
    assert backend.read("done/0") == b"first"


def test_remove_takes_what_is_there(backend: Backend) -> None:
    for path in ("a/b/c", "a/d", "ab"):
        backend.write(path, b"1")
    backend.remove("a")
    backend.remove("a")
    assert (backend.exists("a"), list(backend.walk("a")), backend.list("")) == (False, [], ["ab"])
    backend.remove_file("ab")
    backend.remove_file("ab")
    assert backend.list("") == []


def test_check_leaves_nothing(backend: Backend) -> None:
    backend.check_writable()
    assert backend.may_write("some/folder")
    assert [file.path for file in backend.walk("")] == []


def test_time_is_told_by_the_clock_of_the_storage(backend: Backend) -> None:
    before = backend.now()
    backend.write("a", b"1")
    (written,) = [file.modified for file in backend.walk("") if file.path == "a"]
    assert before - 1.5 <= written <= backend.now() + 1.5  # S3 tells whole seconds
    assert abs(before - time.time()) < 60
    assert [file.path for file in backend.walk(".clock")] == []


def test_results_come_in_order_and_a_failure_ends_them(backend: Backend) -> None:
    def slow_first(number: int) -> int:
        time.sleep(0.01 * max(0, 4 - number))
        if number == 7:
            raise ValueError("seven")
        return number

    assert list(backend.map(slow_first, range(4))) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="seven"):
        list(backend.map(lambda number: slow_first(number + 4), range(4)))


def test_writers_of_different_files_do_not_meet(backend: Backend) -> None:
    together(8, lambda number: backend.write_all({f"f/{number}/{i}": b"%d" % number for i in range(8)}))
    assert len(list(backend.walk("f"))) == 64
    assert {backend.read(f"f/{number}/7") for number in range(8)} == {b"%d" % number for number in range(8)}


def test_where_names_the_place(backend: Backend) -> None:
    assert backend.where("a/b") == f"{backend.location}/a/b"
    assert (backend.where(""), str(backend)) == (backend.location, backend.location)


def test_after_a_failure_nothing_else_is_begun(backend: Backend) -> None:
    begun: list[int] = []
    together = threading.Barrier(backend.concurrency)

    def fail(number: int) -> None:
        begun.append(number)
        together.wait(5)
        if number == 0:
            time.sleep(0.2)  # results are looked at in order: meanwhile nobody looks at the failures
        raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        list(backend.map(fail, range(backend.concurrency * 2)))
    assert len(begun) == backend.concurrency
