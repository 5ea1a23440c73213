"""Turns small folder trees into checks of the row order, the labels, the refusals and the digests."""

from __future__ import annotations

import hashlib
import os
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_pipeline.errors import FormatError, IncompleteError, UnusableDataError, UsageError
from fusion_pipeline.images.index import list_image_folder
from fusion_pipeline.images.listing import dataset_digest
from tests.images.trees import plant

ROWS = st.lists(
    st.tuples(st.binary(min_size=1, max_size=6), st.sampled_from([b"", b"\1" * 32, b"\2" * 32]), st.integers(0, 2)),
    max_size=4,
)


def test_rows_are_sorted_as_bytes(tmp_path: Path) -> None:
    names = [
        b"a b/1.jpg",  # a space sorts before the slash
        b"a/Z.jpg",
        b"a/a.jpg",
        b"a/deep/er/1.jpg",
        "a/e\u0301.jpg".encode(),  # an accent of its own (NFD) ...
        "a/\u00e9.jpg".encode(),  # ... and a single character (NFC) are two files
        b"a/\xff.jpg",
        b"b/-1.jpg",
        b"b/1\n\x1b[2J.jpg",
    ]
    shuffled = names.copy()
    random.Random(0).shuffle(shuffled)
    folder = list_image_folder(plant(tmp_path, *shuffled))
    assert list(folder.paths) == sorted(names)
    assert folder.class_names == ("a", "a b", "b")
    assert folder.labels == (1, 0, 0, 0, 0, 0, 0, 2, 2)
    assert len(folder) == 9
    assert folder.samples_per_class().tolist() == [6, 1, 2]
    assert folder.samples_per_class().dtype == np.int64


def test_sample_ids_round_trip(tmp_path: Path) -> None:
    folder = list_image_folder(plant(tmp_path, b"a\xff/1.jpg", b"b/\xe9\n.jpg", "c/ü.jpg".encode()))
    assert tuple(map(os.fsencode, folder.sample_ids)) == folder.paths
    assert tuple(map(os.fsencode, folder.class_names)) == (b"a\xff", b"b", b"c")
    for row in range(len(folder)):
        assert os.path.exists(folder.place(row))
    assert pickle.loads(pickle.dumps(folder)) == folder


@pytest.mark.parametrize("extension", [".jpg", ".JPG", ".Jpeg", ".png", ".heic", ".tif", ".webp", ".avif", ".NEF"])
def test_image_extensions_in_any_case(tmp_path: Path, extension: str) -> None:
    folder = list_image_folder(plant(tmp_path, f"a/1{extension}", "b/1.png"))
    assert folder.paths[0] == os.fsencode(f"a/1{extension}")


def test_what_is_ignored_is_reported(tmp_path: Path) -> None:
    ignored = [
        "README.md",
        ".DS_Store",
        "a/.DS_Store",
        "a/._1.jpg",
        "a/Thumbs.db",
        "a/jpg",
        "a/notes.txt",
    ]
    plant(tmp_path, "a/1.jpg", "b/1.jpg", *ignored, ".git/1.jpg", "__MACOSX/a/1.jpg", "b/.cache/1.jpg")
    folder = list_image_folder(tmp_path)
    assert folder.paths == (b"a/1.jpg", b"b/1.jpg")
    assert folder.ignored == tuple(sorted([*map(os.fsencode, ignored), b".git/", b"__MACOSX/", b"b/.cache/"]))


@pytest.mark.parametrize(
    ("given_name", "name"),
    [
        (None, "Oxford-Pets-v1.0"),
        ("flowers17", "flowers17"),
        ("../../etc", "etc"),
        ("-rf *", "rf--"),
        (".hidden", "hidden"),
        ("caf\u00e9\x1b", "caf--"),
    ],
)
def test_name_is_a_safe_folder_name(tmp_path: Path, given_name: str | None, name: str) -> None:
    root = plant(tmp_path / "Oxford Pets_v1.0".replace("_", "-"), "a/1.jpg", "b/1.jpg")
    assert list_image_folder(root, name=given_name).name == name


@pytest.mark.parametrize("name", ["", "..", "- -", "猫", "attempts"])
def test_no_name_left_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name"):
        list_image_folder(plant(tmp_path, "a/1.jpg", "b/1.jpg"), name=name)


def test_root_is_absolute_however_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(plant(tmp_path / "pets", "a/1.jpg", "b/1.jpg"))
    assert list_image_folder(".") == list_image_folder(f"{tmp_path}/pets/")
    assert list_image_folder(".").place(0) == os.fsencode(tmp_path / "pets/a/1.jpg")


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(IncompleteError, match=r"^There is nothing at '.*pets'"):
        list_image_folder(tmp_path / "pets")


