"""What a model says of new photographs, as a page."""

from __future__ import annotations

import numpy as np
import pytest

from fusion_pipeline.analysis.report.explanation import LIKELIEST, Explained, explain
from tests.analysis.report.made import CLASSES
from tests.analysis.report.test_report import Parsed


def explained(shares: list[float], path: str = "new/rose.jpg") -> Explained:
    names = [*CLASSES, *(f"class {number}" for number in range(len(CLASSES), len(shares)))]
    opinions = {"alpha": (CLASSES[0], 0.9), "beta": (CLASSES[1], 0.5)}
    weights = {"alpha": 0.25, "beta": 0.75}
    return Explained(path, np.zeros((64, 64, 3), np.uint8), dict(zip(names, shares, strict=True)), weights, opinions)


def test_what_is_told_of_a_photograph() -> None:
    page = Parsed(explain([explained([0.2, 0.7, 0.1])], [], []))
    assert page.text_of("bdi")[2:8] == ["quote \" ' & {{ 7 * 7 }}", "new/rose.jpg", *(page.text_of("bdi")[4:8])]
    rows = [text.strip() for text in page.text_of("td") if text.strip()]
    assert [text for text in rows if text.endswith("%")] == [
        f"{n}\N{NO-BREAK SPACE}%" for n in ("70.0", "20.0", "10.0", "90.0", "50.0")
    ]
    assert [text for text in rows if text.startswith("0.")] == ["0.25", "0.75"]
    assert rows.count("≠") == 1  # alpha says another class than the model
    (bar,) = (each for each in page.of("svg") if each.get("class") == "bar")
    assert bar["aria-label"] == "Gate weights: alpha 0.25, beta 0.75"
    widths = [each["width"] for each in page.of("rect")]
    assert sorted(map(str, widths)) == sorted(["700", "200", "100", "250", "750"])


def test_only_classes_that_are_likely_at_all() -> None:
    sure = Parsed(explain([explained([0.9998, 0.0002, 0.0])], [], []))
    assert len([each for each in sure.of("svg") if each.get("class") == "share-bar"]) == 1
    unsure = Parsed(explain([explained([0.1] * 10)], [], []))
    assert len([each for each in unsure.of("svg") if each.get("class") == "share-bar"]) == LIKELIEST


@pytest.mark.parametrize("name", ["<script>alert(1)</script>.jpg", 'a" onerror="x.jpg', "\u202egpj.jpg", "a\nb.jpg"])
def test_hostile_names_are_text(name: str) -> None:
    html = explain([explained([0.2, 0.7, 0.1], name)], [f"note on {name}"], [f"skipped {name}: empty file"])
    page = Parsed(html)
    assert len(list(page.of("script"))) == 1
    assert [each for each in page.of("img") if "onerror" in each] == []
    assert "\u202e" not in html
    escaped = name.replace("\n", "\\n").replace("\u202e", "\\u202e")
    assert f"skipped {escaped}: empty file" in page.text_of("bdi")
    assert any(escaped in text for text in page.text_of("p"))


def test_no_photograph_could_be_used() -> None:
    page = Parsed(explain([], [], ["skipped a.jpg: empty file"]))
    assert "skipped a.jpg: empty file" in page.text_of("bdi")
    assert list(page.of("article")) == []
