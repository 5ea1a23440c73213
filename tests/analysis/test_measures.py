"""Every measure of a run, and what is said where one cannot be had."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fusion_pipeline.analysis.kept_run import KeptRun
from fusion_pipeline.analysis.measures import Measures, measure
from fusion_pipeline.analysis.report.standings import stand
from fusion_pipeline.errors import UsageError
from fusion_pipeline.executors import LoopExecutor
from fusion_pipeline.train.benchmark import Protocol
from fusion_pipeline.train.benchmark_run import benchmark
from fusion_pipeline.train.folds import Split
from fusion_pipeline.train.labels.choice import LabelChoice
from fusion_pipeline.train.rows import RowName
from tests.analysis.made import publish_telling


def test_the_fused_row_is_the_adaptive_gate(measured: Measures) -> None:
    assert measured.moe_name == "embedding"
    assert measured.class_wins.with_fused is not None
    assert measured.class_wins.with_fused.names == ("alpha", "beta", "embedding")
    assert list(measured.distinct[0].accuracies or {}) == ["alpha", "beta", "average", "embedding"]
    assert measured.notes == (
        "149 images were tested in 2 repeats: where figures and tables count images, an image counts in each, "
        "298 in all.",
    )


def test_another_row_by_name(kept: KeptRun) -> None:
    found = measure(kept, "constant")
    assert found.moe_name == "constant"
    assert found.trust is not None
    assert found.trust.row == "constant"
    with pytest.raises(UsageError, match="no fused row 'cnn64'"):
        measure(kept, "cnn64")


def test_projections_are_of_the_images_of_the_pair(measured: Measures) -> None:
    assert measured.confused is not None
    n = sum(map(len, measured.confused.images))
    assert {name: points.shape for name, points in measured.projections.items()} == {"alpha": (n, 2), "beta": (n, 2)}


def test_pictures_are_the_thumbnails_of_their_images(measured: Measures) -> None:
    thumbnails = measured.run.stores().index.thumbnails(32)
    for image, picture in measured.pictures.items():
        np.testing.assert_array_equal(picture, thumbnails[measured.run.predictions.usable_rows[image]])


def test_an_average_that_the_table_lacks_is_made(kept: KeptRun, lonely: Measures) -> None:
    assert [curve.name for curve in lonely.calibration] == ["alpha", "average"]
    assert lonely.calibration[0].counts == lonely.calibration[1].counts
    assert list(lonely.distinct[0].accuracies or {}) == ["alpha", "average"]


def test_what_is_missing_is_said(lonely: Measures) -> None:
    assert lonely.moe is None
    assert lonely.trust is None
    assert [note.split(":")[0].split(",")[0] for note in lonely.notes] == [
        "One backbone agrees with nobody and wins every class",
        "The table has no fused row that does not leak",
        "The stores were not opened",
        "The multiply-adds of the backbones are not known",
    ]


def test_a_gate_that_fell_back_is_said(kept: KeptRun) -> None:
    found = measure(kept, "constant")
    averaged = sum(kept.scored("constant")["fallbacks"])
    assert averaged
    assert f"constant fell back to averaging in {averaged} of 4 parts: its weights there are 1/2" in found.notes[1]


def test_a_backbone_whose_row_was_not_asked_for_is_not_alone(tmp_path: Path) -> None:
    stores = publish_telling(tmp_path / "cache", 60)
    protocol = Protocol(Split(2, 0, ""), 1, "none", 0, {"none": LabelChoice()})
    rows = [RowName("backbone", "alpha"), RowName("gate", "constant")]
    run = KeptRun.open(benchmark(stores, rows, protocol, LoopExecutor(), tmp_path / "runs").folder)
    notes = measure(run).notes
    assert notes[0] == "The table has no row of beta, which no measure knows therefore."
    assert not any("agrees with nobody" in note for note in notes)
    assert stand(run, run.predictions.row("constant")).fuses == ("alpha", "beta")
