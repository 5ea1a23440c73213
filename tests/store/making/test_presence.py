"""Who lives: asked of this machine's operating system, watched by the watcher's own clock elsewhere."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from fusion_pipeline.errors import StorageError
from fusion_pipeline.store.identity import canonical_json
from fusion_pipeline.store.making import presence as presence_module
from fusion_pipeline.store.making.presence import SILENT_SECONDS, Presence, Process, Watch
from fusion_pipeline.store.storage.backend import Backend
from fusion_pipeline.store.storage.local import LocalBackend
from tests.store.failpoints import process_of_its_own

WRITERS = "made/attempts/alpha/writers"
ELSEWHERE = replace(Process.this(), host="elsewhere", machine="another boot")


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> LocalBackend:
    return LocalBackend(tmp_path / "cache")


def leave_file(backend: Backend, process: Process, nonce: str = "0123", beat: int = 0) -> None:
    """Leave the file of a writer."""
    backend.write(f"{WRITERS}/{nonce}.json", canonical_json({**asdict(process), "beat": beat}))


def watch(backend: Backend, clock: Clock) -> Watch:
    return Watch(backend, WRITERS, clock=clock)


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing until it is told to end."""
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def process_of(child: subprocess.Popen[bytes]) -> Process:
    return replace(Process.this(), pid=child.pid, started=presence_module._started(child.pid))


def wait_until_it_ended(child: subprocess.Popen[bytes]) -> None:
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie


def test_this_process_lives() -> None:
    this = Process.this()
    assert this.lives() is True
    assert (this.pid, this.host) == (os.getpid(), os.uname().nodename)
    assert this.machine
    assert this.started


def test_another_process_lives_until_it_ends(child: subprocess.Popen[bytes]) -> None:
    process = process_of(child)
    assert process.lives() is True
    child.kill()
    wait_until_it_ended(child)
    assert Path(f"/proc/{child.pid}").exists()
    assert process.lives() is False  # a zombie
    child.wait()
    assert process.lives() is False


def test_a_later_process_with_the_same_number_is_another_one() -> None:
    assert replace(Process.this(), started="1").lives() is False


def hide_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mount /proc with hidepid, as far as it can be seen: nothing is there of other users' processes."""
    read_bytes = Path.read_bytes

    def hidden(path: Path) -> bytes:
        if path.match("/proc/*/stat"):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", hidden)


