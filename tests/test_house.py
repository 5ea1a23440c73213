"""The shape of the package: imports point one way, heavy libraries load late, every file says what it is."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import fusion_pipeline
from fusion_pipeline.store import Cache, Store
from fusion_pipeline.train.classifier import FusionClassifier

PACKAGE = Path(__file__).parents[1] / "fusion_pipeline"
MODULES = sorted(PACKAGE.rglob("*.py"))

LAYERS = {
    "commands": {
        "cluster",
        "analysis",
        "predict",
        "demo",
        "train",
        "extract",
        "store",
        "images",
        "executors",
        "config",
        "errors",
    },
    "demo": {"errors"},
    "predict": {"train", "extract", "store", "images", "errors"},
    "analysis": {"train", "store", "images", "errors"},
    "train": {"store", "executors", "errors"},
    "extract": {"store", "images", "errors"},
    "store": {"errors"},
    "images": {"errors"},
    "executors": {"errors"},
    "cluster": {"executors", "errors"},
    "config": {"errors"},
    "errors": set(),
    "": {"store", "train"},  # the package itself: what a notebook imports, on first use
}
"""What each part of the package may import."""

# Which part may load what, anywhere in its files.
RESTRICTED = {
    "dask": {"executors", "cluster"},
    "distributed": {"cluster"},
    "torch": {"extract", "train"},
    "timm": {"extract"},
    "torchvision": {"extract"},
    "zarr": {"store"},
    "sklearn": {"train", "demo", "analysis"},
    "matplotlib": {"analysis"},
    "jinja2": {"analysis"},
    "markupsafe": {"analysis"},
    "scipy": {"train", "images"},
    "click": {"commands"},
    "tqdm": {"commands"},
    "PIL": {"images", "extract", "demo", "analysis"},
    "pyarrow": {"store", "images", "train"},
    "obstore": {"store"},
    "pooch": {"images"},
    "requests": {"images"},
}


def part_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first in ("__init__", "__main__") else first


def imports(path: Path) -> Iterator[str]:
    """Yield the dotted name of every import in a file, those inside functions included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    part = part_of(path)
    inside = {name.split(".")[1] for name in imports(path) if name.startswith("fusion_pipeline.")}
    assert inside - {"__version__", part} <= LAYERS[part]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_libraries_stay_in_their_parts(path: Path) -> None:
    loaded = {name.split(".")[0] for name in imports(path)}
    assert {name for name in loaded & set(RESTRICTED) if part_of(path) not in RESTRICTED[name]} == set()


@pytest.mark.parametrize(("inner", "outer"), [("storage", "making care"), ("making", "care"), ("", "making care")])
def test_reading_a_store_needs_nothing_of_what_makes_or_tends_one(inner: str, outer: str) -> None:
    for path in (PACKAGE / "store" / inner).glob("*.py"):
        assert not {name for name in imports(path) for part in outer.split() if f"store.{part}" in name}, path


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_file_opens_with_one_sentence(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    docstring = ast.get_docstring(tree)
    assert docstring is not None
    sentence = docstring.split("\n\n")[0]
    assert sentence.rstrip().endswith(".")
    assert ". " not in sentence.replace("Eq. ", "")
    assert len(text.splitlines()) <= 400
    assert len(tree.body) == 1 or "from __future__ import annotations" in text


def test_no_function_is_longer_than_a_screen() -> None:
    long = {
        f"{path.relative_to(PACKAGE)}:{node.name}": length
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and (length := body_lines(node)) > 40
    }
    assert long == {}


def body_lines(function: ast.FunctionDef) -> int:
    """Return the number of lines of a function's body without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return 0 if not body else (body[-1].end_lineno or 0) - body[0].lineno + 1


def test_nobody_imports_the_commands() -> None:
    for path in MODULES:
        if part_of(path) != "commands":
            assert not any(name.startswith("fusion_pipeline.commands") for name in imports(path)), path


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import fusion_pipeline", {"torch", "sklearn", "dask", "zarr", "timm", "numpy", "click"}),
        ("import fusion_pipeline.store", {"torch", "sklearn", "dask", "timm", "PIL", "click", "scipy"}),
        ("from fusion_pipeline import Cache", {"torch", "sklearn", "dask", "timm", "click"}),
        ("import fusion_pipeline.images.index, fusion_pipeline.images.decode", {"torch", "zarr", "sklearn", "dask"}),
        ("import fusion_pipeline.train.experts", {"torch", "timm", "dask", "click"}),
        ("import fusion_pipeline.config", {"torch", "zarr", "numpy", "sklearn", "dask", "click"}),
        ("import fusion_pipeline.executors", {"torch", "zarr", "sklearn", "dask", "click"}),
    ],
)
def test_what_an_import_loads(statement: str, forbidden: set[str]) -> None:
    assert forbidden & loaded_by(f"{statement}\n") == set()


def test_help_loads_nothing_heavy() -> None:
    program = "from fusion_pipeline.commands import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
    loaded = loaded_by(program)
    assert "click" in loaded
    assert {
        "torch",
        "timm",
        "torchvision",
        "numpy",
        "zarr",
        "sklearn",
        "scipy",
        "dask",
        "PIL",
        "tqdm",
        "matplotlib",
    } & loaded == set()


def loaded_by(program: str) -> set[str]:
    """Return the top-level packages that a fresh interpreter has loaded after a program."""
    program += "import sys\nprint('loaded', *{name.split('.')[0] for name in sys.modules})"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PACKAGE.parent, timeout=120
    )
    return set(run.stdout.splitlines()[-1].split()[1:])


def test_the_package_offers_what_a_notebook_needs() -> None:
    assert (fusion_pipeline.Cache, fusion_pipeline.Store) == (Cache, Store)
    assert fusion_pipeline.FusionClassifier is FusionClassifier
    assert dir(fusion_pipeline) == sorted(fusion_pipeline.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Kache'"):
        _ = fusion_pipeline.Kache


def test_a_checkout_has_the_command_too() -> None:
    run = subprocess.run(
        [sys.executable, "cli.py", "--version"],
        capture_output=True,
        text=True,
        check=True,
        cwd=PACKAGE.parent,
        timeout=120,
    )
    assert run.stdout == f"fusion, version {fusion_version()}\n"


def fusion_version() -> str:
    """Return the version as pyproject.toml states it."""
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["version"])
