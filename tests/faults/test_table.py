"""The table of README.md names tests that are there, for every row that it promises."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
TABLE = (HERE / "README.md").read_text(encoding="utf-8")
PROMISED = {*range(1, 29)}


def test_every_row_is_there() -> None:
    assert {int(number) for number in re.findall(r"^\| (\d+) \|", TABLE, re.MULTILINE)} == PROMISED


def test_every_test_is_there() -> None:
    named = re.findall(r"`((?:tests/[\w/]+/)?test_\w+\.py)(?:::(test_\w+))?`", TABLE)
    assert len(named) > len(PROMISED)
    for file, test in named:
        path = HERE.parents[1] / file if file.startswith("tests/") else HERE / file
        text = path.read_text(encoding="utf-8")
        assert not test or f"def {test}(" in text, f"{file}::{test}"
