"""Durable files in a folder: whole or absent, synced, with the modes of the umask and of a group's folder."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fusion_pipeline.errors import RefusedError, StorageError
from fusion_pipeline.store.storage.backend import PARTIAL
from fusion_pipeline.store.storage.local import LocalBackend
from fusion_pipeline.store.storage.places import open_backend

NOBODY = 65534


@pytest.fixture
def backend(tmp_path: Path) -> LocalBackend:
    return LocalBackend(tmp_path / "cache")


def failing(number: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def mode_of(backend: LocalBackend, path: str) -> int:
    return stat.S_IMODE(backend.path(path).stat().st_mode)


def test_a_place_is_a_folder_unless_it_is_a_url(tmp_path: Path) -> None:
    opened = open_backend(tmp_path)
    assert isinstance(opened, LocalBackend)
    assert (opened.location, opened.is_local) == (str(tmp_path), True)
    assert open_backend(f"file://{tmp_path}").location == str(tmp_path)


def test_nothing_is_made_before_the_first_write(backend: LocalBackend) -> None:
    assert backend.read("a") is None
    assert backend.entries("").names == []
    assert list(backend.walk("")) == []
    assert not backend.root.exists()


def test_who_writes_while_another_swaps_wins(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the last look: what takes time is done before it."""
    backend.write("a", b"before")
    monkeypatch.setattr(os, "fsync", lambda _: (backend.root / "a").write_bytes(b"between"))
    assert not backend.swap("a", b"before", b"after")
    assert (backend.read("a"), len(list(backend.walk("")))) == (b"between", 1)


def test_litter_is_walked_over_and_never_listed(backend: LocalBackend) -> None:
    backend.write("a/b/good", b"1")
    backend.path(f"a/b/good{PARTIAL}0123456789ab").write_bytes(b"half")
    for name in ("x.partial-net", "y.partial-0123456789abc", "z.partial-0123456789ab.json"):
        backend.write(f"a/b/{name}", b"1")
    assert backend.list("a/b") == ["good", "x.partial-net", "y.partial-0123456789abc", "z.partial-0123456789ab.json"]
    assert len(list(backend.walk("a"))) == 5


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("verb", ["write", "create", "write_all"])
def test_full_disk_names_needed_and_free_bytes(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, number: int, verb: str
) -> None:
    monkeypatch.setattr(os, "fsync", failing(number))
    monkeypatch.setattr(LocalBackend, "free_bytes", lambda _self: 4321)
    (backend.root / "a").mkdir(parents=True)
    arguments = [{"a/b": b"x" * 12_345}] if verb == "write_all" else ["a/b", b"x" * 12_345]
    with pytest.raises(StorageError, match=r"12,345 bytes needed, 4,321 free") as caught:
        getattr(backend, verb)(*arguments)
    assert str(backend.path("a/b")) in str(caught.value)
    assert os.listdir(backend.root / "a") == []


