"""Runs `fusion` in this process and hands back what it wrote and its exit code."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from click.testing import CliRunner

from fusion_pipeline.commands import main


@dataclass(frozen=True)
class Outcome:
    """What a command did: its exit code, stdout and stderr."""

    code: int
    output: str
    errors: str

    @property
    def document(self) -> Any:
        """The one JSON document that stdout holds, strictly parsed."""

        def refuse(name: str) -> float:
            raise ValueError(name)

        return json.loads(self.output, parse_constant=refuse)


def fusion(*arguments: str) -> Outcome:
    """Run a command."""
    result = CliRunner().invoke(main, arguments)
    return Outcome(result.exit_code, result.stdout, result.stderr)


def failure(code: int, *arguments: str) -> str:
    """Run a command that must fail with `code`, in plain words and again as JSON; return its one line."""
    plain = fusion(*arguments)
    assert plain.code == code, plain
    assert "Traceback" not in plain.errors
    lines = plain.errors.splitlines()
    assert lines[-1].startswith("Error: "), plain
    assert "\x1b" not in plain.errors
    as_json = fusion(*arguments, "--json")
    assert as_json.code == code
    assert as_json.document["error"]["exit_code"] == code
    assert as_json.document["error"]["message"] == lines[-1].removeprefix("Error: ")
    return lines[-1]
