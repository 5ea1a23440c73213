"""Class names as words: whole first, then compounds, then parts; any name at all."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_pipeline.train.labels.names import imagenet_classes
from fusion_pipeline.train.labels.tokens import found_words, wanted_words


@pytest.mark.parametrize(
    ("name", "vocabulary", "found", "missing"),
    [
        ("golden retriever", "golden retriever golden_retriever", ("golden_retriever",), ()),
        ("golden retriever", "golden retriever golden-retriever", ("golden-retriever",), ()),
        ("golden retriever", "golden", ("golden",), ("retriever",)),
        ("black-footed ferret", "black-footed black footed ferret", ("black-footed", "ferret"), ()),
        ("black-footed ferret", "black footed ferret", ("black", "footed", "ferret"), ()),
        ("EntleBucher", "entlebucher", ("entlebucher",), ()),
        ("carpenter's kit", "carpenter s kit", ("carpenter", "kit"), ()),
        ("jack-o'-lantern", "jack-o-lantern jack lantern", ("jack-o-lantern",), ()),
        ("St. Bernard", "st bernard", ("st", "bernard"), ()),
        ("...", "dots", (), ()),
    ],
)
def test_words_of_a_name(name: str, vocabulary: str, found: tuple[str, ...], missing: tuple[str, ...]) -> None:
    assert found_words(name, vocabulary.split().__contains__) == (found, missing)


@given(name=st.text(alphabet=string.ascii_letters + "-'._ é", max_size=30), known_lengths=st.integers(0, 1))
def test_no_word_is_looked_up_that_was_not_wanted(name: str, known_lengths: int) -> None:
    wanted = wanted_words(name)
    asked: list[str] = []

    def known(word: str) -> bool:
        asked.append(word)
        return len(word) % 2 == known_lengths

    found, missing = found_words(name, known)
    assert set(asked) <= wanted
    assert set(found) | set(missing) <= wanted
    assert not set(found) & set(missing)


def test_every_imagenet_class_has_words_to_look_up() -> None:
    names = imagenet_classes()
    assert (len(names), len(set(names))) == (1000, 1000)
    assert all(wanted_words(name) for name in names)
