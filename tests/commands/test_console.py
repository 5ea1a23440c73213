"""Whatever ends a command becomes one line and the documented exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fusion_pipeline import errors
from fusion_pipeline.commands.console import Console
from tests.commands.made import failure, fusion

CODES = {
    "UsageError": 2,
    "IncompleteError": 10,
    "BusyError": 11,
    "IntegrityError": 12,
    "FormatError": 13,
    "StaleError": 14,
    "StorageError": 15,
    "DeniedError": 15,
    "BrokenFileError": 15,
    "RefusedError": 16,
    "UnusableDataError": 17,
    "ClusterError": 18,
}


@pytest.fixture
def ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Make `fusion cache ls` call a function, which may end it."""
    monkeypatch.chdir(tmp_path)

    def ends_with(call: Callable[[], object]) -> None:
        monkeypatch.setattr("fusion_pipeline.store.Cache.__init__", lambda *_, **__: call())
        monkeypatch.setattr("fusion_pipeline.store.Cache.__iter__", lambda _: iter(()))
        monkeypatch.setattr("fusion_pipeline.store.Cache.location", "here", raising=False)

    return ends_with


def raising(error: BaseException) -> Callable[[], object]:
    def call() -> None:
        raise error

    return call


def test_every_kind_of_failure_has_its_code() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and kind is not errors.FusionError]
    assert {kind.__name__: kind.exit_code for kind in kinds} == CODES


@pytest.mark.parametrize(("kind", "code"), CODES.items())
def test_failures_end_with_their_code(ending: Callable[..., None], kind: str, code: int) -> None:
    ending(raising(getattr(errors, kind)("Something is wrong. Do this.")))
    assert failure(code, "cache", "ls") == "Error: Something is wrong. Do this."
    assert fusion("cache", "ls", "--json").document["error"]["kind"] == kind


def test_a_reader_that_goes_away(ending: Callable[..., None]) -> None:
    ending(raising(BrokenPipeError()))
    outcome = fusion("cache", "ls")
    assert (outcome.code, outcome.output, outcome.errors) == (141, "", "")


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_pipe_that_is_broken(tmp_path: Path, options: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    program = "from fusion_pipeline.commands import main\nmain()"
    try:
        command = (sys.executable, "-c", program, "backbones", *options)
        run = subprocess.run(
            command, cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120, check=False
        )
    finally:
        os.close(writer)
    assert run.returncode == 141
    assert "Error" not in run.stderr
    assert "Exception" not in run.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals(ending: Callable[..., None], number: signal.Signals, code: int) -> None:
    before = signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    try:
        ending(lambda: signal.raise_signal(number))
        assert "the same command starts anew" in failure(code, "cache", "ls")
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_that_the_caller_ignores_stay_ignored(ending: Callable[..., None], number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        ending(lambda: signal.raise_signal(number))
        assert fusion("cache", "ls").code == 0
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_documents_hold_no_number_that_json_does_not_know(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        Console(json_wanted=True, debug=False).document({"accuracy": value})
