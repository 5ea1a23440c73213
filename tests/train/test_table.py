"""The table: aligned columns, a mark where a gate fell back, names that cannot harm a terminal."""

from __future__ import annotations

from dataclasses import replace

from fusion_pipeline.train.statistics.scores import Row
from fusion_pipeline.train.table import format_table

ROW = Row(
    "xception", "none", 0.951, 1293, 1360, (0.938, 0.961), 0.1834, 0.01, 0.95, 1.0, 0.1, False, (False, False), ""
)


def test_columns_line_up_and_a_fallback_is_marked() -> None:
    fallen = replace(ROW, method="cnn32", correct=9, fallback=True, fallbacks=(True, True))
    lines = format_table([ROW, fallen, replace(fallen, fallbacks=(True, False))]).splitlines()
    assert lines == [
        "method    accuracy %  95 % interval        k/n    NLL",
        "xception       95.10   93.8 to 96.1  1293/1360  0.183",
        "cnn32          95.10   93.8 to 96.1     9/1360  0.183  fell back to averaging",
        "cnn32          95.10   93.8 to 96.1     9/1360  0.183  averaged in 1 of 2 folds",
    ]


def test_a_hostile_name_is_escaped() -> None:
    assert "\x1b" not in format_table([replace(ROW, method="\x1b[2J")])
