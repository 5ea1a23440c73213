"""The name of a published file into the hash that it states, and other bytes into a refusal."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from fusion_pipeline.errors import RefusedError, printable

_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.")
_ALGORITHMS = {64: "sha256", 40: "git sha1"}


@dataclass(frozen=True)
class StatedHash:
    """What a file's name states of its bytes.

    Parameters
    ----------
    algorithm : {"sha256", "git sha1"}
        Of the bytes alone, or of git's ``blob`` with them.
    digits : str
        The first hexadecimal digits of it, or all.

    Examples
    --------
    >>> StatedHash("sha256", "ba7816bf").fits(Path("abc"), "sha256:ba7816bf8f01cfea")
    True
    """

    algorithm: str
    digits: str

    def fits(self, path: Path, sha256: str) -> bool:
        """Return whether a file is what is stated; `sha256` is as `file_sha256` returns it."""
        found = sha256.removeprefix("sha256:") if self.algorithm == "sha256" else _git_sha1(path)
        return found.startswith(self.digits)


def hash_in_name(name: str) -> StatedHash | None:
    """Return the hash that a file's name ends in, as torch and torchvision write it.

    Examples
    --------
    >>> hash_in_name("resnet18-f37072fd.pth")
    StatedHash(algorithm='sha256', digits='f37072fd')
    >>> hash_in_name("IN1K-vit.h.14-300e.pth.tar")
    """
    found = _IN_NAME.search(name)
    return StatedHash("sha256", found[1]) if found else None


def hash_in_link(path: Path) -> StatedHash | None:
    """Return the hash in the name of what a file in the hub's cache is a link to; None where there are no links.

    The hub names a large file by its sha256 and a small one as git does.
    """
    if not path.is_symlink():
        return None
    name = os.path.basename(os.readlink(path))
    algorithm = _ALGORITHMS.get(len(name)) if re.fullmatch("[0-9a-f]+", name) else None
    return StatedHash(algorithm, name) if algorithm else None


def refuse_other_bytes(path: Path, stated: StatedHash | None, sha256: str) -> None:
    """Refuse a published file that is not what its name states.

    Parameters
    ----------
    path : Path
        Where it is.
    stated : StatedHash or None
        What its name states; nothing is refused without.
    sha256 : str
        What it is, as `file_sha256` returns it.

    Raises
    ------
    RefusedError
        If it is something else.
    """
    if stated is None or stated.fits(path, sha256):
        return
    # The link would only be laid anew to the same wrong bytes.
    raise RefusedError(
        f"Weights file '{printable(str(path.resolve()))}' is not what its name states, {stated.algorithm} "
        f"{stated.digits[:12]}: it is damaged, or another file ({sha256[:19]}). Remove it to have it downloaded again, "
        "or give a file of your own with --weights."
    )


def _git_sha1(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
