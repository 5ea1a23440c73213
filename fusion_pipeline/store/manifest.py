"""The manifest of a published store, to and from its JSON bytes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import google_crc32c
import numpy as np

from fusion_pipeline.errors import FormatError, IntegrityError, RefusedError, printable
from fusion_pipeline.store.identity import FORMAT_MAJOR, canonical_json, digest, digest_bytes
from fusion_pipeline.store.layout import CRC_BYTES

FORMAT_NAME = "fusion-store"
FORMAT_MINOR = 1
DIGEST = "digest"
"""Field that holds the digest of all others: damage to any of them shows."""

KNOWN_FEATURES: frozenset[str] = frozenset()
"""Required features that this version understands; a store that needs another one is refused."""


class NewerFormatError(FormatError):
    """A store that another version wrote: good for all that is known here, and not to be mended."""


_SHA256, _CRC32C = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{8}")
_VERSION = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})")
_ATTEMPT = re.compile(r"[A-Za-z0-9_]+")
_KEY = re.compile(r"(?:[A-Za-z0-9_]+/)*[A-Za-z0-9_.]+")


@dataclass(frozen=True)
class FileEntry:
    """What one file of a store must be.

    Parameters
    ----------
    length : int
        In bytes.
    sha256 : str
        Hexadecimal.
    crc32c : str or None
        Of all its bytes but the last four, hexadecimal: finds accidents, swapped files included, eight times as fast.
        None in stores of format 1.0.
    """

    length: int
    sha256: str
    crc32c: str | None = field(default=None, compare=False)

    @classmethod
    def of(cls, content: bytes) -> FileEntry:
        """Return the entry of a file with this content.

        Examples
        --------
        >>> FileEntry.of(b"").length
        0
        """
        return cls(len(content), hashlib.sha256(content).hexdigest(), _crc32c(content))

    def matches(self, content: bytes) -> bool:
        """Return whether a file with this content is what it must be, by length and sha256.

        Examples
        --------
        >>> FileEntry.of(b"12").matches(b"12"), FileEntry.of(b"12").matches(b"21")
        (True, False)
        """
        return len(content) == self.length and hashlib.sha256(content).hexdigest() == self.sha256

    def agrees_with(self, content: bytes) -> bool:
        """Return whether the CRC-32C, if there is one, is that of a content which `matches`: else the entry is wrong.

        Examples
        --------
        >>> [FileEntry(2, "", crc).agrees_with(b"12") for crc in (None, FileEntry.of(b"12").crc32c, "12345678")]
        [True, True, False]
        """
        return self.crc32c is None or self.crc32c == _crc32c(content)

    @property
    def content(self) -> dict[str, Any]:
        """What it holds, however that is written down."""
        return {"length": self.length, "sha256": self.sha256}

    def to_json(self) -> dict[str, Any]:
        """Return the entry as a JSON object."""
        return self.content if self.crc32c is None else {**self.content, "crc32c": self.crc32c}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FileEntry:
        """Parse an entry; raises ValueError, KeyError or TypeError if it is none."""
        entry = cls(value["length"], _text(value["sha256"]), value.get("crc32c"))
        sums = _SHA256.fullmatch(entry.sha256) and (entry.crc32c is None or _CRC32C.fullmatch(entry.crc32c))
        if type(entry.length) is not int or entry.length < 0 or not sums:
            raise ValueError("a file entry is malformed")
        return entry


@dataclass(frozen=True)
class Manifest:
    """What publishes a store.

    Parameters
    ----------
    kind : {"backbone", "index"}
        What the store holds.
    name : str
        The backbone's name, or ``"index"``.
    identity : mapping
        What the store was made from; its digest is the store's `key`.
    attempt : str
        Name of the folder under ``attempts/`` that holds the Zarr group.
    rows : int
        Number of samples.
    partition_rows : int
        Rows of one partition.
    files : mapping of str to FileEntry
        Every file of the group by its path relative to the attempt.
    made : mapping
        Who made it, when and with which versions: told, not part of any identity.
    minor : int
        Minor version of the format that it is written in.
    """

    kind: str
    name: str
    identity: Mapping[str, Any]
    attempt: str
    rows: int
    partition_rows: int
    files: Mapping[str, FileEntry]
    made: Mapping[str, Any] = field(default_factory=dict)
    minor: int = FORMAT_MINOR

    @cached_property
    def key(self) -> str:
        """Digest of the identity: names the store, whoever made it."""
        return digest(self.identity)

    @cached_property
    def content(self) -> str:
        """Digest over all files: equal for two stores with the same bytes, whoever made them and when."""
        return digest({name: entry.content for name, entry in self.files.items()})

    @property
    def dataset(self) -> str:
        """Digest of the data-set version."""
        return str(self.identity["dataset"])

    @property
    def created(self) -> str:
        """When the store was published (ISO 8601, UTC), by the clock of who made it."""
        return str(self.made.get("created", ""))

    def to_bytes(self) -> bytes:
        """Return the manifest as canonical JSON."""
        fields = {
            "format": {"name": FORMAT_NAME, "version": f"{FORMAT_MAJOR}.{self.minor}", "required_features": []},
            "kind": self.kind,
            "name": self.name,
            "key": self.key,
            "identity": dict(self.identity),
            "attempt": self.attempt,
            "rows": self.rows,
            "partition_rows": self.partition_rows,
            "content": self.content,
            "files": {name: entry.to_json() for name, entry in self.files.items()},
            "made": dict(self.made),
        }
        return canonical_json({**fields, DIGEST: digest(fields)})

    @classmethod
    def from_bytes(cls, content: bytes, where: str) -> Manifest:
        """Parse and check a manifest.

        Parameters
        ----------
        content : bytes
            The file's content.
        where : str
            Its path, for messages.

        Returns
        -------
        Manifest

        Raises
        ------
        IntegrityError
            If a byte of it is not what was written.
        FormatError
            If it is no manifest of a version that can be read here; `NewerFormatError` if it is one of another version.
        RefusedError
            If it names files outside its attempt, or contradicts itself.
        """
        fields = _parse(content, where)
        if DIGEST in fields:
            _check_digest(fields[DIGEST], content, where)
        _check_format(fields.get("format"), where)
        if DIGEST not in fields:
            raise _damaged(where)
        try:
            manifest = cls(
                kind=_text(fields["kind"]),
                name=_text(fields["name"]),
                identity=dict(fields["identity"]),
                attempt=_text(fields["attempt"]),
                rows=_count(fields["rows"]),
                partition_rows=_count(fields["partition_rows"]),
                files={name: FileEntry.from_json(value) for name, value in fields["files"].items()},
                made=dict(fields["made"]),
                minor=int(str(fields["format"]["version"]).partition(".")[2]),
            )
            consistent = (fields["key"], fields["content"]) == (manifest.key, manifest.content)
            _text(manifest.identity["dataset"])
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise FormatError(f"'{printable(where)}' is not a manifest of a fusion store ({error}).") from None
        _check_keys(manifest, where)
        if not consistent:
            raise RefusedError(f"Manifest '{printable(where)}' contradicts itself: it was edited after publication.")
        return manifest


def _crc32c(content: bytes) -> str:
    # A chunk ends in its own CRC-32C. With these four bytes the sum would be the same for every chunk.
    return f"{google_crc32c.value(np.frombuffer(content, np.uint8)[:-CRC_BYTES]):08x}"


def _parse(content: bytes, where: str) -> dict[str, Any]:
    try:
        fields = json.loads(content, parse_constant=_no_json)
    except RecursionError:
        raise RefusedError(f"'{printable(where)}' is nested too deeply for a manifest. Do not trust it.") from None
    except ValueError:
        raise _damaged(where) from None
    if not isinstance(fields, dict):
        raise FormatError(f"'{printable(where)}' is not a manifest of a fusion store.")
    return fields


def _no_json(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _check_digest(stated: Any, content: bytes, where: str) -> None:
    """Compare the digest with that of the other bytes: they are canonical JSON, so it can be cut out of them."""
    member = b'"digest":"%b",' % str(stated).encode("ascii", "replace")
    if stated != digest_bytes(content.replace(member, b"", 1)):
        raise _damaged(where)


def _damaged(where: str) -> IntegrityError:
    return IntegrityError(
        f"Manifest '{printable(where)}' is damaged, or was edited. 'fusion cache repair' restores it from its copy."
    )


def _check_format(stated: Any, where: str) -> None:
    name = stated.get("name") if isinstance(stated, dict) else None
    version = str(stated.get("version", "")) if isinstance(stated, dict) else ""
    match = _VERSION.fullmatch(version)
    if name != FORMAT_NAME or match is None:
        raise FormatError(f"'{printable(where)}' is not a manifest of a fusion store.")
    if int(match[1]) != FORMAT_MAJOR:
        raise NewerFormatError(
            f"Store '{printable(where)}' has format {version}; this version reads {FORMAT_MAJOR}.x. "
            "Upgrade fusion-pipeline to read it."
        )
    required = stated.get("required_features", [])
    if not isinstance(required, list) or (unknown := {str(feature) for feature in required} - KNOWN_FEATURES):
        missing = ", ".join(sorted(unknown)) if isinstance(required, list) else "unreadable"
        raise NewerFormatError(
            f"Store '{printable(where)}' needs features that this version lacks: {printable(missing)}. "
            "Upgrade fusion-pipeline to read it."
        )


def _check_keys(manifest: Manifest, where: str) -> None:
    unsafe = [name for name in manifest.files if not _KEY.fullmatch(name) or ".." in name]
    unsafe += [] if _ATTEMPT.fullmatch(manifest.attempt) else [manifest.attempt]
    for name in unsafe:
        raise RefusedError(f"Manifest '{printable(where)}' names the unsafe path '{printable(name)}'.")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text expected, got {value!r:.40}")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise TypeError(f"a positive number expected, got {value!r:.40}")
    return value