def test_input_output_error_is_a_storage_error(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    backend.write("a", b"kept")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", failing(errno.EIO))
        with pytest.raises(StorageError, match="Input/output error"):
            backend.write("a", b"new")
    assert backend.read("a") == b"kept"


@pytest.mark.parametrize("at_most", [0, 3, 4, 5, 10**15, 10**30])
def test_no_more_room_is_made_than_there_are_bytes(backend: LocalBackend, at_most: int) -> None:
    backend.write("a", b"1234")
    assert backend.read("a", at_most) == b"1234"[: at_most + 1]


def test_a_folder_that_vanishes_under_a_write_is_told(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "replace", failing(errno.ENOENT))
    with pytest.raises(StorageError, match="lost its folder while it was written"):
        backend.write("a/b", b"1")


def test_creation_whose_answer_was_lost_is_ours(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over NFS the answer to a ``link`` may be lost: the client repeats it, and is told that the file exists."""
    link = os.link

    def repeated(*arguments: Path) -> None:
        link(*arguments)
        link(*arguments)

    monkeypatch.setattr(os, "link", repeated)
    assert backend.create("m", b"1")
    assert not backend.create("m", b"2")
    assert backend.read("m") == b"1"
    assert os.listdir(backend.root) == ["m"]


def test_a_removed_folder_is_gone_at_once(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is killed while he removes files one by one leaves nothing under the folder's name."""
    backend.write_all({"a/b/c": b"1", "a/d": b"1"})
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", failing(errno.EIO))
        with pytest.raises(StorageError, match="Input/output error"):
            backend.remove("a")
    assert not backend.exists("a")
    assert all(PARTIAL in file.path for file in backend.walk(""))


def test_copies_are_links(backend: LocalBackend) -> None:
    backend.write("a", b"1")
    backend.copy_all({"x/b": "a"})
    assert os.path.samefile(backend.path("a"), backend.path("x/b"))
    backend.copy_all({"x/b": "a"})
    assert backend.read("x/b") == b"1"


@pytest.mark.parametrize("number", [errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EXDEV])
def test_bytes_are_copied_where_links_are_not_to_be_had(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    backend.write("a", b"1")
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", failing(number))
        backend.copy_all({"x/b": "a"})
        with pytest.raises(FileNotFoundError):
            backend.copy_all({"x/c": "nothing"})
    assert backend.read("x/b") == b"1"
    assert not os.path.samefile(backend.path("a"), backend.path("x/b"))


def test_a_link_that_fails_otherwise_is_told(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    backend.write("a", b"1")
    monkeypatch.setattr(os, "link", failing(errno.EIO))
    with pytest.raises(StorageError, match="Input/output error"):
        backend.copy_all({"b": "a"})


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe"])
def test_what_is_no_file_is_refused_and_never_waited_for(backend: LocalBackend, kind: str) -> None:
    backend.write("a", b"1")
    if kind == "pipe":
        os.mkfifo(backend.path("b"))
    else:
        backend.path("b").symlink_to(backend.path("a" if kind == "link" else "nothing"))
    for read in (backend.read, lambda path: backend.read_into(path, [memoryview(bytearray(1))])):
        with pytest.raises(RefusedError, match="is a link, a pipe or a device"):
            read("b")


def test_a_link_to_a_folder_is_not_walked_into(backend: LocalBackend) -> None:
    backend.write("a/b", b"1")
    backend.path("a/up").symlink_to(backend.path("a"))
    assert [file.path for file in backend.walk("a")] == ["a/b", "a/up"]


@pytest.fixture
def unprivileged() -> Iterator[LocalBackend]:
    """A cache in a folder that everybody may enter and only its owner may write, seen by somebody else."""
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    backend = LocalBackend(root)
    backend.write("a/b", b"1")
    user = os.geteuid()
    backend.path("a").chmod(0o555)
    if user == 0:
        os.seteuid(NOBODY)
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
    assert not unprivileged.may_write("a")
    assert not unprivileged.may_write("a/new/folder")


def close_folder(backend: LocalBackend) -> None:
    """Take all rights on a folder away, whoever is looking."""
    user = os.geteuid()
    if user == NOBODY:
        os.seteuid(0)
    backend.path("a").chmod(0o000)
    os.seteuid(user)


def test_unreadable_folder_is_not_an_absent_one(unprivileged: LocalBackend) -> None:
    close_folder(unprivileged)
    with pytest.raises(StorageError, match="Permission denied"):
        unprivileged.exists("a/b")
    with pytest.raises(StorageError, match="Permission denied"):
        unprivileged.read("a/b")
    with pytest.raises(StorageError, match="Permission denied"):
        unprivileged.list("a")
    with pytest.raises(StorageError, match="Permission denied"):
        list(unprivileged.walk(""))
    assert not unprivileged.may_write("a/b")


def test_a_place_that_can_be_written(backend: LocalBackend) -> None:
    assert backend.may_write("a/b")
    backend.check_writable()
    assert os.listdir(backend.root) == []


@pytest.fixture
def _umask_restored() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


WRITERS: dict[str, Callable[[LocalBackend, str], object]] = {
    "write": lambda backend, path: backend.write(path, b"1"),
    "create": lambda backend, path: backend.create(path, b"1"),
    "write_all": lambda backend, path: backend.write_all({path: b"1"}),
}


@pytest.mark.usefixtures("_umask_restored")
@pytest.mark.parametrize("verb", WRITERS)
@pytest.mark.parametrize(("umask", "file", "folder"), [(0o077, 0o600, 0o700), (0o002, 0o664, 0o775)])
def test_modes_follow_the_umask(backend: LocalBackend, verb: str, umask: int, file: int, folder: int) -> None:
    backend.root.mkdir()
    backend.root.chmod(0o777)  # without the setgid bit it is nobody's wish that what is made in it be shared
    os.umask(umask)
    WRITERS[verb](backend, "a/b/file")
    assert [mode_of(backend, path) for path in ("a/b/file", "a/b", "a")] == [file, folder, folder]
    WRITERS[verb](backend, "file")
    assert mode_of(backend, "file") == file


@pytest.mark.usefixtures("_umask_restored")
@pytest.mark.parametrize("verb", WRITERS)
@pytest.mark.parametrize("umask", [0o077, 0o002])
@pytest.mark.parametrize(("group", "file"), [(0o2775, 0o664), (0o2770, 0o660), (0o2750, 0o640)])
def test_a_groups_folder_hands_its_rights_on(
    backend: LocalBackend, verb: str, umask: int, group: int, file: int
) -> None:
    """What the umask takes from the group the folder gives back."""
    backend.root.mkdir()
    backend.root.chmod(group)
    os.umask(umask)
    WRITERS[verb](backend, "a/b/file")
    assert [mode_of(backend, path) for path in ("a", "a/b")] == [group | (0o775 & ~umask)] * 2
    assert mode_of(backend, "a/b/file") == file | (0o664 & ~umask)


@pytest.mark.usefixtures("_umask_restored")
def test_links_and_copies_are_shared_too(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    backend.root.mkdir()
    backend.root.chmod(0o2775)
    os.umask(0o077)
    backend.write("a/b", b"1")
    backend.copy_all({"c/linked": "a/b"})
    monkeypatch.setattr(os, "link", failing(errno.EXDEV))
    backend.copy_all({"c/copied": "a/b"})
    assert [mode_of(backend, path) for path in ("c", "c/linked", "c/copied")] == [0o2775, 0o664, 0o664]


@pytest.mark.usefixtures("_umask_restored")
def test_what_exists_keeps_its_mode(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    backend.root.mkdir()
    backend.root.chmod(0o2775)
    backend.write("a/b", b"1")
    backend.path("a").chmod(0o2700)
    backend.path("a/b").chmod(0o600)
    changed: list[str] = []
    monkeypatch.setattr(os, "chmod", lambda path, *_: changed.append(str(path)))
    backend.write("a/c", b"2")
    backend.create("a/d", b"2")
    backend.write_all({"a/e": b"2"})
    backend.copy_all({"a/f": "a/b"})
    assert changed == []
    assert (mode_of(backend, "a"), mode_of(backend, "a/b"), mode_of(backend, "a/f")) == (0o2700, 0o600, 0o600)


@pytest.fixture
def synced(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths below the cache that were synced, in order; the cache itself is ``"."``."""
    backend.root.mkdir()
    paths: list[str] = []

    def fsync(descriptor: int) -> None:
        paths.append(os.path.relpath(os.readlink(f"/proc/self/fd/{descriptor}"), backend.root))

    monkeypatch.setattr(os, "fsync", fsync)
    return paths


@pytest.mark.parametrize("verb", ["write", "create"])
def test_every_file_is_synced_with_its_folder(backend: LocalBackend, synced: list[str], verb: str) -> None:
    WRITERS[verb](backend, "file")
    assert [PARTIAL in synced[0], *synced[1:]] == [True, "."]


def test_new_folders_are_synced_in_the_folders_above_them(backend: LocalBackend, synced: list[str]) -> None:
    backend.write("a/b/file", b"1")
    assert {".", "a", "a/b"} <= set(synced)
    assert synced[-1] == "a/b"


def test_many_files_are_synced_each_and_their_folders_once(backend: LocalBackend, synced: list[str]) -> None:
    backend.write_all({f"a/{folder}/{number}": b"1" for folder in "bc" for number in range(3)})
    files, folders = [path for path in synced if PARTIAL in path], [path for path in synced if PARTIAL not in path]
    assert sorted(path.partition(PARTIAL)[0] for path in files) == [
        "a/b/0",
        "a/b/1",
        "a/b/2",
        "a/c/0",
        "a/c/1",
        "a/c/2",
    ]
    assert sorted(folders) == [".", "a", "a/b", "a/c"]
    assert max(synced.index(path) for path in files) < min(synced.index(path) for path in ("a/b", "a/c"))


def test_what_is_recorded_is_synced_before_it_has_a_name(
    backend: LocalBackend, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    named: list[str] = []
    for verb in ("replace", "link"):
        true = getattr(os, verb)

        def naming(source: Path, target: Path, true: Callable[..., None] = true) -> None:
            named.append(os.path.relpath(target, backend.root))
            synced.append("a name")
            true(source, target)

        monkeypatch.setattr(os, verb, naming)
    backend.write_recorded({"parts/a": b"1", "parts/b": b"2"}, "done/0", lambda: b"3")
    assert named == ["parts/a", "parts/b", "done/0"]
    assert [path.partition(PARTIAL)[0] for path in synced] == [
        "parts/a", "parts/b", "done/0", "a name", "a name", "a name", ".", "parts", "done",
    ]  # fmt: skip


def test_files_whose_record_cannot_be_written_get_no_name(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    (backend.root / "parts").mkdir(parents=True)
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(StorageError, match="Input/output error"):
        backend.write_recorded({"parts/a": b"1"}, "done/0", lambda: b"2")
    assert [file.path for file in backend.walk("")] == []


def test_links_are_synced_in_all_new_folders(backend: LocalBackend, synced: list[str]) -> None:
    backend.write("a", b"1")
    synced.clear()
    backend.copy_all({"x/y/b": "a", "x/c": "a"})
    assert sorted(synced) == [".", "x", "x/y"]


def test_a_removal_is_synced(backend: LocalBackend, synced: list[str]) -> None:
    backend.write("a/b", b"1")
    synced.clear()
    backend.remove_file("a/b")
    assert synced == ["a"]
