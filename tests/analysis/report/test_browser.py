"""The pages in a browser: filters, keys, both colour schemes, a phone's width, print, and what axe-core finds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusion_pipeline.analysis.report.explanation import Explained, explain
from fusion_pipeline.analysis.report.report import Report
from tests.analysis.report.browsers import Seen, chromium, opened
from tests.analysis.report.made import CLASSES

__all__ = ["chromium"]

pytestmark = [pytest.mark.browser, pytest.mark.slow]

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}
SIZES = {"desktop": DESKTOP, "phone": PHONE}


@pytest.fixture(scope="module")
def pages(report: Report, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The two pages as files."""
    folder = tmp_path_factory.mktemp("pages")
    photographs = [
        Explained(
            "<img src=x onerror=alert(2)>.jpg",
            np.full((64, 64, 3), 90 * number, np.uint8),
            dict(zip(CLASSES, (0.7, 0.2, 0.1), strict=True)),
            {"alpha": 0.25, "beta": 0.75},
            {"alpha": (CLASSES[1], 0.5), "beta": (CLASSES[0], 0.8)},
        )
        for number in range(2)
    ]
    notes = ["the model's gate learned nothing better than averaging: every expert has the same weight."]
    texts = {"report": report.html, "explanation": explain(photographs, notes, ["skipped <b>.jpg: empty file"])}
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in texts}


@pytest.fixture
def seen(chromium: Any, pages: dict[str, Path]) -> Iterator[Seen]:
    """The report, open on a desktop."""
    with opened(chromium, pages["report"], viewport=DESKTOP) as found:
        yield found


@pytest.mark.parametrize("name", ["report", "explanation"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_a_page_is_quiet_and_fits(
    chromium: Any, pages: dict[str, Path], tmp_path: Path, name: str, scheme: str, size: str
) -> None:
    """No message, no error, no request; nothing wider than the window; and a picture of it, to be looked at."""
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    with opened(chromium, pages[name], viewport=SIZES[size], color_scheme=scheme) as found:
        found.page.screenshot(path=folder / f"{name}-{scheme}-{size}.png")
        found.page.screenshot(path=folder / f"{name}-{scheme}-{size}-whole.png", full_page=True)
        assert found.page.evaluate("document.documentElement.scrollWidth") == SIZES[size]["width"]
        paper = found.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, paper.strip("rgb()").split(","))) > 384) == (scheme == "light")
    assert found.complaints == []
    assert found.requests == [pages[name].as_uri(), *(url for url in found.requests[1:] if url.startswith("data:"))]
    assert len({path.stat().st_size for path in folder.glob(f"{name}-{scheme}-{size}*.png")}) == 2


