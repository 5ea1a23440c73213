"""What is built and shipped: one top-level package, no store, and a command that works far from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHIPPED = ("fusion_pipeline", "cache/README.md", "cli.py", "LICENSE", "README.md", "pyproject.toml", ".gitignore")
UV = Path(sys.executable).with_name("uv")

pytestmark = pytest.mark.slow


def call(*command: str | Path, cwd: Path) -> str:
    """Run a program as a user would, outside any environment; return its output."""
    hidden = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    run = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build sdist and wheel in a copy of the checkout whose cache holds a store; return their folder."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in SHIPPED:
        source, target = ROOT / name, checkout / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    for stray in ("cache/flowers/xception-0123/manifest.json", "runs/one/model/model.json", "fusion-demo/fusion.toml"):
        path = checkout / stray
        path.parent.mkdir(parents=True)
        path.write_text("{}")
    builder = (UV, "build", "--quiet") if UV.exists() else (sys.executable, "-m", "build")
    call(*builder, "--out-dir" if UV.exists() else "--outdir", checkout / "dist", cwd=checkout)
    return checkout / "dist"


def test_the_wheel_owns_one_name(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"fusion_pipeline"}
    assert len(tops) == 2
    expected = {str(path.relative_to(ROOT)) for path in (ROOT / "fusion_pipeline").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == expected
    templates = {str(path.relative_to(ROOT)) for path in (ROOT / "fusion_pipeline").rglob("templates/*")}
    assert "fusion_pipeline/analysis/report/templates/page.css" in templates
    assert templates <= set(names)


def test_the_sdist_holds_the_specification_and_no_store(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert "cache/README.md" in names
    assert "fusion_pipeline/store/layout.py" in names
    assert [name for name in names if name.startswith(("cache/flowers", "runs", "fusion-demo", "dist"))] == []


def test_the_command_works_in_a_fresh_environment(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    call(sys.executable, "-m", "venv", *(("--without-pip",) if UV.exists() else ()), tmp_path / "venv", cwd=tmp_path)
    binaries = tmp_path / "venv" / "bin"
    if UV.exists():
        call(UV, "pip", "install", "--quiet", "--python", binaries / "python", wheel, cwd=tmp_path)
        call(binaries / "python", "-c", "import fusion_pipeline.predict, fusion_pipeline.demo", cwd=tmp_path)
    else:
        call(binaries / "python", "-m", "pip", "install", "--quiet", "--no-deps", wheel, cwd=tmp_path)
        call(binaries / "python", "-m", "pip", "install", "--quiet", "click", cwd=tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert call(binaries / "fusion", "--help", cwd=elsewhere).startswith("Usage: fusion")
    assert list(elsewhere.iterdir()) == []
