"""Headless Chromium, as Debian's packages or a desktop have it, and what a page did in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass
class Seen:
    """A page that is open, and what it did: messages, errors, and requests for anything but itself."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser; the test is skipped where there is none, with what to install."""
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip("no Chromium: apt-get install chromium, or set CHROMIUM to a browser")
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    with playwright.sync_playwright() as started:
        # Root, as which containers run, gets no sandbox from Chromium; these pages are made here.
        browser = started.chromium.launch(executable_path=program, chromium_sandbox=False)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, path: Path, *, bypass_csp: bool = False, **options: Any) -> Iterator[Seen]:
    """Open a page in a context of its own, with the options of playwright's `new_context`."""
    context = browser.new_context(bypass_csp=bypass_csp, reduced_motion="reduce", **options)
    seen = Seen(context.new_page())
    seen.page.on("console", lambda message: seen.complaints.append(message.text))
    seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    seen.page.on("dialog", lambda dialog: (seen.complaints.append(dialog.message), dialog.dismiss()))
    seen.page.on("request", lambda request: seen.requests.append(request.url))
    seen.page.goto(path.as_uri())
    yield seen
    context.close()