@pytest.mark.parametrize("name", ["report", "explanation"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(chromium: Any, pages: dict[str, Path], name: str, scheme: str) -> None:
    """With the details of an image open as well."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="no axe: pip install axe-playwright-python"
    )
    with opened(chromium, pages[name], viewport=DESKTOP, color_scheme=scheme, bypass_csp=True) as found:
        assert violations(axe, found) == []
        if name == "report":
            found.page.click(".card")
            assert violations(axe, found) == []


def violations(axe: Any, seen: Seen) -> list[str]:
    """Return what axe-core calls serious or critical, with the first place of each."""
    response = axe.Axe().run(seen.page).response
    assert response["passes"]
    return [
        f"{each['id']}: {each['help']}: {each['nodes'][0]['html'][:200]} ({len(each['nodes'])} times)"
        for each in response["violations"]
        if each["impact"] in ("serious", "critical")
    ]


def shown(seen: Seen) -> list[str]:
    """Return the text of every card that is shown."""
    return [str(text) for text in seen.page.locator("#cards > li:not([hidden])").all_text_contents()]


def count(seen: Seen) -> str:
    return str(seen.page.locator("#count").inner_text())


def test_filters(seen: Seen, report: Report) -> None:
    seen.page.select_option("#show", "2")
    mended = shown(seen)
    assert mended
    assert all("the gate mended it" in text for text in mended)
    assert count(seen) == f"{len(mended)} of 150 images match."
    seen.page.select_option("#class", "0")
    of_class = shown(seen)
    assert of_class == [text for text in mended if CLASSES[0] in text]
    assert 0 < len(of_class) < len(mended)
    seen.page.select_option("#trusted", "1")
    assert len(shown(seen)) < len(of_class)
    seen.page.click("button[type=reset]")
    # The page counts anew once the browser has emptied the fields, in a task of its own.
    seen.page.get_by_text("150 of 150 images match, the first 120 are shown.").wait_for(timeout=10_000)


def test_more_images_on_demand(seen: Seen) -> None:
    assert len(shown(seen)) == 120
    seen.page.get_by_role("button", name="Show 30 more").press("Enter")
    assert len(shown(seen)) == 150
    assert count(seen) == "150 of 150 images match."
    assert seen.page.evaluate("document.activeElement.closest('li') === document.querySelectorAll('#cards > li')[120]")
    assert not seen.page.is_visible("#more")


def test_search_in_names_and_labels(seen: Seen) -> None:
    seen.page.fill("#search", "ONERROR <img")
    (only,) = shown(seen)
    assert "<img src=x onerror=alert(1)>.jpg" in only
    seen.page.fill("#search", "no such flower")
    assert (shown(seen), count(seen)) == ([], "0 of 150 images match.")
    seen.page.fill("#search", "\\u202egpj")
    assert len(shown(seen)) >= 50


def test_keys(seen: Seen) -> None:
    """Tab comes to the content at once, and to one image; arrows go on; Enter tells, Escape comes back."""
    seen.page.keyboard.press("Tab")
    assert seen.page.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert seen.page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    seen.page.keyboard.press("Enter")
    assert seen.page.evaluate("document.activeElement.id") == "main"
    seen.page.focus("button[type=reset]")
    seen.page.keyboard.press("Tab")
    assert place(seen) == 0
    for key, expected in (
        ("ArrowRight", 1),
        ("ArrowLeft", 0),
        ("ArrowLeft", 0),
        ("ArrowDown", 7),
        ("End", 119),
        ("Home", 0),
    ):
        seen.page.keyboard.press(key)
        assert place(seen) == expected, key
    seen.page.keyboard.press("ArrowRight")
    seen.page.keyboard.press("Enter")
    assert seen.page.is_visible("#details")
    assert seen.page.evaluate("document.activeElement.textContent") == "Close"
    seen.page.keyboard.press("Escape")
    assert not seen.page.is_visible("#details")
    assert place(seen) == 1
    assert seen.page.locator("#cards .card[tabindex='0']").count() == 1


def place(seen: Seen) -> int:
    """Return which card has the focus."""
    found = "[...document.querySelectorAll('#cards .card')].indexOf(document.activeElement)"
    return int(seen.page.evaluate(found))


def test_the_focus_is_seen(seen: Seen) -> None:
    seen.page.focus("button[type=reset]")
    seen.page.keyboard.press("Tab")
    assert seen.page.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px"


def test_details_of_an_image(seen: Seen) -> None:
    """Every row with what it said; names are text, each isolated."""
    seen.page.fill("#search", "onerror")
    seen.page.click(".card:visible")
    details = seen.page.locator("#details")
    assert details.locator("h3 bdi").inner_text() == "<img src=x onerror=alert(1)>.jpg"
    rows = details.locator("tbody tr").all_inner_texts()
    assert [row.split("\t")[0].strip() for row in rows] == ["embedding", "average", "alpha", "beta"]
    weights = [float(row.split("\t")[3]) for row in rows[2:]]
    assert sum(weights) == pytest.approx(1, abs=0.011)
    assert details.locator("tbody td bdi").count() == 4
    assert seen.complaints == []


def test_print_has_the_answer_and_the_errors(seen: Seen) -> None:
    seen.page.emulate_media(media="print")
    for selector in (".headline", ".points", "table.rows", "figure svg"):
        assert seen.page.locator(selector).first.is_visible()
    for selector in ("nav", "#filters", "#count", "#more"):
        assert not seen.page.locator(selector).first.is_visible()
    printed = seen.page.locator("#cards > li:visible")
    assert printed.count() == seen.page.locator("#cards > li.wrong:not([hidden])").count() > 0


def test_without_script(chromium: Any, pages: dict[str, Path]) -> None:
    """All images are there, and no control that would do nothing."""
    with opened(chromium, pages["report"], viewport=DESKTOP, java_script_enabled=False) as found:
        assert found.page.locator("#cards > li").count() == 150
        assert found.page.locator("#cards > li:visible").count() == 150
        assert not found.page.is_visible("#filters")
        assert found.page.locator("noscript p").is_visible()
    assert found.complaints == []