@pytest.mark.parametrize("allowed", [True, False])
def test_of_a_hidden_process_only_its_absence_can_be_told(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    process, kill = process_of(child), os.kill

    def refused(pid: int, signal: int) -> None:
        kill(pid, signal)
        if not allowed:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    hide_other_processes(monkeypatch)
    monkeypatch.setattr(os, "kill", refused)
    assert process.lives() is None
    assert replace(process, pid=1 << 80).lives() is None
    child.communicate(b"\n")
    assert process.lives() is False


def test_a_hidden_writer_lives_as_long_as_its_file_changes(
    folder: LocalBackend, clock: Clock, child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_file(folder, process_of(child))
    hide_other_processes(monkeypatch)
    watching = watch(folder, clock)
    assert watching.lives("0123")
    assert not watching.is_surely_dead("0123")
    clock.time += SILENT_SECONDS
    assert not watching.lives("0123")
    assert not watching.is_surely_dead("0123")


def test_who_cannot_see_himself_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_other_processes(monkeypatch)
    assert (Process.this().started, Process.this().lives()) == ("", None)


@pytest.mark.parametrize("unknown", [{"machine": ""}, {"machine": "another boot"}, {"started": ""}])
def test_of_other_machines_nothing_can_be_told(unknown: dict[str, str]) -> None:
    assert replace(Process.this(), **unknown).lives() is None  # type: ignore[arg-type]


def test_the_name_of_a_program_may_hold_anything(tmp_path: Path) -> None:
    program = tmp_path / "a) Z 1 (b"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as child:
        try:
            deadline = time.monotonic() + 10
            while b") Z 1 (" not in Path(f"/proc/{child.pid}/stat").read_bytes():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert process_of(child).lives() is True
        finally:
            child.kill()


def test_who_joins_is_there_until_he_leaves(backend: Backend, clock: Clock) -> None:
    one, two = Presence(backend, WRITERS), Presence(backend, WRITERS)
    watching = watch(backend, clock)
    assert sorted(watching.writers()) == sorted([one.nonce, two.nonce])
    assert one.nonce != two.nonce
    assert watching.lives(one.nonce)
    assert watching.is_surely_alive(one.nonce)
    assert not watching.is_surely_dead(one.nonce)
    assert watching.describe(one.nonce) == f"process {os.getpid()} on {os.uname().nodename}"
    one.leave()
    assert watching.writers() == [two.nonce]
    assert not watching.lives(one.nonce)
    assert not watching.is_surely_alive(one.nonce)
    assert watching.is_surely_dead(one.nonce)
    two.leave()
    two.leave()


def test_a_dead_process_of_this_machine_is_dead_at_once(folder: LocalBackend, clock: Clock) -> None:
    watching = watch(folder, clock)
    with process_of_its_own():
        dying = Presence(folder, WRITERS)
        assert watching.lives(dying.nonce)
        assert watching.is_surely_alive(dying.nonce)
    assert watching.writers() == [dying.nonce]
    assert not watching.lives(dying.nonce)
    assert watching.is_surely_dead(dying.nonce)


def test_a_living_process_of_this_machine_lives_however_silent(folder: LocalBackend, clock: Clock) -> None:
    leave_file(folder, Process.this())
    watching = watch(folder, clock)
    assert watching.lives("0123")
    clock.time += 1_000_000
    assert watching.lives("0123")


def test_elsewhere_lives_who_keeps_changing(folder: LocalBackend, clock: Clock) -> None:
    watching = watch(folder, clock)
    for beat in range(10):
        leave_file(folder, ELSEWHERE, beat=beat)
        assert watching.lives("0123")
        clock.time += SILENT_SECONDS - 1
        assert watching.lives("0123")
    clock.time += 2
    assert not watching.lives("0123")
    leave_file(folder, ELSEWHERE, beat=10)
    assert watching.lives("0123")


def test_elsewhere_silence_counts_from_the_first_look(folder: LocalBackend, clock: Clock) -> None:
    leave_file(folder, ELSEWHERE)
    clock.time += 10 * SILENT_SECONDS
    watching = watch(folder, clock)
    assert watching.lives("0123")
    clock.time += SILENT_SECONDS - 1
    assert watching.lives("0123")
    clock.time += 1
    assert not watching.lives("0123")


def test_elsewhere_nothing_is_ever_sure(folder: LocalBackend, clock: Clock) -> None:
    leave_file(folder, ELSEWHERE)
    watching = watch(folder, clock)
    watching.lives("0123")
    clock.time += 10 * SILENT_SECONDS
    assert not watching.lives("0123")
    assert not watching.is_surely_dead("0123")
    assert not watching.is_surely_alive("0123")


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_clock_that_is_off_steals_nothing(folder: LocalBackend, clock: Clock, hours: int) -> None:
    """Neither the time of the file nor the time of day of anybody is looked at."""
    leave_file(folder, ELSEWHERE)
    written = folder.path(f"{WRITERS}/0123.json")
    os.utime(written, (time.time() + 3600 * hours,) * 2)
    clock.time = time.time() + 3600 * hours
    watching = watch(folder, clock)
    assert watching.lives("0123")
    clock.time += SILENT_SECONDS - 1
    os.utime(written, (0, 0))
    assert watching.lives("0123")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"3", b"{}", b"[" * 100_000, b'{"host":"h","pid":Infinity,"machine":"m","started":"s"}'],
    ids=lambda content: content[:40].decode(),
)
def test_a_damaged_file_is_watched_like_any_other(folder: LocalBackend, clock: Clock, content: bytes) -> None:
    folder.write(f"{WRITERS}/0123.json", content)
    watching = watch(folder, clock)
    assert watching.lives("0123")
    assert not watching.is_surely_dead("0123")
    assert watching.describe("0123") == "process 0 on an unknown machine"
    clock.time += SILENT_SECONDS
    assert not watching.lives("0123")


def test_who_is_described_cannot_trick_a_terminal(folder: LocalBackend, clock: Clock) -> None:
    leave_file(folder, replace(ELSEWHERE, host="evil\x1b[2J"))
    assert "\x1b" not in watch(folder, clock).describe("0123")


class Recording(LocalBackend):
    """A folder that remembers what was written, and may fail."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.written: list[dict[str, Any]] = []
        self.broken = False
        self.enough = threading.Event()

    def write(self, path: str, content: bytes) -> None:
        self.written.append(json.loads(content))
        if len(self.written) >= 4:
            self.enough.set()
        if self.broken:
            raise StorageError("gone for now")
        super().write(path, content)


def test_a_presence_is_kept_fresh_even_over_failures(tmp_path: Path) -> None:
    backend = Recording(tmp_path)
    presence = Presence(backend, WRITERS, beat=0.01)
    backend.broken = True
    assert backend.enough.wait(10)
    presence.leave()
    beats = [written["beat"] for written in backend.written]
    assert beats == list(range(len(beats)))
    assert {written["pid"] for written in backend.written} == {os.getpid()}


def test_who_has_left_does_not_come_back(tmp_path: Path) -> None:
    """A beat that is under way when its writer leaves is waited for."""

    class Slow(Recording):
        def write(self, path: str, content: bytes) -> None:
            if self.written:
                self.enough.set()
                time.sleep(0.2)
            super().write(path, content)

    backend = Slow(tmp_path)
    presence = Presence(backend, WRITERS, beat=0.01)
    assert backend.enough.wait(10)
    presence.leave()
    time.sleep(0.3)
    assert backend.list(WRITERS) == []


def test_a_storage_that_fails_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = LocalBackend(tmp_path)
    presence = Presence(backend, WRITERS)
    removed: list[str] = []
    monkeypatch.setattr(LocalBackend, "remove_file", lambda _self, path: removed.append(path))
    backend.failing = True
    presence.leave()
    assert removed == []
