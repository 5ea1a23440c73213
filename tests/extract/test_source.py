"""The images as they are against the index as it was: nothing but the bytes of a file counts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fusion_pipeline.extract.source import SourceDifference, compare_with_source
from fusion_pipeline.images.index import list_image_folder
from fusion_pipeline.images.inputs import list_images
from fusion_pipeline.store import Store
from tests.builders import write_picture, write_pictures
from tests.extract.made import run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "flowers")


@pytest.fixture
def index(data: Path, tmp_path: Path) -> Store:
    return run(data, tmp_path / "cache").index.store


def differences(index: Store, data: Path) -> list[tuple[str, str, str]]:
    return [(item.kind, item.sample, item.now) for item in compare_with_source(index, list_image_folder(data))]


def test_nothing_changed(index: Store, data: Path) -> None:
    assert differences(index, data) == []


def test_an_edit_that_keeps_size_and_time_is_found(index: Store, data: Path) -> None:
    path = data / "iris" / "000.png"
    before, content = path.stat(), bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert differences(index, data) == [("edited", "iris/000.png", "")]


def test_added_deleted_and_renamed(index: Store, data: Path) -> None:
    write_picture(data / "iris" / "new.png", seed=50)
    (data / "rose" / "001.png").unlink()
    (data / "tulip" / "002.png").rename(data / "iris" / "moved.png")
    assert differences(index, data) == [
        ("added", "iris/new.png", ""),
        ("deleted", "rose/001.png", ""),
        ("renamed", "tulip/002.png", "iris/moved.png"),
    ]


def test_a_second_copy_is_added_not_renamed(index: Store, data: Path) -> None:
    (data / "iris" / "twin.png").write_bytes((data / "iris" / "000.png").read_bytes())
    assert differences(index, data) == [("added", "iris/twin.png", "")]


def test_for_people_and_machines() -> None:
    item = SourceDifference("renamed", "a/1.png", "b/1.png")
    assert item.text == "a/1.png -> b/1.png"
    assert item.to_json() == {"kind": "renamed", "sample": "a/1.png", "now": "b/1.png"}
    assert SourceDifference("added", "a/1.png").to_json() == {"kind": "added", "sample": "a/1.png"}


def test_images_that_a_table_still_names(index: Store, data: Path) -> None:
    """One is gone, one was moved and is listed at both places, one is relabelled."""
    rows = {os.fsdecode(path): os.fsdecode(path).partition("/")[0] for path in index.sample_paths}
    rows["iris/moved.png"], rows["rose/000.png"], rows["rose/001.png"] = "iris", "iris", "iris"
    (data / "rose" / "001.png").unlink()
    (data / "tulip" / "002.png").rename(data / "iris" / "moved.png")
    table = data / "flowers.csv"
    table.write_text("\n".join(["path,label", *(f"{path},{label}" for path, label in rows.items())]) + "\n")
    found = compare_with_source(index, list_images(table, keep_absent=True))
    assert [(item.kind, item.sample, item.now) for item in found] == [
        ("relabelled", "rose/000.png", ""),
        ("deleted", "rose/001.png", ""),
        ("renamed", "tulip/002.png", "iris/moved.png"),
    ]
