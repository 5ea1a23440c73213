"""A finished cache into damage of one file: a flipped bit, a truncation, a swap or a deletion."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.faults.harness import flipped

Class = tuple[str, str]
"""A store, or the data set itself, and a kind of file in it."""

Harm = Callable[[Path, Sequence[Path], random.Random], list[Path]]
"""Damages a file, given others of its class; returns what is damaged, which is nothing where it cannot be done."""


def file_classes(dataset: Path) -> dict[Class, list[Path]]:
    """Return the files of a finished data set by class.

    Manifests, their second copies, the metadata of the group and of each array, the chunks of each array, and the list
    of current stores.
    """
    found: dict[Class, list[Path]] = defaultdict(list)
    for path in sorted(path for path in dataset.rglob("*") if path.is_file()):
        store, *inside = path.relative_to(dataset).parts
        match inside:
            case [] | [_]:
                kind = path.name
            case ["attempts", _]:
                kind = "copy of the manifest"
            case ["attempts", _, _]:
                kind = "metadata of the group"
            case ["attempts", _, _, "zarr.json"]:
                kind = "metadata of an array"
            case ["attempts", _, array, *_]:
                kind = f"chunk of {array}"
        found[store, kind].append(path)
    return found


def flip(path: Path, _others: Sequence[Path], generator: random.Random) -> list[Path]:
    """Change one bit."""
    content = path.read_bytes()
    path.write_bytes(flipped(content, generator.randrange(8 * len(content))))
    return [path]


def truncate(path: Path, _others: Sequence[Path], generator: random.Random) -> list[Path]:
    """Cut a file to nothing, 3 bytes, half of it, all but one, or anything."""
    content = path.read_bytes()
    length = generator.choice([0, 3, len(content) // 2, len(content) - 1, generator.randrange(len(content))])
    path.write_bytes(content[:length])
    return [path]


def delete(path: Path, _others: Sequence[Path], _generator: random.Random) -> list[Path]:
    """Remove a file."""
    path.unlink()
    return [path]


def swap(path: Path, others: Sequence[Path], generator: random.Random) -> list[Path]:
    """Swap a file with one that holds something else."""
    mine = path.read_bytes()
    different = [other for other in others if other.read_bytes() != mine]
    if not different:
        return []
    other = generator.choice(different)
    path.write_bytes(other.read_bytes())
    other.write_bytes(mine)
    return [path, other]
