"""One vector per ImageNet class: from a file, from the package, and what is said of those without."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from fusion_pipeline.errors import FormatError, IncompleteError, UnusableDataError
from fusion_pipeline.train.labels import bundled
from fusion_pipeline.train.labels.bundled import read_bundled
from fusion_pipeline.train.labels.vectors import LabelVectors, read_label_vectors
from fusion_pipeline.train.labels.words import WordVectors


def words(**vectors: list[float]) -> WordVectors:
    by_word = {word: np.array(numbers, np.float32) for word, numbers in vectors.items()}
    return WordVectors(by_word, 2, "made.txt", "sha256:00")


def test_a_name_is_the_mean_of_its_words_and_one_without_the_mean_of_the_others() -> None:
    vectors = LabelVectors.of(["tiger cat", "tiger shark", "cat", "tench"], words(tiger=[0, 4], cat=[2, 0]))
    np.testing.assert_array_equal(vectors.matrix, [[1, 2], [0, 4], [2, 0], [1, 2]])
    assert (vectors.missing, vectors.partial) == (("tench",), ("tiger shark",))
    assert vectors.matrix.dtype == np.float32


def test_a_whole_name_goes_before_its_words() -> None:
    vectors = LabelVectors.of(["tiger cat"], words(tiger=[0, 4], cat=[2, 0], tiger_cat=[9, 9]))
    np.testing.assert_array_equal(vectors.matrix, [[9, 9]])


def test_names_without_a_vector_are_counted_and_the_first_ten_shown() -> None:
    names = ["cat", *(f"thing{number}" for number in range(12))]
    assert LabelVectors.of(names, words(cat=[1, 1])).summary == (
        f"1 of 13 class names have a vector (made.txt, 2 dimensions); without: {', '.join(names[1:11])} and 2 more"
    )
    assert LabelVectors.of(["cat"], words(cat=[1, 1])).summary.endswith("2 dimensions)")


def test_vectors_of_another_language_are_refused() -> None:
    with pytest.raises(UnusableDataError, match="no word of any class name"):
        LabelVectors.of(["tench"], words(schleie=[1, 1]))


def install(site: Path, numbers: np.ndarray, vocabulary: list[str]) -> None:
    """Lay out a package as the real one is."""
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pytest.importorskip("pyarrow").table
    data = site / bundled.PACKAGE / "data"
    data.mkdir(parents=True)
    (data.parent / "__init__.py").write_text("raise SystemError('nobody needs to run this')\n")
    np.save(data / "glove_6B_50d_emb.npy", numbers)
    parquet.write_table(table({"index": vocabulary}), data / "glove_6B_index.parquet")


def test_the_package_is_read_without_running_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, np.float32([[1, 2], [3, 4]]), ["the", "zebra"])
    monkeypatch.syspath_prepend(tmp_path)
    found = read_bundled({"zebra", "tench"})
    assert {word: vector.tolist() for word, vector in found.by_word.items()} == {"zebra": [3, 4]}
    assert (found.dimension, found.source) == (2, bundled.PACKAGE)
    assert read_label_vectors().missing[0] == "tench"


def test_a_package_of_another_shape_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, np.float32([[1, 2], [3, 4]]), ["the"])
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(FormatError, match="1 words for numbers of shape"):
        read_bundled({"the"})
    (tmp_path / bundled.PACKAGE / "data" / "glove_6B_index.parquet").write_bytes(b"PAR1")
    with pytest.raises(FormatError, match="cannot be read"):
        read_bundled({"the"})


def test_without_the_package_it_is_said_how_to_get_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, bundled.PACKAGE, raising=False)
    with pytest.raises(IncompleteError, match=r"fusion-pipeline\[words\]"):
        read_label_vectors()


@pytest.mark.real
@pytest.mark.skipif("FUSION_TEST_DATA" not in os.environ, reason="FUSION_TEST_DATA names no folder of real data")
def test_real_vectors_know_977_of_the_1000_classes() -> None:
    path = Path(os.environ["FUSION_TEST_DATA"]) / "data" / "glove.6B.100d.imagenet1k_tokens.txt"
    vectors = read_label_vectors(path)
    assert vectors.matrix.shape == (1000, 100)
    assert len(vectors.missing) == 23
    assert vectors.summary.startswith("977 of 1,000 class names have a vector")
    unit = vectors.matrix / np.linalg.norm(vectors.matrix, axis=1, keepdims=True)
    likeness = unit @ unit[402]  # of the acoustic guitar
    assert likeness.argsort()[-2] == 546, "the nearest to it is the electric guitar"


@pytest.mark.real
def test_the_real_package_if_it_is_installed() -> None:
    pytest.importorskip(bundled.PACKAGE)
    vectors = read_label_vectors()
    assert vectors.matrix.shape == (1000, 50)
    assert len(vectors.missing) == 23
