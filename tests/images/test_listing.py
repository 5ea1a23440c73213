"""Rows into a listing: one order, one digest, columns only where there are any."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from fusion_pipeline.errors import UnusableDataError
from fusion_pipeline.images.decode import DecodeBudget, Member, Reason, read_file
from fusion_pipeline.images.listing import COLUMNS, ImageRow, dataset_digest, list_rows
from fusion_pipeline.store import layout

ROWS = [ImageRow(b"b.jpg", "rose", split="train", group="7"), ImageRow(b"a.jpg", "iris", split="test")]


def test_columns_are_the_arrays_of_an_index() -> None:
    assert tuple(layout.COLUMN_NAMES) == COLUMNS


def test_rows_in_order_with_their_columns() -> None:
    listing = list_rows(Path("/flowers"), "flowers", ROWS)
    assert (listing.paths, listing.labels, listing.class_names) == ((b"a.jpg", b"b.jpg"), (0, 1), ("iris", "rose"))
    assert listing.columns == {"split": ("test", "train"), "group": ("", "7")}
    assert listing.place(1) == b"/flowers/b.jpg"
    assert list_rows(Path("/flowers"), "flowers", ROWS[::-1]) == listing


def test_digest_with_columns_as_documented() -> None:
    hashed = b"fusion data set 1 split group\n"
    for field in (b"a.jpg", b"\x11" * 32, b"iris", b"test", b"", b"b.jpg", b"", b"rose", b"train", b"7"):
        hashed += len(field).to_bytes(8, "big") + field
    listing = list_rows(Path("/flowers"), "flowers", ROWS)
    assert listing.digest(["11" * 32, ""]) == "sha256:" + hashlib.sha256(hashed).hexdigest()


def test_each_column_counts() -> None:
    rows = [b"a", b"b"], ["", ""], [0, 1], ["x", "y"]
    texts = ("", "1")
    columns = [{}, {"split": texts}, {"group": texts}, {"split": texts, "group": texts}]
    assert len({dataset_digest(*rows, some) for some in columns}) == 4


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "'/f' holds no images. Check the path given as the data set."),
        (ROWS[:1], "'/f' has a single class, 'rose'. At least 2 are needed: add a class."),
        (ROWS + ROWS[:1], "Image 'b.jpg' occurs twice in '/f'. Rename or remove one of them."),
    ],
)
def test_rows_that_are_no_data_set(rows: list[ImageRow], message: str) -> None:
    with pytest.raises(UnusableDataError) as caught:
        list_rows(Path("/f"), "f", rows)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("offset", "length", "content"), [(0, 3, b"abc"), (2, 2, b"cd"), (6, 0, b""), (0, 6, b"abcdef")]
)
def test_a_part_of_a_file(tmp_path: Path, offset: int, length: int, content: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(b"abcdef")
    raw = read_file(Member(bytes(tmp_path / "x.tar"), offset, length, b"1.jpg"), DecodeBudget())
    assert (raw.content, raw.sha256) == (content, hashlib.sha256(content).hexdigest())
    assert raw.reason is (Reason.OK if content else Reason.EMPTY)


def test_a_part_that_is_not_all_there(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"abcdef")
    for part in (Member(bytes(tmp_path / "x.tar"), 4, 3, b"1.jpg"), Member(bytes(tmp_path / "y.tar"), 0, 1, b"1.jpg")):
        assert read_file(part, DecodeBudget()).reason is Reason.UNREADABLE
    assert read_file(Member(bytes(tmp_path / "x.tar"), 0, 6, b""), DecodeBudget(max_bytes=5)).reason is Reason.TOO_LARGE
