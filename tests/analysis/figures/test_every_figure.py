"""All figures of runs: which there are, that nothing overlaps or leaves the picture, and that bytes repeat."""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from fusion_pipeline.analysis.figures.drawing import Drawing, drawing
from fusion_pipeline.analysis.figures.every_figure import every_figure
from fusion_pipeline.analysis.measures import Measures, measure
from tests.analysis.made import HOSTILE, crowded_run

TOGETHER = [
    "agreement",
    "correct-experts",
    "all-wrong",
    "class-f1",
    "class-wins",
    "distinct-votes",
    "subsets",
    "calibration",
]


@pytest.fixture(scope="module")
def alone(measured: Measures) -> dict[str, Drawing]:
    return {each.name: each for each in every_figure({"made": measured})}


@pytest.fixture(scope="module")
def both(measured: Measures, lonely: Measures) -> dict[str, Drawing]:
    return {each.name: each for each in every_figure({"$made$": measured, "lonely\n": lonely})}


def rows(drawn: Drawing, table: int = 0) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(drawn.tables[table].to_bytes().decode())))


def test_one_run_has_every_figure(alone: Mapping[str, Drawing]) -> None:
    assert list(alone) == [*TOGETHER, "confused-pair", "trust"]


def test_several_runs_share_figures_and_have_some_of_their_own(both: Mapping[str, Drawing]) -> None:
    assert list(both) == [*TOGETHER, "confused-pair-1-made-", "confused-pair-2-lonely-", "trust-1-made-"]
    assert list(both["correct-experts"].readings) == ["$made$", "lonely\n"]
    assert list(both["agreement"].readings) == ["$made$"]  # the other has one backbone
    assert list(both["subsets"].readings) == ["$made$"]  # the other's costs are not known


def test_one_backbone_alone_costs_what_it_costs(lonely: Measures) -> None:
    costly = measure(lonely.run, multiply_adds={"alpha": 1e9})
    (drawn,) = (each for each in every_figure({"lonely": costly}) if each.name == "subsets")
    written = {text.get_text() for text in drawn.figure.findobj(Text) if isinstance(text, Text)}
    assert {"50.00 %, 1 billion", "alpha"} <= written
    assert [row["multiply_adds"] for row in rows(drawn)] == ["1000000000.0"]


def test_a_run_with_next_to_nothing(lonely: Measures) -> None:
    found = {each.name: each for each in every_figure({"lonely": lonely})}
    assert list(found) == ["correct-experts", "calibration", "confused-pair"]
    assert all(each.to_bytes("svg") for each in found.values())


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_the_same_run_is_the_same_bytes(measured: Measures, alone: Mapping[str, Drawing], ending: str) -> None:
    run = measured.run
    costs = {subset.members[0]: subset.multiply_adds or 0 for subset in measured.subsets.tried[:2]}
    again = {each.name: each for each in every_figure({"made": measure(run, None, run.stores(), costs)})}
    for name, each in alone.items():
        first = each.to_bytes(ending)
        assert first == again[name].to_bytes(ending), name
        assert first == each.to_bytes(ending), name
        assert [table.to_bytes() for table in each.tables] == [table.to_bytes() for table in again[name].tables]


def texts(drawn: Drawing, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Bbox]]:
    """Return every text that is drawn, and the place that it takes, in pixels."""
    found: list[Text] = []
    draw = Text.draw

    def noting(text: Text, renderer: object) -> None:
        if text.get_visible() and text.get_text().strip():
            found.append(text)
        draw(text, renderer)  # type: ignore[arg-type]

    FigureCanvasAgg(drawn.figure)
    with drawing(), monkeypatch.context() as patch:
        patch.setattr(Text, "draw", noting)
        drawn.figure.draw_without_rendering()
        # Slanted labels are side by side while the boxes around them overlap: the middle of each stands for it.
        return [(each.get_text(), _box(each)) for each in found]


