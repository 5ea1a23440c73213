"""What a checkout runs is left alone by the caller's environment: the landing script, make and the tests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CALLERS = {"FUSION_CACHE": "/the/callers/cache", "FUSION_RUNS": "/the/callers/runs", "FUSION_TEST_DATA": "/photographs"}


def call(*command: str, cwd: Path, **environment: str) -> str:
    """Run a program with more variables; return its output."""
    variables = {**os.environ, **environment}
    run = subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def test_tests_never_see_the_callers_settings() -> None:
    program = "import os, tests.conftest\nprint(*(name for name in os.environ if name.startswith('FUSION_')))"
    assert call(sys.executable, "-c", program, cwd=ROOT, **CALLERS).split() == ["FUSION_TEST_DATA"]


@pytest.mark.skipif(not (ROOT / ".ci" / "run").exists(), reason="an sdist has no landing script")
def test_a_landing_never_sees_the_callers_settings(tmp_path: Path) -> None:
    (tmp_path / "checkout").mkdir()
    shutil.copytree(ROOT / ".ci", tmp_path / "checkout" / ".ci")
    write_program(tmp_path / "bin" / "make", "#!/bin/sh\nenv\n")
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    shown = call("bash", ".ci/run", cwd=tmp_path / "checkout", **CALLERS, PATH=path).splitlines()
    assert [line for line in shown if line.startswith("FUSION_")] == ["FUSION_TEST_DATA=/photographs"]


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_make_installs_one_thing_at_a_time(tmp_path: Path) -> None:
    """Two installers in one environment at once would spoil it; this one fails if another is at work."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    write_program(tmp_path / ".venv" / "bin" / "uv", "#!/bin/sh\nmkdir busy && sleep 0.5 && rmdir busy\n")
    call("make", "-j", "4", ".venv/.demo", ".venv/.dev", cwd=tmp_path, MAKEFLAGS="")


def test_commands_that_tests_start_can_be_interrupted(tmp_path: Path) -> None:
    """Under nohup and in some CI, SIGINT is ignored, and child processes inherit that."""
    program = (
        "import signal\nfrom tests import processes\n"
        "processes.main = lambda *_, **__: print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)\n"
        f"processes._main({str(tmp_path)!r}, (), {str(tmp_path / 'out')!r}, {str(tmp_path / 'err')!r})\n"
    )
    ignoring = f"import os, signal, sys\nsignal.signal({int(signal.SIGINT)}, signal.SIG_IGN)\n"
    start = f"{ignoring}os.execv(sys.executable, [sys.executable, '-c', {program!r}])"
    call(sys.executable, "-c", start, cwd=ROOT, PYTHONPATH=str(ROOT))
    assert (tmp_path / "out").read_text() == "True\n"