def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    plant(tmp_path, "pets.tar")
    with pytest.raises(FormatError, match="not a folder"):
        list_image_folder(tmp_path / "pets.tar")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "holds no images"),
        (["a/notes.txt", "b/notes.txt"], "holds no images"),
        (["a/1.jpg", "b/1.jpg", "1.jpg"], "Image '1.jpg' lies outside"),
        (["a/1.jpg", "b/1.jpg", "c/notes.txt"], "Class 'c' .* has no images"),
        (["a/1.jpg", "a/2.jpg"], "a single class, 'a'"),
    ],
)
def test_unusable_layouts_are_named(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(UnusableDataError, match=message):
        list_image_folder(plant(tmp_path, *names))


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    plant(tmp_path, "a/1.jpg", "b/1.jpg")
    (tmp_path / "c\x1b").mkdir()
    with pytest.raises(UnusableDataError, match=r"Class 'c\\x1b'") as caught:
        list_image_folder(tmp_path)
    assert str(caught.value).isprintable()


def test_nothing_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError(arguments)

    plant(tmp_path, "a/1.jpg", "b/1.jpg")
    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr("builtins.open", refuse)
    assert len(list_image_folder(tmp_path)) == 2


def test_dataset_digest_as_documented() -> None:
    hashed = b"fusion data set 1\n"
    for field in (b"a/1\xff.png", b"\x11" * 32, b"a", b"b/2.png", b"", b"b"):
        hashed += len(field).to_bytes(8, "big") + field
    digest = dataset_digest([b"a/1\xff.png", b"b/2.png"], ["11" * 32, ""], [0, 1], ["a", "b"])
    assert digest == "sha256:" + hashlib.sha256(hashed).hexdigest()


def test_dataset_digest_takes_raw_and_hexadecimal_digests() -> None:
    rows = [b"a/1.png"], [0], ["a"]
    assert dataset_digest(rows[0], [b"\xab" * 32], *rows[1:]) == dataset_digest(rows[0], ["AB" * 32], *rows[1:])


def test_dataset_digest_sees_every_part() -> None:
    one, two = b"\1" * 32, b"\2" * 32
    digests = [
        dataset_digest([b"a/1", b"b/2"], [one, two], [0, 1], ["a", "b"]),
        dataset_digest([b"a/1", b"b/3"], [one, two], [0, 1], ["a", "b"]),  # a path
        dataset_digest([b"a/1", b"b/2"], [one, one], [0, 1], ["a", "b"]),  # a content
        dataset_digest([b"a/1", b"b/2"], [one, two], [0, 0], ["a", "b"]),  # a label
        dataset_digest([b"a/1", b"b/2"], [one, two], [0, 1], ["a", "c"]),  # a class name
        dataset_digest([b"b/2", b"a/1"], [two, one], [1, 0], ["a", "b"]),  # the row order
        dataset_digest([b"a/1"], [one], [0], ["a", "b"]),  # a row
        dataset_digest([], [], [], []),
    ]
    assert len(set(digests)) == len(digests)


@given(left=ROWS, right=ROWS)
def test_dataset_digest_is_unambiguous(
    left: list[tuple[bytes, bytes, int]], right: list[tuple[bytes, bytes, int]]
) -> None:
    def digest(rows: list[tuple[bytes, bytes, int]]) -> str:
        paths, contents, labels = zip(*rows, strict=True) if rows else ((), (), ())
        return dataset_digest(paths, contents, labels, ["", "a", "aa"])

    assert (digest(left) == digest(right)) == (left == right)


@pytest.mark.parametrize("sha256", [["11" * 31], [b"x"], ["11" * 32] * 2])
def test_dataset_digest_refuses_a_wrong_length(sha256: list[bytes | str]) -> None:
    with pytest.raises(ValueError, match=r"32 bytes|argument"):
        dataset_digest([b"a/1"], sha256, [0], ["a"])


def test_rows_are_sorted_as_bytes_where_their_text_would_sort_otherwise(tmp_path: Path) -> None:
    folder = list_image_folder(plant(tmp_path, b"a/\xff.jpg", "a/\U0001f33b.jpg".encode(), "b/1.jpg"))
    assert folder.paths == ("a/\U0001f33b.jpg".encode(), b"a/\xff.jpg", b"b/1.jpg")
