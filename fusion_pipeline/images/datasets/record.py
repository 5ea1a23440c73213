"""What is known of a published data set, as a record."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from fusion_pipeline.images.listing import ImageRow


@dataclass(frozen=True)
class Archive:
    """One file that the official host offers.

    Parameters
    ----------
    url : str
        Where it is.
    known_hash : str or None
        ``md5:`` or ``sha256:`` and its digest as others publish it; None where nobody does.
    inner : tuple of str
        Archives inside it that have to be unpacked too, relative to where it is unpacked.
    """

    url: str
    known_hash: str | None = None
    inner: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """What the file is called."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class OfficialDataset:
    """A published data set.

    Parameters
    ----------
    name : str
        What the command line calls it.
    title : str
        What its authors call it.
    images, classes : int
        Its counts in the paper's Table 1.
    marks : tuple of str
        Files or folders by which its layout is recognised.
    folders : tuple of str
        Where in a copy that layout may be; empty text for the copy's own folder.
    rows : callable
        The folder of the layout into a row for every image that is there, or that its lists name.
    archives : tuple of Archive
        What has to be fetched.
    holds : tuple of int, optional
        Images and class folders of the archive where they are not those of Table 1.
    note : str
        How the two relate.
    """

    name: str
    title: str
    images: int
    classes: int
    marks: tuple[str, ...]
    folders: tuple[str, ...]
    rows: Callable[[Path], Iterable[ImageRow]]
    archives: tuple[Archive, ...]
    holds: tuple[int, int] | None = None
    note: str = ""

    def layout_in(self, copy: Path) -> Path | None:
        """Return the folder of the official layout in a copy; None if the copy is not laid out so."""
        for folder in self.folders:
            if all((copy / folder / mark).exists() for mark in self.marks):
                return copy / folder
        return None

    def is_complete(self, images: int, classes: int) -> bool:
        """Return whether these are the counts of a complete copy."""
        return (images, classes) in ((self.images, self.classes), self.holds)
