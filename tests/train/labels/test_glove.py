"""GloVe text files: read line by line, plain or gzipped, and refused where a line is not as it should be."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from fusion_pipeline.errors import FormatError, FusionError, IncompleteError, StorageError
from fusion_pipeline.train.labels.glove import read_glove

TEXT = "the 0.5 -1.25 3\ncat 1 2e-2 3\nnaïve -0.1 0 7\ncat 9 9 9\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "glove.tiny.3d.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path / "glove.tiny.3d.txt"


def test_only_wanted_words_are_kept_and_the_first_of_two(file: Path) -> None:
    vectors = read_glove(file, {"cat", "naïve", "dog"})
    assert set(vectors.by_word) == {"cat", "naïve"}
    np.testing.assert_array_equal(vectors.by_word["cat"], np.float32([1, 0.02, 3]))
    assert vectors.by_word["naïve"].dtype == np.float32
    assert (vectors.dimension, vectors.source) == (3, "glove.tiny.3d.txt")
    assert vectors.sha256 == "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()


def test_gzipped_files_and_windows_line_ends_read_alike(file: Path) -> None:
    packed = file.with_suffix(".txt.gz")
    packed.write_bytes(gzip.compress(TEXT.replace("\n", "\r\n").encode(), mtime=0))
    plain, unpacked = read_glove(file, {"cat"}), read_glove(packed, {"cat"})
    np.testing.assert_array_equal(unpacked.by_word["cat"], plain.by_word["cat"])
    assert unpacked.sha256 == "sha256:" + hashlib.sha256(packed.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("cat 1 2", "has 2 numbers, but line 1 has 3"),
        ("cat 1 2 3 4", "has 4 numbers, but line 1 has 3"),
        ("cat", "has 0 numbers, but line 1 has 3"),
        ("", "has 0 numbers, but line 1 has 3"),
        ("cat 1  3", "not a number"),
        ("cat 1 x 3", "has 'x' where numbers should be"),
        ("cat 1 nan 3", "has 'nan' where numbers should be"),
        ("cat 1 1e99 3", "not a number of ordinary size"),
        ("cat 1 1-1 3", "not a number of ordinary size"),
        ("dog 1 \x1b[2J 3", r"has '\\x1b\[J' where numbers should be"),
    ],
)
def test_a_bad_line_is_named_with_its_file(line: str, fault: str, file: Path) -> None:
    file.write_text(f"the 1 2 3\n{line}\nof 1 2 3\n", encoding="utf-8")
    with pytest.raises(FormatError, match=fault) as caught:
        read_glove(file, {"cat"})
    assert "Line 2 of '" in str(caught.value)
    assert "glove.tiny.3d.txt" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("empty.txt", b"", FormatError),
        ("word2vec.bin", b"\x00\xff" * 500, FormatError),
        ("half.txt.gz", gzip.compress(TEXT.encode() * 50, mtime=0)[:-20], FormatError),
        ("plain.txt.gz", TEXT.encode(), FormatError),
    ],
)
def test_what_is_no_such_file_is_refused(name: str, content: bytes, kind: type[FusionError], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(kind, match=name):
        read_glove(tmp_path / name, {"cat"})


def test_a_path_that_leads_nowhere_or_to_a_folder_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(IncompleteError, match="no word vectors at"):
        read_glove(tmp_path / "absent.txt", {"cat"})
    with pytest.raises(StorageError, match="cannot be read"):
        read_glove(tmp_path, {"cat"})
