"""Every measure of a run, and what is said where one cannot be had."""

from __future__ import annotations

import numpy as np
import pytest

from fusion_pipeline.analysis.kept_run import KeptRun
from fusion_pipeline.analysis.measures import Measures, measure
from fusion_pipeline.errors import UsageError


def test_the_fused_row_is_the_adaptive_gate(measured: Measures) -> None:
    assert measured.moe_name == "embedding"
    assert measured.class_wins.with_fused is not None
    assert measured.class_wins.with_fused.names == ("alpha", "beta", "embedding")
    assert list(measured.distinct[0].accuracies or {}) == ["alpha", "beta", "average", "embedding"]
    assert measured.notes == ()


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
    assert f"constant fell back to averaging in {averaged} of 4 parts: its weights there are 1/2" in found.notes[0]
