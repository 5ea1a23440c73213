"""Canonical JSON and keys: equal inputs give equal bytes, and every difference shows."""

from __future__ import annotations

import math

import pytest

from fusion_pipeline.store.identity import FORMAT_MAJOR, canonical_json, digest, short, slug, store_identity


def test_order_and_spacing_do_not_matter() -> None:
    assert canonical_json({"b": [1, 2.5], "a": {"d": None, "c": True}}) == b'{"a":{"c":true,"d":null},"b":[1,2.5]}'
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


def test_text_is_ascii_whatever_it_says() -> None:
    assert canonical_json("Blüte\udcff") == b'"Bl\\u00fcte\\udcff"'


def test_sha256_of_the_bytes() -> None:
    assert digest({}) == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_not_json_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"mean": value})


def test_data_set_and_format_are_part_of_the_identity() -> None:
    recipe = {"kind": "backbone"}
    identity = store_identity(recipe, "sha256:aa")
    assert identity == {"kind": "backbone", "dataset": "sha256:aa", "format": FORMAT_MAJOR}
    assert digest(identity) != digest(store_identity(recipe, "sha256:bb"))
    assert short(digest(identity)) == digest(identity)[7:19]


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("xception", "xception"),
        ("timm:vit", "timm-vit"),
        ("../../etc", "etc"),
        ("...", "unnamed"),
        ("a\n\x1b/b", "a---b"),
        ("my.partial-net", "my-partial-net"),
        ("a.partial", "a-partial"),
        (".partial", "partial"),
        ("a.partial:b.partially", "a-partial-b.partially"),
    ],
)
def test_slug_is_one_safe_folder_name(name: str, folder: str) -> None:
    assert slug(name) == folder
