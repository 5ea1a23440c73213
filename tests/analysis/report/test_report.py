"""A run as a page: the same bytes, its own numbers, no way out of it, and names that stay text."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusion_pipeline.analysis.kept_run import KeptRun
from fusion_pipeline.analysis.measures import measure
from fusion_pipeline.analysis.report.outcomes import Outcome
from fusion_pipeline.analysis.report.report import Report, make_report
from fusion_pipeline.errors import printable
from fusion_pipeline.train.benchmark_run import SECONDS_FILE
from fusion_pipeline.train.predictions import RowPredictions
from tests.analysis.report.made import CLASSES, make_run

_VOID = {"meta", "link", "img", "input", "rect", "path", "circle", "br", "use", "image"}


class Parsed(HTMLParser):
    """The elements of a page, with the text of each."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self._open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))

    def of(self, *tags: str) -> Iterator[dict[str, str | None]]:
        return (attributes for tag, attributes in self.elements if tag in tags)

    def text_of(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


@pytest.fixture(scope="module")
def page(report: Report) -> Parsed:
    return Parsed(report.html)


@pytest.fixture(scope="module")
def records(page: Parsed) -> dict[str, Any]:
    """What the page's script is told."""
    data, _ = page.text_of("script")
    found: dict[str, Any] = json.loads(data)
    return found


@pytest.fixture(scope="module")
def run(run_folder: Path) -> KeptRun:
    return KeptRun.open(run_folder)


def row(run: KeptRun, name: str) -> RowPredictions:
    found = run.predictions.row(name)
    assert found is not None
    return found


def of(run: KeptRun, at_most: int = 2000, name: str | None = None) -> Report:
    stores = run.stores()
    return make_report(measure(run, name, stores), stores, {}, at_most)


def test_the_same_run_is_the_same_page(run: KeptRun, report: Report) -> None:
    stores = run.stores()
    again = make_report(measure(run, stores=stores), stores, {"alpha": 1e9, "beta": 2e9}, 2000)
    assert again.html == report.html


def test_hostile_names_are_text(page: Parsed, report: Report) -> None:
    """Nothing of them is an element, and each stands in a <bdi>, its control and direction marks escaped."""
    assert len(list(page.of("script"))) == 2
    assert [each for each in page.of("img") if each.get("onerror") is not None] == []
    isolated = set(page.text_of("bdi"))
    assert isolated >= {printable(name) for name in CLASSES}
    assert isolated >= {"<img src=x onerror=alert(1)>.jpg", "caf\\xe9.jpg", "\u05e9\u05dc\u05d5\u05dd \\u202e.jpg"}
    assert "\u202e" not in report.html
    assert "{{ 7 * 7 }}" in " ".join(page.text_of("bdi"))


def test_right_to_left_names_are_isolated_in_sentences_too(page: Parsed) -> None:
    parents = {tag for tag, text in page.texts if "\u05d0\u05d1\u05d2" in text}
    assert parents == {"bdi", "option"}
    assert any("are confused most" in text for text in page.text_of("figcaption"))


def test_nothing_is_fetched(page: Parsed, report: Report) -> None:
    """Each reference stays in the page; a policy says so to the browser, with the digest of the page's one script."""
    for attributes in page.of(*{tag for tag, _ in page.elements}):
        for key in ("src", "href", "xlink:href", "action", "poster", "data"):
            assert (attributes.get(key) or "#").startswith(("#", "data:")), attributes
        assert [key for key in attributes if key.startswith("on")] == []
    assert re.findall(r"url\((?!#)|@import", report.html) == []
    (policy,) = (each["content"] or "" for each in page.of("meta") if each.get("http-equiv"))
    _, script = page.text_of("script")
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_ids_are_unique_and_labels_name_controls(page: Parsed) -> None:
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert [name for name, times in ids.items() if times > 1] == []
    named = {attributes["for"] for attributes in page.of("label")}
    assert {attributes["id"] for attributes in page.of("select", "input")} == named
    for attributes in page.of(*{tag for tag, _ in page.elements}):
        for target in (attributes.get("aria-labelledby") or "").split():
            assert target in ids
    anchors = {(each["href"] or "")[1:] for each in page.of("a")}
    assert anchors <= ids.keys()


def test_every_picture_and_heading_cell_says_what_it_is(page: Parsed) -> None:
    assert all(attributes.get("alt") for attributes in page.of("img"))
    assert all(attributes.get("scope") for attributes in page.of("th"))
    assert len(list(page.of("caption"))) == 1
    for attributes in page.of("svg"):
        assert attributes.get("aria-hidden") == "true" or attributes.get("aria-label")


def test_records_are_the_predictions(run: KeptRun, records: dict[str, Any]) -> None:
    known, fused, average = run.predictions, row(run, "embedding"), row(run, "average")
    place = {printable(name): image for image, name in enumerate(known.sample_ids)}
    images = np.array([place[name] for name in records["ids"]])
    assert sorted(images.tolist()) == list(range(150))
    assert records["labels"] == known.labels[images].tolist()
    said = {voice["name"]: voice["said"] for voice in records["voices"]}
    for name in ("embedding", "average", "alpha", "beta"):
        assert said[name] == row(run, name).predicted[0, images].tolist()
    weights = fused.gate_weights
    assert weights is not None
    assert np.abs(np.array(records["weights"]) / 1000 - weights[0, images]).max() <= 0.0005
    mended = (fused.predicted[0] == known.labels) & (average.predicted[0] != known.labels)
    marked = np.array(records["outcomes"]) & Outcome.GATE_MENDED > 0
    assert np.array_equal(marked, mended[images])
    assert 0 < mended.sum() == marked[: mended.sum()].sum()  # these come first


def test_the_bars_are_the_weights(page: Parsed, records: dict[str, Any]) -> None:
    bars = [each["aria-label"] or "" for each in page.of("svg") if each.get("class") == "bar"]
    assert len(bars) == 150
    for bar, (alpha, beta) in zip(bars, records["weights"], strict=True):
        told = re.fullmatch(r"Gate weights: alpha ([\d.]+), beta ([\d.]+)", bar)
        assert told is not None
        assert [float(each) for each in told.groups()] == pytest.approx([alpha / 1000, beta / 1000], abs=0.0056)


def test_the_table_has_every_row(run: KeptRun, page: Parsed) -> None:
    cells = page.text_of("td")
    for scored in run.summary["rows"]:
        assert f"{100 * scored['accuracy']:.2f}" in cells
        assert f"{scored['correct']}/{scored['n']}" in cells


def test_origins_name_every_manifest(run: KeptRun, page: Parsed) -> None:
    told = set(page.text_of("bdi"))
    for entry in run.summary["backbones"].values():
        assert {entry["manifest"], entry["key"]} <= told
    assert run.summary["dataset"]["digest"] in told
    assert "0 for the splits, 0 for the rest" in told


def test_no_path_of_this_machine_is_told(run: KeptRun, report: Report) -> None:
    assert str(run.cache) not in report.html
    assert str(run.folder) not in report.html


def test_a_page_of_few_images_says_how_many(run: KeptRun) -> None:
    few = of(run, 20)
    assert (few.shown, few.tested) == (20, 150)
    assert "20 of 150 tested images are here: first those that the gate or fusing mended or got wrong" in few.html
    assert len(list(Parsed(few.html).of("img"))) == 20


def test_nothing_fused_mends_nothing(run: KeptRun) -> None:
    """Where a backbone stands alone it is compared with nobody: no choice of images that could never match."""
    summary = {**run.summary, "rows": run.summary["rows"][:2]}
    singles = replace(run, summary=summary, predictions=replace(run.predictions, rows=run.predictions.rows[:2]))
    choices = Parsed(of(singles, 20).html).text_of("option")
    assert any(text.startswith("backbones disagree") for text in choices)
    assert not any("mended" in text or "made" in text for text in choices)


def test_a_page_without_images_has_none(run: KeptRun) -> None:
    none = of(run, 0)
    assert none.shown == 0
    assert list(Parsed(none.html).of("img", "form", "dialog")) == []
    assert 'href="#images"' not in none.html


def test_a_row_that_is_no_gate_has_no_bars(run: KeptRun) -> None:
    page = of(run, 20, "concat-softmax")
    assert page.row == "concat-softmax"
    assert "is no gate, and has no weights to show" in page.html
    choices = Parsed(page.html).text_of("option")
    assert any(text.startswith("errors mended by this row: concat-softmax right") for text in choices)
    assert not any("by the gate" in text for text in choices)
    assert "the gate mended it" not in page.html
    assert 'class="bar"' not in page.html


def test_bars_that_are_all_alike_say_so(run: KeptRun) -> None:
    page = of(run, 20, "average")
    assert "gives every backbone the same weight: the bars are all alike, and say nothing about an image" in page.html
    assert "The bar is how the gate shared its trust" not in page.html
    trusted = Parsed(page.html).text_of("option")
    assert any(text.strip() == "nobody more than another (20)" for text in trusted)


@pytest.mark.parametrize(
    "seconds", ["", '{"rows": [1], "versions": 2}', '{"rows": [1, {}, 2, 3, 4, 5, {"fit_seconds": "x"}]}']
)
def test_a_run_without_its_seconds(run_folder: Path, tmp_path: Path, seconds: str) -> None:
    """These are of one machine: whoever keeps a run may not keep them, and nothing vouches for what they are."""
    for file in run_folder.iterdir():
        if file.is_file() and file.name != SECONDS_FILE:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    if seconds:
        (tmp_path / SECONDS_FILE).write_text(seconds)
    run = KeptRun.open(tmp_path)
    stores = run.stores(run_folder.parents[1] / "cache")
    html = make_report(measure(run, stores=stores), stores, {}, 5).html
    assert "Fitting took" not in html
    assert "Versions of the run" not in html


@pytest.mark.parametrize(("repeats", "holdout"), [(2, ""), (1, "0.5")], ids=["repeats", "holdout"])
def test_other_protocols(tmp_path: Path, repeats: int, holdout: str) -> None:
    """Images are shown as the first repeat that tested them saw them; those that none tested are left out."""
    run = KeptRun.open(make_run(tmp_path, repeats, holdout))
    report = of(run)
    data, _ = Parsed(report.html).text_of("script")
    records = json.loads(data)
    tested = int((run.predictions.tested_in >= 0).any(axis=0).sum())
    assert report.shown == report.tested == tested == len(records["ids"])
    place = {printable(name): image for image, name in enumerate(run.predictions.sample_ids)}
    images = [place[name] for name in records["ids"]]
    assert records["voices"][0]["said"] == row(run, "embedding").predicted[0, images].tolist()
    assert ("holdout of 0.5" if holdout else "2 times") in report.html