def _box(text: Text) -> Bbox:
    box = text.get_window_extent()
    if text.get_rotation() % 90 == 0:
        return box
    x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    return Bbox.from_extents(x - 5, y - 5, x + 5, y + 5)


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory, measured: Measures) -> dict[str, Drawing]:
    """Twelve backbones with long names, 60 classes, pictures of noise, beside a run of two backbones."""
    run = crowded_run(tmp_path_factory.mktemp("crowded") / "x-benchmark-12345678")
    costs = {name: 1e8 * 1.5**number for number, name in enumerate(run.predictions.backbones)}
    found = measure(run, multiply_adds=costs)
    assert found.confused is not None
    n = sum(map(len, found.confused.images))
    points = {name: np.random.default_rng(0).normal(size=(n, 2)) for name in found.votes.experts}
    noise = np.random.default_rng(0).integers(0, 256, (len(run.predictions.labels), 64, 64, 3), dtype=np.uint8)
    found = replace(found, projections=points, pictures=dict(enumerate(noise)))
    return {each.name: each for each in every_figure({"a_data_set_with_a_rather_long_name": found, "made": measured})}


@pytest.mark.parametrize("runs", ["alone", "both", pytest.param("crowded", marks=pytest.mark.slow)])
def test_no_text_covers_another_or_leaves_the_picture(
    runs: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawings = request.getfixturevalue(runs).values()
    assert [fault for each in drawings for fault in faults(each, texts(each, monkeypatch))] == []


def faults(drawn: Drawing, found: list[tuple[str, Bbox]]) -> Iterator[str]:
    """Yield what text leaves the picture or lies on another one."""
    assert found
    width, height = drawn.figure.get_size_inches() * drawn.figure.dpi
    for number, (text, box) in enumerate(found):
        if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1:
            yield f"{drawn.name}: {text!r} is at {box.extents} of {width, height}"
        for other, its in found[number + 1 :]:
            shared = Bbox.intersection(box.padded(-1), its.padded(-1))
            if shared is not None and min(shared.width, shared.height) > 0:
                yield f"{drawn.name}: {text!r} lies on {other!r}"


def test_names_are_text_in_svg_and_no_markup(both: Mapping[str, Drawing]) -> None:
    for each in both.values():
        content = each.to_bytes("svg")
        assert b"<script" not in content
        assert ET.fromstring(content).tag == "{http://www.w3.org/2000/svg}svg"
        assert b"http-equiv" not in content
        assert "\u202e".encode() not in content


def test_numbers_of_tables_are_those_of_measures(alone: Mapping[str, Drawing], measured: Measures) -> None:
    kappas = [float(row["kappa"]) for row in rows(alone["agreement"])]
    assert kappas == [pair.kappa for pair in measured.agreement.pairs]
    assert [int(row["images"]) for row in rows(alone["correct-experts"])] == list(measured.correct.counts)
    assert {row["class"] for row in rows(alone["class-f1"])} == set(HOSTILE)
    scores = [float(row["f1"]) for row in rows(alone["class-f1"])]
    np.testing.assert_array_equal(scores, measured.class_f1.scores.T.ravel())
    assert [int(row["images"]) for row in rows(alone["calibration"])[:15]] == list(measured.calibration[0].counts)
    weights = [float(row["mean_weight"]) for row in rows(alone["trust"])[:2]]
    assert measured.trust is not None
    assert weights == measured.trust.overall.tolist()
    assert [row["backbones"] for row in rows(alone["subsets"])] == ["alpha", "beta", "alpha + beta"]


def test_votes_of_the_pair_add_up(alone: Mapping[str, Drawing], measured: Measures) -> None:
    assert measured.confused is not None
    found = rows(alone["confused-pair"])
    assert sum(int(row["votes"]) for row in found) == measured.confused.counts.sum()
    wrong = [row for row in found if row["voted_for"] not in (row["true_class"], "any other")]
    assert sum(int(row["votes"]) for row in wrong) == measured.confused.confusions
    assert len(rows(alone["confused-pair"], 1)) == 2 * sum(map(len, measured.confused.images))


def test_readings_are_one_line_each(both: Mapping[str, Drawing]) -> None:
    for each in both.values():
        for reading in each.readings.values():
            assert reading.isprintable()
            assert reading.endswith(".")
