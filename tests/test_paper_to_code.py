"""The map from the paper to the code: what it names is there, and it leaves out nothing of the paper."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "paper-to-code.md").read_text(encoding="utf-8")
QUOTED = re.compile(r"`([^`\n]+)`")
JOINTS = {" ", ", ", " and "}  # between a file and its names; anything else ends them


def named(text: str) -> Iterator[tuple[str, str]]:
    """Yield every file that a page names, with an empty name, and each name that follows a file."""
    file, end = "", 0
    for found in QUOTED.finditer(text):
        word = found.group(1)
        joined = " ".join(text[end : found.start()].split("\n")) in JOINTS
        if re.fullmatch(r"[\w/]+\.py", word):
            file = word
            yield file, ""
        elif joined and file and re.fullmatch(r"[A-Za-z_][\w.]*", word):
            yield file, word
        else:
            file = ""
        end = found.end()


def place(file: str) -> Path:
    """Return the file that the page means by a path below the package or below the tests."""
    return ROOT / ("tests" if Path(file).name.startswith("test_") else "fusion_pipeline") / file


@cache
def names_in(path: Path) -> frozenset[str]:
    """Return the functions and classes of a file, the latter's methods as `Class.method`."""
    definitions = (ast.FunctionDef, ast.ClassDef)
    top = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, definitions)]
    methods = [
        f"{each.name}.{node.name}"
        for each in top
        if isinstance(each, ast.ClassDef)
        for node in each.body
        if isinstance(node, definitions)
    ]
    return frozenset([*(each.name for each in top), *methods])


def rows(text: str) -> dict[str, str]:
    """Return the rows of all tables of a page by their first cells."""
    lines = [line.strip("| ").split(" | ", 1) for line in text.splitlines() if line.startswith("| ")]
    return {cells[0]: cells[1] for cells in lines if len(cells) == 2}


def missing(text: str) -> list[str]:
    """Return what a page names that is not there."""
    return [
        f"{file} {name}"
        for file, name in named(text)
        if not place(file).is_file() or (name and name not in names_in(place(file)))
    ]


def test_everything_that_it_names_is_there() -> None:
    assert missing(PAGE) == []
    assert len(list(named(PAGE))) > 100


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("`train/mixture.py` `fuse`", []),
        ("`train/mixture.py`, `no_such` in it", ["train/mixture.py no_such"]),
        ("`train/test_mixture.py`\n`test_equation_3_by_hand`, `test_no`", ["train/test_mixture.py test_no"]),
        ("`train/no_such.py`", ["train/no_such.py "]),
        (
            "`train/classifier.py` `FusionClassifier.fit`, `FusionClassifier.fits`",
            ["train/classifier.py FusionClassifier.fits"],
        ),
        ("`train/gates/cnn.py` `ThumbnailGate` (`cnn32`)", []),
    ],
)
def test_what_is_not_there_is_found(text: str, wrong: list[str]) -> None:
    assert missing(text) == wrong


@pytest.mark.parametrize("equations", ["1, 2", "3, 4", "5", "6", "7", "8", "9"])
def test_every_equation_has_a_function_and_a_test(equations: str) -> None:
    assert has_a_function_and_a_test(rows(PAGE)[equations])


FIGURES = ("Figure 1", "Figure 2", "Figure 3A", "Figure 3B", "Figure 4", "Figure 5", "Figure 6A-D", "Figure 6E-I")


@pytest.mark.parametrize("figure", [*FIGURES, "end of Section 2"])
def test_every_figure_has_a_function_and_a_test(figure: str) -> None:
    assert has_a_function_and_a_test(rows(PAGE)[figure])


@pytest.mark.parametrize("heading", ["Rows of Table 2", "Data sets of Table 1"])
def test_every_table_has_a_function_and_a_test(heading: str) -> None:
    assert has_a_function_and_a_test(PAGE.split(f"## {heading}\n")[1].split("\n## ")[0])


def has_a_function_and_a_test(text: str) -> bool:
    found = [(file, name) for file, name in named(text) if name]
    return {name.startswith("test_") for _, name in found} == {True, False}


def test_every_row_of_the_papers_tables_is_there() -> None:
    """Table 2's rows by the paper's names; Table 1's data sets are checked where they are read."""
    firsts = "; ".join(rows(PAGE.split("## Rows of Table 2\n")[1]))
    for name in ("Inception", "ResNet", "VGG-16", "VGG-19", "Xception", "all + SVM", "all + PCA + SVM"):
        assert name in firsts
    for name in ("MoE-Stacking", "MoE-Embedding", "MoE-CNN(32)", "MoE-CNN(64)", "the LE rows"):
        assert name in firsts
