"""Manifests round-trip; any that is foreign, newer, hostile or edited is refused by its kind of fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import google_crc32c
import pytest

from fusion_pipeline.errors import FormatError, IntegrityError, RefusedError
from fusion_pipeline.store.identity import canonical_json, digest, digest_bytes
from fusion_pipeline.store.manifest import FileEntry, Manifest

WHERE = "cache/made/alpha/manifest.json"


@pytest.fixture
def manifest() -> Manifest:
    return Manifest(
        kind="backbone",
        name="alpha",
        identity={"kind": "backbone", "dataset": "sha256:" + "1" * 64},
        attempt="0123abcd",
        rows=5,
        partition_rows=2,
        files={"zarr.json": FileEntry.of(b"{}"), "features/c/0/0": FileEntry.of(b"12")},
        made={"created": "2026-01-01T00:00:00"},
    )


def edited(manifest: Manifest, change: Callable[[dict[str, Any]], object], *, honest: bool = False) -> bytes:
    """Return the manifest's JSON after an edit that knows of its digest; `honest` mends key and content too."""
    fields = json.loads(manifest.to_bytes())
    del fields["digest"]
    change(fields)
    if honest:
        fields["key"], fields["content"] = digest(fields["identity"]), digest(fields["files"])
    return canonical_json({**fields, "digest": digest(fields)})


def test_round_trip(manifest: Manifest) -> None:
    assert Manifest.from_bytes(manifest.to_bytes(), WHERE) == manifest
    assert manifest.to_bytes() == Manifest.from_bytes(manifest.to_bytes(), WHERE).to_bytes()


def test_content_ignores_who_made_it_and_when(manifest: Manifest) -> None:
    other = Manifest.from_bytes(edited(manifest, lambda fields: fields.update(attempt="ff", made={})), WHERE)
    assert (other.content, other.key) == (manifest.content, manifest.key)


def test_newer_minor_version_is_read(manifest: Manifest) -> None:
    content = edited(manifest, lambda fields: fields["format"].update(version="1.7"))
    assert Manifest.from_bytes(content, WHERE) == replace(manifest, minor=7)


def test_the_first_minor_version_has_no_crc32c(manifest: Manifest) -> None:
    def older(fields: dict[str, Any]) -> None:
        fields["format"]["version"] = "1.0"
        for entry in fields["files"].values():
            del entry["crc32c"]

    read = Manifest.from_bytes(edited(manifest, older), WHERE)
    assert (read.minor, {entry.crc32c for entry in read.files.values()}) == (0, {None})
    assert (read.key, read.content) == (manifest.key, manifest.content)
    assert Manifest.from_bytes(read.to_bytes(), WHERE) == read


def test_files_are_known_by_length_and_sums() -> None:
    one, two = FileEntry.of(b"chunk 1....CRC1"), FileEntry.of(b"chunk 2....CRC2")
    assert one.crc32c is not None
    assert one.crc32c != two.crc32c
    assert one.to_json() == {"length": 15, "sha256": one.sha256, "crc32c": one.crc32c}
    assert FileEntry.from_json(one.to_json()) == one
    assert one.matches(b"chunk 1....CRC1")
    assert not one.matches(b"chunk 2....CRC2")
    assert [FileEntry.of(b"x" * length).length for length in range(6)] == list(range(6))


def test_whole_chunks_of_this_format_have_different_sums() -> None:
    """A chunk ends in its CRC-32C, and the CRC-32C of anything with its own at the end is always the same."""
    entries = [FileEntry.of(body + google_crc32c.value(body).to_bytes(4, "little")) for body in (b"one", b"two")]
    assert entries[0].crc32c != entries[1].crc32c


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields["format"].update(version="2.0"),
        lambda fields: fields["format"].update(required_features=["sharding"]),
        lambda fields: fields["format"].update(name="another-format"),
        lambda fields: fields["format"].update(version="one"),
        lambda fields: fields["format"].update(version="1" * 5000 + ".0"),
        lambda fields: fields["format"].update(version="1." + "1" * 5000),
        lambda fields: fields.pop("format"),
        lambda fields: fields.pop("files"),
        lambda fields: fields.update(rows=0),
        lambda fields: fields.update(rows=True),
        lambda fields: fields.update(rows="5"),
        lambda fields: fields.update(files=[]),
        lambda fields: fields["files"].update({"zarr.json": {"length": -1, "sha256": "0" * 64}}),
        lambda fields: fields["files"].update({"zarr.json": {"length": 2, "sha256": "0" * 63}}),
        lambda fields: fields["files"]["zarr.json"].update(crc32c="0" * 7),
        lambda fields: fields["files"]["zarr.json"].update(crc32c="0" * 7 + "G"),
        lambda fields: fields["files"]["zarr.json"].update(crc32c=0),
        lambda fields: fields["identity"].pop("dataset"),
        lambda fields: fields.update(identity="text"),
    ],
)
def test_foreign_and_newer_manifests(manifest: Manifest, change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(FormatError, match=WHERE):
        Manifest.from_bytes(edited(manifest, change), WHERE)


def test_newer_version_and_feature_say_what_is_needed(manifest: Manifest) -> None:
    with pytest.raises(FormatError, match=r"format 2\.0; this version reads 1\.x\. Upgrade"):
        Manifest.from_bytes(edited(manifest, lambda fields: fields["format"].update(version="2.0")), WHERE)
    with pytest.raises(FormatError, match="lacks: sharding"):
        Manifest.from_bytes(
            edited(manifest, lambda fields: fields["format"].update(required_features=["sharding"])), WHERE
        )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"\x89HDF\r\n\x1a\n",
        b"{" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"rows": ' + b"9" * 10_000 + b"}",
        b'\xff{"rows": 1}',
    ],
    ids=["empty", "null", "list", "hdf5", "unbalanced", "deep", "huge-number", "not-utf8"],
)
def test_bytes_that_are_no_manifest(content: bytes) -> None:
    with pytest.raises((IntegrityError, FormatError, RefusedError), match=WHERE):
        Manifest.from_bytes(content, WHERE)


