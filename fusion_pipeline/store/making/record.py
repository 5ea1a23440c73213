"""One finished partition of an attempt to and from the JSON that records it, and to its rows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fusion_pipeline.errors import IntegrityError, printable
from fusion_pipeline.store.identity import canonical_json, digest
from fusion_pipeline.store.layout import GroupEncoder
from fusion_pipeline.store.manifest import DIGEST, FileEntry
from fusion_pipeline.store.storage.backend import Backend

PARTS = "parts"
"""Folder of an attempt that holds the files of all partitions, side by side: each folder that is synced takes time."""

_PART = re.compile(rf"{PARTS}/\d+-[0-9a-f]{{12}}")


@dataclass(frozen=True)
class PartitionRecord:
    """What a finished partition holds.

    Parameters
    ----------
    samples : tuple of str
        sha256 (hexadecimal) of the image of each row; empty for an unreadable file.
    bad : mapping of int to int
        Reason codes of the rows that could not be decoded, by row number in the store.
    files : mapping of str to FileEntry
        The chunk files that it wrote, by their path in the group.
    part : str
        What their paths in the attempt begin with: no two writers ever write under the same.
    made : mapping
        With what it was computed: an attempt may be finished on another machine than it was begun on.
    told : mapping
        What else was measured, or is worth knowing, of these rows alone.
    """

    samples: tuple[str, ...]
    bad: Mapping[int, int]
    files: Mapping[str, FileEntry]
    part: str
    made: Mapping[str, Any] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)

    def path(self, folder: str, file: str) -> str:
        """Return where one of its files lies, given the attempt's folder."""
        return part_path(folder, self.part, file)

    def to_bytes(self) -> bytes:
        """Return the record as JSON, with a digest of itself."""
        fields = {
            "samples": list(self.samples),
            "bad": {str(row): code for row, code in self.bad.items()},
            "files": {name: entry.to_json() for name, entry in self.files.items()},
            "part": self.part,
            "made": dict(self.made),
            "told": dict(self.told),
        }
        return canonical_json({**fields, DIGEST: digest(fields)})

    @classmethod
    def from_bytes(cls, content: bytes) -> PartitionRecord:
        """Parse a record; raises ValueError, KeyError, TypeError or AttributeError if it is none, or damaged."""
        fields = json.loads(content)
        if fields.pop(DIGEST) != digest(fields) or not _PART.fullmatch(fields["part"]):
            raise ValueError("the record is damaged")
        return cls(
            samples=tuple(str(sample) for sample in fields["samples"]),
            bad={int(row): int(code) for row, code in fields["bad"].items()},
            files={str(name): FileEntry.from_json(entry) for name, entry in fields["files"].items()},
            part=str(fields["part"]),
            made=dict(fields["made"]),
            told=dict(fields["told"]),
        )


def part_path(folder: str, part: str, file: str) -> str:
    """Return where a chunk file of a partition lies in an attempt.

    Examples
    --------
    >>> part_path("made/attempts/alpha", "parts/1-0123456789ab", "features/c/1/0")
    'made/attempts/alpha/parts/1-0123456789ab.features.c.1.0'
    """
    return f"{folder}/{part}.{file.replace('/', '.')}"


def parse_record(content: bytes | None) -> PartitionRecord | None:
    """Return a record from its bytes; None where there are none, or they are damaged."""
    try:
        return None if content is None else PartitionRecord.from_bytes(content)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def read_part(
    backend: Backend, folder: str, record: PartitionRecord, encoder: GroupEncoder, partition: int, name: str
) -> np.ndarray:
    """Return the rows of one array of a finished partition of the attempt in a folder.

    Raises
    ------
    IntegrityError
        If its file is not what was recorded.
    """
    file = next(file for file in encoder.partition_files(partition) if file.startswith(f"{name}/"))
    path = record.path(folder, file)
    content, entry = backend.read(path), record.files.get(file)
    if content is None or entry is None or not entry.matches(content):
        raise IntegrityError(f"File '{printable(backend.where(path))}' is damaged. Run the same command again.")
    return encoder.rows_of(name, partition, content)
