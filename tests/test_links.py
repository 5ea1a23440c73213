"""Documents lead somewhere: every link and picture of the Markdown files is there, and so is every heading named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "cache" / "README.md", *(ROOT / "docs").rglob("*.md")]
)
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(!?)\[[^\]]*\]\(([^)\s]+)\)")
PICTURES = {".svg", ".png"}


def links(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the target of every link outside code, and whether it is shown as a picture."""
    for found in LINK.finditer(re.sub(r"`[^`\n]*`", "", FENCED.sub("", text))):
        yield found.group(2), bool(found.group(1))


def headings(text: str) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    found = re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def broken(page: Path, text: str) -> list[str]:
    """Return the links of a page that lead nowhere within the repository."""
    wrong = []
    for target, shown in links(text):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        exists = there.is_relative_to(ROOT) and there.exists() and (not shown or there.suffix in PICTURES)
        aimed = text if there == page else there.read_text(encoding="utf-8") if exists and anchor else ""
        if not exists or (anchor and anchor not in headings(aimed)):
            wrong.append(target)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert broken(page, page.read_text(encoding="utf-8")) == []


def test_links_that_lead_nowhere_are_found() -> None:
    text = "# A b\n[a](#a-b) [c](#c) ![p](docs/no.svg) [d](docs/api.md#no) [o](../../x)\n```\n[x](y)\n```\n`[x](z)`"
    assert broken(ROOT / "README.md", text) == ["#c", "docs/no.svg", "docs/api.md#no", "../../x"]


def test_every_committed_picture_is_shown_somewhere_and_small() -> None:
    pictures = [path for path in (ROOT / "docs").rglob("*") if path.suffix in PICTURES]
    shown = {
        (page.parent / target).resolve()
        for page in PAGES
        for target, _ in links(page.read_text(encoding="utf-8"))
        if "://" not in target
    }
    assert sorted(set(pictures) - shown) == []
    assert sum(path.stat().st_size for path in pictures) < 1_000_000
    assert all(path.stat().st_size < 150_000 for path in pictures if path.suffix == ".png")