@pytest.mark.parametrize("content", [b"null", b"[]", b'{"name": "something else"}'])
def test_json_of_another_kind_is_another_format(content: bytes) -> None:
    with pytest.raises(FormatError, match="is not a manifest"):
        Manifest.from_bytes(content, WHERE)


def test_every_flipped_bit_and_every_cut_is_damage(manifest: Manifest) -> None:
    content = manifest.to_bytes()
    for position in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[position // 8] ^= 1 << position % 8
        with pytest.raises(IntegrityError, match="damaged"):
            Manifest.from_bytes(bytes(flipped), WHERE)
    for length in range(len(content)):
        with pytest.raises(IntegrityError, match="damaged"):
            Manifest.from_bytes(content[:length], WHERE)


def test_a_manifest_without_its_digest_is_damaged(manifest: Manifest) -> None:
    fields = json.loads(manifest.to_bytes())
    del fields["digest"]
    with pytest.raises(IntegrityError, match="damaged"):
        Manifest.from_bytes(canonical_json(fields), WHERE)


def test_other_spacing_is_an_edit(manifest: Manifest) -> None:
    with pytest.raises(IntegrityError, match="damaged"):
        Manifest.from_bytes(json.dumps(json.loads(manifest.to_bytes())).encode(), WHERE)


def test_a_reader_may_cut_the_digest_out_of_the_bytes(manifest: Manifest) -> None:
    content = manifest.to_bytes()
    stated = json.loads(content)["digest"]
    assert digest_bytes(content.replace(f'"digest":"{stated}",'.encode(), b"")) == stated


@pytest.mark.parametrize("depth", [700, 900, 950, 980, 990])
def test_depth_at_the_edge_of_what_can_be_parsed(manifest: Manifest, depth: int) -> None:
    deep = ('{"a":' * depth + "1" + "}" * depth).encode()
    content = edited(manifest, lambda fields: fields["identity"].update(deep="DEEP")).replace(b'"DEEP"', deep)
    with pytest.raises((IntegrityError, RefusedError)):
        Manifest.from_bytes(content, WHERE)


@pytest.mark.parametrize("name", ["../escape", "a/../../b", "/etc/passwd", "a//b", "a\\b", "a\n", "", "ü"])
def test_paths_that_leave_the_attempt(manifest: Manifest, name: str) -> None:
    entry = FileEntry.of(b"").to_json()
    content = edited(manifest, lambda fields: fields["files"].update({name: entry}), honest=True)
    with pytest.raises(RefusedError, match="unsafe path"):
        Manifest.from_bytes(content, WHERE)


@pytest.mark.parametrize("name", ["../other", "..", "a/../b", "/"])
def test_attempts_that_leave_the_store(manifest: Manifest, name: str) -> None:
    with pytest.raises(RefusedError, match="unsafe path"):
        Manifest.from_bytes(edited(manifest, lambda fields: fields.update(attempt=name)), WHERE)


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields["identity"].update(dtype="float64"),
        lambda fields: fields["files"]["zarr.json"].update(length=3),
        lambda fields: fields["files"].pop("zarr.json"),
        lambda fields: fields.update(key="sha256:00"),
        lambda fields: fields.update(content="sha256:00"),
    ],
)
def test_edits_contradict_the_digests(manifest: Manifest, change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(RefusedError, match="edited after publication"):
        Manifest.from_bytes(edited(manifest, change), WHERE)


def test_messages_are_safe_for_a_terminal(manifest: Manifest) -> None:
    with pytest.raises(RefusedError) as caught:
        Manifest.from_bytes(edited(manifest, lambda fields: fields.update(attempt="\x1b[2J")), "evil\x1b[2J")
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)
