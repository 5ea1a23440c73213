"""The pictures of the documents: each is made by the script that `make docs` runs, which does without a browser."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_pictures", DOCS / "make_pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_pictures_are_those_that_it_makes(script: ModuleType) -> None:
    made = {f"{name}.svg" for name in script.FIGURES} | {f"{name}.png" for name in script.SCREENSHOTS}
    assert {path.name for path in (DOCS / "pictures").iterdir()} == made


def test_without_a_browser_screenshots_stay_and_it_says_so(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert list(script.screenshots(tmp_path, tmp_path)) == []
    assert "the screenshots stay as they are" in capsys.readouterr().out


def test_a_page_keeps_its_look_in_fewer_bytes(script: ModuleType) -> None:
    ramp = np.linspace(0, 255, 300 * 200 * 3).reshape(200, 300, 3).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(ramp).save(out, format="png", compress_level=0)
    small = script.shrunk(out.getvalue())
    assert len(small) < len(out.getvalue()) / 3
    seen = np.asarray(Image.open(io.BytesIO(small)).convert("RGB")).astype(int)
    assert np.abs(seen - ramp).mean() < 4
