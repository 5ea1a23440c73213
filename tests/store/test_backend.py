"""Durable files: whole or absent, made by exactly one of many, with modes that the umask decides."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusion_pipeline.errors import StorageError, UsageError
from fusion_pipeline.store.backend import PARTIAL, LocalBackend


@pytest.fixture
def backend(tmp_path: Path) -> LocalBackend:
    return LocalBackend(tmp_path / "cache")


def test_write_read_list(backend: LocalBackend) -> None:
    backend.write("a/b/c", b"one")
    backend.write("a/b/c", b"two")
    backend.write("a/d", b"")
    assert (backend.read("a/b/c"), backend.read("a/d")) == (b"two", b"")
    assert backend.list("a") == ["b", "d"]
    assert backend.exists("a/b")
    assert not backend.exists("a/x")


@pytest.mark.parametrize("path", ["nothing", "nothing/below", "folder", "folder/file/below"])
def test_what_is_not_a_file_reads_as_none(backend: LocalBackend, path: str) -> None:
    backend.write("folder/file", b"1")
    assert backend.read(path) is None
    assert backend.list("nothing") == []


def test_create_never_replaces(backend: LocalBackend) -> None:
    assert backend.create("m", b"first")
    assert not backend.create("m", b"second")
    assert backend.read("m") == b"first"
    assert os.listdir(backend.root) == ["m"]


def test_exactly_one_of_many_threads_creates(backend: LocalBackend) -> None:
    barrier = threading.Barrier(8)
    wins: list[int] = []

    def create(number: int) -> None:
        barrier.wait()
        if backend.create("manifest.json", b"%d" % number):
            wins.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1
    assert backend.read("manifest.json") == b"%d" % wins[0]


def test_litter_is_never_listed_and_can_be_swept(backend: LocalBackend) -> None:
    backend.write("a/b/good", b"1")
    litter = backend.path(f"a/b/good{PARTIAL}0123")
    litter.write_bytes(b"half")
    assert backend.list("a/b") == ["good"]
    backend.sweep("a")
    assert not litter.exists()
    assert backend.read("a/b/good") == b"1"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("verb", ["write", "create"])
def test_full_disk_names_needed_and_free_bytes(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, number: int, verb: str
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(LocalBackend, "free_bytes", lambda _self: 4321)
    (backend.root / "a").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"12,345 bytes needed, 4,321 free") as caught:
        getattr(backend, verb)("a/b", b"x" * 12_345)
    assert str(backend.path("a/b")) in str(caught.value)
    assert os.listdir(backend.root / "a") == []


def test_input_output_error_is_a_storage_error(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    backend.write("a", b"kept")

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(StorageError, match="Input/output error"):
        backend.write("a", b"new")
    assert backend.read("a") == b"kept"


@pytest.fixture
def unprivileged() -> Iterator[LocalBackend]:
    """A cache in a folder that everybody may enter, seen by somebody who is not root."""
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    backend = LocalBackend(root)
    backend.write("a/b", b"1")
    user = os.geteuid()
    backend.path("a").chmod(0o555)
    if user == 0:
        os.seteuid(65534)
    try:
        yield backend
    finally:
        os.seteuid(user)
        backend.path("a").chmod(0o755)
        shutil.rmtree(root)


def test_read_only_folder(unprivileged: LocalBackend) -> None:
    for verb in (unprivileged.write, unprivileged.create):
        with pytest.raises(StorageError, match="Permission denied"):
            verb("a/c", b"2")
    assert unprivileged.read("a/b") == b"1"


def test_unreadable_folder_is_not_an_absent_one(unprivileged: LocalBackend) -> None:
    user = os.geteuid()
    if user == 65534:
        os.seteuid(0)
    unprivileged.path("a").chmod(0o000)
    os.seteuid(user)
    with pytest.raises(StorageError, match="Permission denied"):
        unprivileged.exists("a/b")
    with pytest.raises(StorageError, match="Permission denied"):
        unprivileged.read("a/b")
    with pytest.raises(StorageError, match="Permission denied"):
        unprivileged.list("a")


@pytest.fixture
def _umask_restored() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_umask_restored")
@pytest.mark.parametrize(("umask", "file", "folder"), [(0o077, 0o600, 0o700), (0o002, 0o664, 0o775)])
def test_modes_follow_the_umask(backend: LocalBackend, umask: int, file: int, folder: int) -> None:
    os.umask(umask)
    backend.write("a/written", b"1")
    backend.create("a/created", b"1")
    modes = {name: stat.S_IMODE(backend.path(name).stat().st_mode) for name in ("a/written", "a/created", "a")}
    assert modes == {"a/written": file, "a/created": file, "a": folder}


def test_what_exists_keeps_its_mode(backend: LocalBackend) -> None:
    backend.write("a/b", b"1")
    backend.path("a").chmod(0o2770)
    backend.write("a/c", b"2")
    assert stat.S_IMODE(backend.path("a").stat().st_mode) == 0o2770


def test_every_write_is_synced_with_its_folder(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    backend.root.mkdir()
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    backend.write("file", b"1")
    assert [PARTIAL in synced[0], *synced[1:]] == [True, str(backend.root)]


def test_move_may_be_repeated(backend: LocalBackend) -> None:
    backend.write("from/file", b"1")
    backend.move("from", "to/there")
    backend.move("from", "to/there")
    assert backend.read("to/there/file") == b"1"
    with pytest.raises(StorageError, match="No such file"):
        backend.move("from", "elsewhere")


def test_remove_takes_what_is_there(backend: LocalBackend) -> None:
    backend.write("a/b/c", b"1")
    backend.remove("a")
    backend.remove("a")
    assert not backend.exists("a")


def test_lock_has_one_holder(backend: LocalBackend) -> None:
    assert backend.lock("lock") is None
    backend.write("lock", b"")
    first = backend.lock("lock")
    assert first is not None
    assert backend.lock("lock") is None
    first.release()
    second = backend.lock("lock")
    assert second is not None
    second.release()


def test_urls_are_refused() -> None:
    with pytest.raises(UsageError, match="s3://team/features"):
        LocalBackend("s3://team/features")


@pytest.fixture
def synced(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths below the cache that were synced, in order; the cache itself is ``"."``."""
    backend.root.mkdir()
    paths: list[str] = []

    def fsync(descriptor: int) -> None:
        paths.append(os.path.relpath(os.readlink(f"/proc/self/fd/{descriptor}"), backend.root))

    monkeypatch.setattr(os, "fsync", fsync)
    return paths


def test_what_is_created_is_synced_with_its_folder(backend: LocalBackend, synced: list[str]) -> None:
    backend.create("manifest.json", b"1")
    assert [PARTIAL in synced[0], *synced[1:]] == [True, "."]


def test_new_folders_are_synced_in_the_folders_above_them(backend: LocalBackend, synced: list[str]) -> None:
    backend.write("a/b/file", b"1")
    assert synced[:2] == [".", "a"]
    assert synced[-1] == "a/b"


def test_a_move_is_synced_in_both_folders(backend: LocalBackend, synced: list[str]) -> None:
    backend.write("from/file", b"1")
    backend.write("to/other", b"2")
    synced.clear()
    backend.move("from/file", "to/file")
    assert sorted(synced) == ["from", "to"]
