"""Turns the files of tar shards into the labels that stand beside the images, as in WebDataset."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from fusion_pipeline.errors import UnusableDataError, printable
from fusion_pipeline.images.archives import read_part
from fusion_pipeline.images.decode import Member
from fusion_pipeline.images.walk import IMAGE_EXTENSIONS, quoted

_KINDS: Final = (b".cls", b".json")
"""Files with labels; the first one counts where a sample has both."""

_MAX_LABEL_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class File:
    """A file in a shard, whose name is that of its sample and an extension: all behind the first dot.

    Examples
    --------
    >>> file = File(Member(b"/web/00.tar", 512, 9, b"train/0016.seg.PNG"))
    >>> file.sample, file.extension, file.is_image
    ((b'/web/00.tar', b'train/0016'), b'.seg.png', True)
    """

    member: Member

    @property
    def sample(self) -> tuple[bytes, bytes]:
        """The shard and the key: two shards may use one key for two samples."""
        folder, slash, name = self.member.name.rpartition(b"/")
        return self.member.file, folder + slash + name.partition(b".")[0]

    @property
    def extension(self) -> bytes:
        """What comes behind the key, in small letters."""
        _, dot, extension = self.member.name.rpartition(b"/")[2].partition(b".")
        return (dot + extension).lower()

    @property
    def is_image(self) -> bool:
        """Whether it has an image's name."""
        return os.path.splitext(self.extension)[1] in IMAGE_EXTENSIONS or self.extension in IMAGE_EXTENSIONS


class ShardLabels:
    """The ``.cls`` and ``.json`` files of all shards, by sample.

    Where a sample has both, ``.cls`` holds its label, whatever their order; the ``.json`` is then something else.

    Parameters
    ----------
    files : iterable of File
        All files of the shards.
    """

    def __init__(self, files: Iterable[File]) -> None:
        self._beside: dict[tuple[bytes, bytes], list[File]] = {}
        for file in files:
            if file.extension in _KINDS:
                self._beside.setdefault(file.sample, []).append(file)

    def of(self, image: File) -> str:
        """Return the label beside an image; empty for none, and for a JSON file without ``"label"``."""
        return next((_text_of(file) for file in self._chosen(image)), "")

    def used(self, images: Iterable[File]) -> list[File]:
        """Return the files that belong to images."""
        return [file for image in images for file in self._beside.get(image.sample, ())]

    def check(self, images: Sequence[File], labels: Sequence[str]) -> None:
        """Insist that each image has one label of its own.

        Raises
        ------
        UnusableDataError
            For an image without a label, one with two, and two images of one sample.
        """
        seen: dict[tuple[bytes, bytes], File] = {}
        for image, label in zip(images, labels, strict=True):
            self._check_label(image, label)
            first = seen.setdefault(image.sample, image)
            if first.member.name != image.member.name:  # a name that occurs twice is told as such
                raise UnusableDataError(
                    f"{_named(image)} has the key of '{printable(first.member.name)}', but a sample is one image. "
                    "Leave out one of them, or give it another key and a label of its own."
                )

    def _check_label(self, image: File, label: str) -> None:
        chosen = self._chosen(image)
        if not chosen:
            raise UnusableDataError(
                f"{_named(image)} has no .cls or .json beside it, as others have. Add one, or remove it."
            )
        if len(chosen) > 1:
            one, other = (printable(file.member.name) for file in chosen[:2])
            raise UnusableDataError(
                f"{_named(image)} has two labels beside it, '{one}' and '{other}'. Make the shard again with one."
            )
        if not label:
            is_json = chosen[0].extension == b".json"
            wanted = 'a "label" that is text or a whole number' if is_json else "a label in it"
            raise UnusableDataError(
                f"'{printable(chosen[0].member.name)}' in {quoted(image.member.file)} has not {wanted}. Make the "
                "shard again."
            )

    def _chosen(self, image: File) -> list[File]:
        """Return the files of the first kind that an image has any of."""
        beside = self._beside.get(image.sample, [])
        of_kinds = ([file for file in beside if file.extension == kind] for kind in _KINDS)
        return next(filter(None, of_kinds), [])


def _text_of(file: File) -> str:
    return _from_json(file) if file.extension == b".json" else os.fsdecode(_read(file)).strip()


def _from_json(file: File) -> str:
    """Return the label of a JSON document; empty if there is none that can be written as text."""
    try:
        document: Any = json.loads(_read(file))
        label = document.get("label") if isinstance(document, dict) else None
        text = str(label).strip() if isinstance(label, str | int) and not isinstance(label, bool) else ""
        text.encode()  # half of a surrogate pair is no text
    except (ValueError, RecursionError):
        return ""
    return text


def _read(file: File) -> bytes:
    return read_part(replace(file.member, length=min(file.member.length, _MAX_LABEL_BYTES)))


def _named(image: File) -> str:
    return f"Image '{printable(image.member.name)}' in {quoted(image.member.file)}"
