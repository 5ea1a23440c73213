"""The data of `fusion demo` into the pictures of docs/pictures: figures of a benchmark, and pages in a browser.

Photographs may not be passed on, scikit-learn's digits may. Without Chromium the screenshots stay as they are.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from fusion_pipeline.demo import BACKBONES, write_configuration, write_digits

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "pictures"

FIGURES = ("correct-experts", "distinct-votes", "confused-pair", "subsets")
THIRD = "efficientnet_lite2"  # beside the demo's own, as the tutorial adds it
THIRD_TABLE = f"\n[backbone.{THIRD}]\ninput_size = 64\ncrop_pct = 1.0\n"
ROWS = ("efficientnet*", "concat-softmax", "average", "stacking", "embedding")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DESKTOP = {"width": 1120, "height": 760}
PHONE = {"width": 390, "height": 760}
SCREENSHOTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "report-light": ("report", {"viewport": DESKTOP, "color_scheme": "light"}),
    "report-dark": ("report", {"viewport": DESKTOP, "color_scheme": "dark"}),
    "report-phone": ("report", {"viewport": PHONE, "color_scheme": "light"}),
    "explanation": ("explanation", {"viewport": DESKTOP, "color_scheme": "light"}),
}
"""By the name of the file: of which page, and how a browser shows it."""

COLOURS = 128  # a page has few; a picture of it is half as large so


def fusion(home: Path, *arguments: str) -> Any:
    """Run a command in a folder, and return its document."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FUSION_")}
    call = [sys.executable, ROOT / "cli.py", *arguments, "--json"]
    done = subprocess.run(call, cwd=home, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def benchmark(home: Path) -> Path:
    """Extract and benchmark the demo's data in a folder as the tutorial does, and return the run's folder."""
    write_digits(home)
    with write_configuration(home).open("a", encoding="utf-8") as configuration:
        configuration.write(THIRD_TABLE)
    backbones = ("--backbone", ",".join([*BACKBONES, THIRD]))
    fusion(home, "extract", *backbones)
    rows = [word for row in ROWS for word in ("--row", row)]
    found = fusion(home, "benchmark", *backbones, "--groups", "none", "--label-embedding", "none", *rows)
    return home / found["run"]


def figures(run: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the chosen figures of a run, each with the name of its file."""
    folder = Path(fusion(run, "analyze", str(run))["folder"])
    for name in FIGURES:
        yield f"{name}.svg", (folder / f"{name}.svg").read_bytes()


def pages(home: Path, run: Path) -> dict[str, Path]:
    """Write a report of a run, and an explanation of the scans that were held out; return both by their names."""
    fusion(home, "report", str(run), "--out", "report.html")
    fusion(home, "train", "--gate", "embedding")
    (model,) = (home / "runs").glob("digits-embedding-*/model")
    scans = sorted(str(scan.relative_to(home)) for scan in (home / "new").iterdir())
    fusion(home, "predict", str(model), *scans, "--explain", "explanation.html")
    return {name: home / f"{name}.html" for name in ("report", "explanation")}


def screenshots(home: Path, run: Path) -> Iterator[tuple[str, bytes]]:
    """Yield pictures of the pages, each with the name of its file; none, with a note, without a browser."""
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        print("No Chromium: the screenshots stay as they are. apt-get install chromium, or set CHROMIUM.")  # noqa: T201
        return
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - for those with a browser

    written = pages(home, run)
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, chromium_sandbox=False)  # root gets no sandbox
        for name, (page, options) in SCREENSHOTS.items():
            tab = browser.new_context(reduced_motion="reduce", **options).new_page()
            tab.goto(written[page].as_uri())
            yield f"{name}.png", shrunk(tab.screenshot())
        browser.close()


def shrunk(picture: bytes) -> bytes:
    """Return a PNG file with few colours."""
    out = io.BytesIO()
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS).save(out, format="png", optimize=True)
    return out.getvalue()


def main() -> None:
    """Make every picture anew."""
    TARGET.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "demo"
        run = benchmark(home)
        for name, content in (*figures(run), *screenshots(home, run)):
            (TARGET / name).write_bytes(content)
            print(f"docs/pictures/{name}: {len(content):,} bytes")  # noqa: T201


if __name__ == "__main__":
    main()
