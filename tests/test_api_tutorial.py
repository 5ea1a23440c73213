"""The tutorial of the Python API: every block runs, one after the other, and prints what it says."""

from __future__ import annotations

import doctest
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from threadpoolctl import threadpool_limits

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text: str) -> Iterator[tuple[int, str]]:
    """Yield the code blocks of a Markdown text, each with the number of lines before it."""
    for found in BLOCK.finditer(text):
        yield text[: found.start(1)].count("\n"), found.group(1)


@pytest.fixture
def names() -> Iterator[dict[str, Any]]:
    """Names that the blocks share."""
    with threadpool_limits(1):
        yield {}


def test_the_tutorial_prints_what_it_says(names: dict[str, Any]) -> None:
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    runner = doctest.DocTestRunner()
    told: list[str] = []
    for line, block in blocks(text):
        test = doctest.DocTestParser().get_doctest(block, names, "api.md", "docs/api.md", line)
        assert test.examples, f"docs/api.md, line {line}: a block without an example would run nothing"
        runner.run(test, out=told.append, clear_globs=False)
        names |= test.globs
    assert runner.summarize(verbose=False).attempted > 25
    assert told == []


def test_every_block_of_the_tutorial_is_run() -> None:
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    assert text.count(">>> ") == sum(block.count(">>> ") for _, block in blocks(text))
