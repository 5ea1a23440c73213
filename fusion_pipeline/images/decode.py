"""Turns a file into its bytes' digest and upright RGB pixels, or into the reason why there are none."""

from __future__ import annotations

import enum
import functools
import hashlib
import io
import os
import re
import stat
import sys
from dataclasses import dataclass
from typing import Final

import PIL
from PIL import Image, features

from fusion_pipeline.errors import UsageError
from fusion_pipeline.images.colour import CONVERSION_POLICY, UnsupportedColourError, upright_rgb
from fusion_pipeline.images.quiet import PillowWarningsIgnored

MAX_ASPECT: Final = 100
"""Longer images are refused: resizing the short side of a strip to a network's input makes the long one huge."""

MAX_PIXELS: Final = 178_956_970
"""No budget allows more: twice Pillow's MAX_IMAGE_PIXELS, where Image.open raises by itself."""

_BLOCK_BYTES: Final = 1 << 20  # as large as a photograph: most files need one read, and memory stays bounded

# Only these ever reach Pillow, and each file reaches one plugin: nothing that starts a program (EPS) or is not a
# picture. The leading bytes decide, never the file's name.
_SIGNATURES: Final = (
    ("JPEG", re.compile(rb"\xff\xd8\xff")),  # Pillow's JPEG plugin hands MPO files on by itself
    ("PNG", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("WEBP", re.compile(rb"RIFF.{4}WEBP", re.DOTALL)),
    ("GIF", re.compile(rb"GIF8[79]a")),
    ("BMP", re.compile(rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL)),
    ("DIB", re.compile(rb"[\x28\x34\x38\x40\x6c\x7c]\0\0\0.{8}\x01\0", re.DOTALL)),
    ("TIFF", re.compile(rb"II[*+]\0(?!.{4}CR)|MM\0[*+]", re.DOTALL)),  # CR: a camera's raw file, Canon's CR2
    ("PPM", re.compile(rb"P[1-6f][\s#]")),
    ("JPEG2000", re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51")),
    ("AVIF", re.compile(rb".{4}ftyp(?:avi[fs]|(?:mif1|msf1).{4}(?:.{4}){0,8}?avi[fs])", re.DOTALL)),
)
_OPTIONAL_FEATURES: Final = {"WEBP": "webp", "JPEG2000": "jpg_2000", "AVIF": "avif"}  # a build of Pillow may lack them
_PNG_BIT_DEPTH: Final = 24  # offset of that byte in the header
_KEYS_MISREAD: Final = (2, 4, 16)  # bits at which Pillow scales a PNG's samples, but not its colour key
_JPEG2000_END: Final = b"\xff\xd9"  # two bytes that no coded picture has inside
_SUBFILE_TAG: Final = 254
_QUIET: Final = PillowWarningsIgnored()


@dataclass(frozen=True, slots=True)
class Member:
    """An image that is a part of a larger file, such as a tar shard.

    Parameters
    ----------
    file : bytes
        Absolute path of the larger file.
    offset, length : int
        Where the image's bytes are in it.
    name : bytes
        What the image is called there.
    """

    file: bytes
    offset: int
    length: int
    name: bytes


Place = bytes | Member
"""Where an image is read from: a file of its own, or a part of one."""


def place_name(place: Place) -> bytes:
    """Return what to call an image in a message.

    Examples
    --------
    >>> place_name(b"/pets/1.jpg"), place_name(Member(b"/pets.tar", 512, 9, b"1.jpg"))
    (b'/pets/1.jpg', b'/pets.tar: 1.jpg')
    """
    return place if isinstance(place, bytes) else place.file + b": " + place.name


class Reason(enum.IntEnum):
    """Why a row has no pixels. The numbers are stored as uint8 ``status`` and never change their meaning.

    Examples
    --------
    >>> f"rose.jpg: {Reason(3).text}"
    'rose.jpg: damaged, cut short or of an unknown kind'
    """

    OK = 0
    EMPTY = 1
    NOT_AN_IMAGE = 2
    DAMAGED = 3
    TOO_MANY_PIXELS = 4
    TOO_LARGE = 5
    UNREADABLE = 6
    UNSUPPORTED = 7
    ELONGATED = 8

    @property
    def text(self) -> str:
        """The reason in a few words, to follow a file's name in a message."""
        return _REASON_TEXTS[self]


_REASON_TEXTS: Final = {
    Reason.OK: "read",
    Reason.EMPTY: "empty file",
    Reason.NOT_AN_IMAGE: "not an image in a format that is read",
    Reason.DAMAGED: "damaged, cut short or of an unknown kind",
    Reason.TOO_MANY_PIXELS: "more pixels than the decode budget allows",
    Reason.TOO_LARGE: "more bytes than the decode budget allows",
    Reason.UNREADABLE: "cannot be read: not there, no permission, or not a file",
    Reason.UNSUPPORTED: "pixel values with no agreed colour (float out of range, NaN)",
    Reason.ELONGATED: f"more than {MAX_ASPECT} times as long as wide",
}


@dataclass(frozen=True)
class DecodeBudget:
    """How much one file may ask for before it is refused.

    Parameters
    ----------
    max_pixels : int
        Width times height, compared with the file's header before pixels are allocated. At the default an image
        costs at most 256 MB for each copy that Pillow holds (4 bytes a pixel).
    max_bytes : int
        Length of the file.

    Raises
    ------
    UsageError
        For a budget below 1, or above the 178,956,970 pixels at which Pillow's own guard refuses.

    Examples
    --------
    >>> DecodeBudget().max_pixels
    64000000
    """

    max_pixels: int = 64_000_000
    max_bytes: int = 256 << 20

    def __post_init__(self) -> None:
        if not 1 <= self.max_pixels <= MAX_PIXELS:
            raise UsageError(f"A decode budget of {self.max_pixels} pixels is out of range. Choose 1 to {MAX_PIXELS}.")
        if self.max_bytes < 1:
            raise UsageError(f"A decode budget of {self.max_bytes} bytes is out of range. Choose 1 or more.")


@dataclass(frozen=True)
class RawFile:
    """One file as read: `sha256` of all its bytes in hex ("" if unreadable), its `content` if kept, the `reason`."""

    sha256: str
    content: bytes | None
    reason: Reason


@dataclass(frozen=True)
class Decoded:
    """One file as decoded: an upright RGB `image`, or None with the `reason`."""

    image: Image.Image | None
    reason: Reason


def decoder_identity() -> dict[str, str | int]:
    """Return what decides the pixels of a given file, for the identity of a store.

    Returns
    -------
    dict
        JSON-able: the library, its major version and the version of the conversion table in `colour`.

    Examples
    --------
    >>> sorted(decoder_identity())
    ['library', 'major', 'policy']
    """
    return {"library": "Pillow", "major": int(PIL.__version__.split(".")[0]), "policy": CONVERSION_POLICY}


def read_file(path: str | os.PathLike[str] | Place, budget: DecodeBudget) -> RawFile:
    """Read and hash a file, or a part of one, with a single open; a FIFO or a device never blocks.

    Parameters
    ----------
    path : str, bytes, path-like or Member
        The file. Symbolic links are followed: the index has decided about them.
    budget : DecodeBudget
        Beyond `max_bytes` the rest of the file is hashed but not kept.

    Returns
    -------
    RawFile
        Reason OK, EMPTY, TOO_LARGE (with a digest, without content) or UNREADABLE (without either): no permission,
        vanished, not a regular file, cut short before the end of the part, an I/O error. Never raises for a bad file.

    Examples
    --------
    >>> read_file(os.devnull, DecodeBudget())
    RawFile(sha256='', content=None, reason=<Reason.UNREADABLE: 6>)
    """
    try:
        file = path.file if isinstance(path, Member) else path
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):  # ValueError: a path with a null byte
        return RawFile("", None, Reason.UNREADABLE)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return RawFile("", None, Reason.UNREADABLE)
        if not isinstance(path, Member):
            return _read_descriptor(descriptor, budget.max_bytes)
        if status.st_size < path.offset + path.length:
            return RawFile("", None, Reason.UNREADABLE)
        os.lseek(descriptor, path.offset, os.SEEK_SET)
        return _read_descriptor(descriptor, budget.max_bytes, path.length)
    except OSError:
        return RawFile("", None, Reason.UNREADABLE)
    finally:
        os.close(descriptor)


def decode(content: bytes, budget: DecodeBudget) -> Decoded:
    r"""Decode a file's bytes from memory; see `colour` for what becomes of each kind of pixel.

    Safe to call from many threads at once; does not warn, nor raise for bad bytes. One thing cannot be
    silenced from here: the C library behind compressed TIFF prints its own line to stderr when one is damaged.

    Parameters
    ----------
    content : bytes
        The whole file.
    budget : DecodeBudget
        Pixels are counted in the header, before they are allocated.

    Returns
    -------
    Decoded
        The image in mode RGB and OK, or None and the reason.

    Raises
    ------
    MemoryError
        If there is no memory for pixels that the budget allows.

    Examples
    --------
    >>> decode(b"P5 1 1 255 \x80", DecodeBudget()).image.getpixel((0, 0))
    (128, 128, 128)
    >>> decode(b"%!PS-Adobe-3.0 EPSF-3.0", DecodeBudget()).reason
    <Reason.NOT_AN_IMAGE: 2>
    """
    if not content:
        return Decoded(None, Reason.EMPTY)
    if len(content) > budget.max_bytes:
        return Decoded(None, Reason.TOO_LARGE)
    image_format = _sniff(content)
    if image_format is None:
        return Decoded(None, Reason.NOT_AN_IMAGE)
    with _QUIET:
        return _decode_as(image_format, content, budget.max_pixels)


def _read_descriptor(descriptor: int, max_bytes: int, at_most: int = sys.maxsize) -> RawFile:
    digest, blocks, length = hashlib.sha256(), [], 0
    while block := os.read(descriptor, min(_BLOCK_BYTES, at_most - length)):
        digest.update(block)
        length += len(block)
        if length <= max_bytes:
            blocks.append(block)
    if length > max_bytes:
        return RawFile(digest.hexdigest(), None, Reason.TOO_LARGE)
    return RawFile(digest.hexdigest(), b"".join(blocks), Reason.OK if length else Reason.EMPTY)


def _sniff(content: bytes) -> str | None:
    for image_format, signature in _SIGNATURES:
        if signature.match(content):
            return image_format if _is_built_in(image_format) else None
    return None


@functools.cache
def _is_built_in(image_format: str) -> bool:
    feature = _OPTIONAL_FEATURES.get(image_format)
    if feature in features.modules:
        return bool(features.check_module(feature))
    return feature is None or (feature in features.codecs and bool(features.check_codec(feature)))


def _decode_as(image_format: str, content: bytes, max_pixels: int) -> Decoded:
    try:
        with Image.open(io.BytesIO(content), formats=[image_format]) as image:
            reason = _judge_header(image_format, image, content, max_pixels)
            if reason is not Reason.OK:
                return Decoded(None, reason)
            image.load()
            if image_format == "PNG" and image.mode != "P" and content[_PNG_BIT_DEPTH] in _KEYS_MISREAD:
                image.info.pop("transparency", None)
            return Decoded(upright_rgb(image), Reason.OK)
    except MemoryError:
        raise
    except Image.DecompressionBombError:
        return Decoded(None, Reason.TOO_MANY_PIXELS)
    except UnsupportedColourError:
        return Decoded(None, Reason.UNSUPPORTED)
    except Exception:  # hostile bytes raise a dozen types in Pillow's plugins: a list of them would be incomplete
        return Decoded(None, Reason.DAMAGED)


def _judge_header(image_format: str, image: Image.Image, content: bytes, max_pixels: int) -> Reason:
    """Return why the pixels are not to be read, or OK."""
    if image.width * image.height > max_pixels:
        return Reason.TOO_MANY_PIXELS
    if max(image.size) > MAX_ASPECT * min(image.size):
        return Reason.ELONGATED
    if getattr(image, "tag_v2", {}).get(_SUBFILE_TAG, 0) & 1:  # a small copy of another page: a camera's raw file
        return Reason.NOT_AN_IMAGE
    if image_format == "JPEG2000" and _JPEG2000_END not in content:  # what is missing would be black
        return Reason.DAMAGED
    return Reason.OK
