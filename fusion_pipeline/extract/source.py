"""Published indexes and the images as they are now, into what is the same and what differs."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from fusion_pipeline.errors import FusionError
from fusion_pipeline.images.decode import DecodeBudget, read_file
from fusion_pipeline.images.listing import COLUMNS, ImageListing
from fusion_pipeline.store import Cache, Store


@dataclass(frozen=True)
class SourceDifference:
    """One image that is not as it was.

    Parameters
    ----------
    kind : {"edited", "added", "deleted", "renamed", "relabelled"}
        What happened to it; relabelled is one whose class, split or group is another. Deleted is also one that a
        manifest or an official list still names.
    sample : str
        Its path, the former one of a renamed image.
    now : str
        The present path of a renamed image; else empty.
    """

    kind: str
    sample: str
    now: str = ""

    @property
    def text(self) -> str:
        """Which image, for people."""
        return f"{self.sample} -> {self.now}" if self.now else self.sample

    def to_json(self) -> dict[str, Any]:
        """Return the difference as a JSON object."""
        return {"kind": self.kind, "sample": self.sample, **({"now": self.now} if self.now else {})}


def compare_with_source(index: Store, folder: ImageListing) -> tuple[SourceDifference, ...]:
    """Hash every image and compare it with the index; neither size nor time of a file is trusted.

    Parameters
    ----------
    index : Store
        The index of a version of the images.
    folder : ImageListing
        The images as they are.

    Returns
    -------
    tuple of SourceDifference
        Sorted by path; empty if nothing changed.
    """
    before = dict(zip(index.sample_paths, index.sample_sha256, strict=True))
    now = dict(zip(folder.paths, hash_images(folder), strict=True))
    for path in _gone(folder, now) & before.keys():
        del now[path]
    found = [*_differences(before, now), *_relabelled(index, folder, now)]
    return tuple(sorted(found, key=lambda item: (item.sample, item.kind)))


def find_index_of(cache: Cache, folder: ImageListing) -> Store | None:
    """Return the published index that lists these very images, whatever is in them by now; None if there is none."""
    if folder.name not in cache:
        return None
    for _, index in cache[folder.name].survey():
        with suppress(FusionError):  # a damaged one is no use here; verifying names it
            if isinstance(index, Store) and not index.is_backbone and _lists_the_same(index, folder):
                return index
    return None


def hash_images(folder: ImageListing) -> list[str]:
    """Return the sha256 of each image file, hexadecimal; empty for one that cannot be read."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return list(pool.map(lambda row: read_file(folder.place(row), DecodeBudget()).sha256, range(len(folder))))


def _lists_the_same(index: Store, folder: ImageListing) -> bool:
    same = (index.sample_paths, index.class_names) == (folder.paths, folder.class_names)
    same = same and (index.splits, index.groups) == tuple(map(folder.columns.get, COLUMNS))
    return same and index.labels.tolist() == list(folder.labels)


def _gone(folder: ImageListing, digests: Mapping[bytes, str]) -> set[bytes]:
    """Return the paths that are listed and not there, in contrast to those that cannot be read."""
    unread = ((path, folder.place(row)) for row, path in enumerate(folder.paths) if not digests[path])
    return {path for path, place in unread if isinstance(place, bytes) and not os.path.lexists(place)}


def _relabelled(index: Store, folder: ImageListing, there: Container[bytes]) -> Iterator[SourceDifference]:
    """Yield the images that are there still, with another class, split or group."""
    splits, groups = ((texts or [""] * index.rows) for texts in (index.splits, index.groups))
    classes = (index.class_names[label] for label in index.labels)
    before = dict(zip(index.sample_paths, zip(classes, splits, groups, strict=True), strict=True))
    split, group = (folder.columns.get(column, [""] * len(folder)) for column in COLUMNS)
    for row, path in enumerate(folder.paths):
        now = folder.class_names[folder.labels[row]], split[row], group[row]
        if path in there and before.get(path, now) != now:
            yield SourceDifference("relabelled", os.fsdecode(path))


def _differences(before: dict[bytes, str], now: dict[bytes, str]) -> Iterator[SourceDifference]:
    for path in before.keys() & now.keys():
        if before[path] != now[path]:
            yield SourceDifference("edited", os.fsdecode(path))
    added = {now[path]: path for path in sorted(now.keys() - before.keys(), reverse=True) if now[path]}
    moved: set[bytes] = set()
    for path in sorted(before.keys() - now.keys()):
        target = added.pop(before[path], None)
        if target is None:
            yield SourceDifference("deleted", os.fsdecode(path))
        else:
            moved.add(target)
            yield SourceDifference("renamed", os.fsdecode(path), os.fsdecode(target))
    for path in now.keys() - before.keys() - moved:
        yield SourceDifference("added", os.fsdecode(path))
