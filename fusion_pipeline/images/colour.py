"""Turns a Pillow image in any colour mode into upright RGB.

The table below is the conversion policy. It is part of a store's identity as `CONVERSION_POLICY`: raise that number
whenever a row changes, because features made before and after must not be mixed.

==========================================  ============================================================================
what the file holds                         what becomes of it
==========================================  ============================================================================
EXIF orientation 1 to 8                     applied, or XMP's if there is none; damaged or out of range counts as 1
several frames or pages                     the first one
1 bit, 8-bit grey                           the grey in each of R, G and B
alpha, transparent palette or colour key    laid over white, be the alpha premultiplied or not
palette                                     its colours
CMYK, YCCK                                  Pillow's plain conversion; no ICC profile is applied to any image
CMYK and YCCK in a JPEG                     inverted, as Adobe writes it, whether or not Adobe's marker says so
16-bit and 32-bit grey                      clipped to 0 .. 65535, then the high byte
12-bit grey TIFF                            the upper 8 bits
16-bit RGB, CMYK, RGBA                      the high bytes, as Pillow reads them
PPM with a maximum of its own               scaled to 255, or to 65535 and then the high byte
colour key of a 2-, 4- or 16-bit PNG        ignored
grey TIFF in which 0 is white               inverted
float grey, all within [0, 1]               times 255, rounded to even
float grey, all within [0, 255]             rounded to even
other float, NaN, infinity                  refused as `UnsupportedColourError`
YCbCr, HSV, LAB                             Pillow's conversion
a mode that Pillow's plugin lacks           refused as damaged: float RGB, 64-bit grey
PNG with more than 1 MB of compressed text  refused as damaged, as is such an ICC profile: it may be a bomb
TIFF that begins with a preview             refused as no image: a camera's raw file, as DNG and NEF
==========================================  ============================================================================
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

CONVERSION_POLICY: Final = "1"

_ORIENTATION_TAG: Final = 0x0112
_BITS_TAG: Final = 258
_PHOTOMETRIC_TAG: Final = 262
_WHITE_IS_ZERO: Final = 0
_SAMPLE_FORMAT_TAG: Final = 339
_UNSIGNED: Final = 1
_UPRIGHT_BY_ORIENTATION: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnsupportedColourError(ValueError):
    """The pixels have been read, but the policy knows no RGB value for them."""


def upright_rgb(image: Image.Image) -> Image.Image:
    """Return `image` in mode RGB with its EXIF orientation applied, as the policy says.

    Parameters
    ----------
    image : PIL.Image.Image
        A loaded image in any of Pillow's modes.

    Returns
    -------
    PIL.Image.Image
        A new image, mode RGB, 8 bits a channel, with no link to the file.

    Raises
    ------
    UnsupportedColourError
        For float pixels outside [0, 255], NaN and infinity, and for a mode that Pillow cannot convert.

    Examples
    --------
    >>> upright_rgb(Image.new("L", (2, 1), 7)).getpixel((1, 0))
    (7, 7, 7)
    >>> upright_rgb(Image.new("LA", (1, 1), (0, 51))).getpixel((0, 0))
    (204, 204, 204)
    """
    upright = _UPRIGHT_BY_ORIENTATION.get(_orientation(image))
    rgb = to_rgb(image)
    if upright is not None:
        rgb = rgb.transpose(upright)
    rgb.info.clear()  # an orientation left in there would be applied once more by the next careful reader
    return rgb


def to_rgb(image: Image.Image) -> Image.Image:
    """Return `image` in mode RGB, as it lies in the file.

    Parameters
    ----------
    image : PIL.Image.Image
        A loaded image in any of Pillow's modes.

    Returns
    -------
    PIL.Image.Image
        A new image, mode RGB.

    Raises
    ------
    UnsupportedColourError
        As for `upright_rgb`.

    Examples
    --------
    >>> to_rgb(Image.new("I", (1, 1), 0x1234)).getpixel((0, 0))
    (18, 18, 18)
    """
    if image.mode == "F":
        return _grey_to_rgb(_float_to_grey(np.asarray(image)))
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _grey_to_rgb(_high_bytes(image))
    if image.has_transparency_data:
        return _over_white(image)
    return _convert(image, "RGB")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # damaged EXIF raises almost anything, and never costs the image its pixels
        return 1


def _over_white(image: Image.Image) -> Image.Image:
    rgba = _convert(_convert(image, "LA") if image.mode == "La" else image, "RGBA")
    canvas = Image.new("RGB", image.size, (255, 255, 255))
    canvas.paste(rgba, mask=rgba)
    return canvas


def _convert(image: Image.Image, mode: str) -> Image.Image:
    try:
        return image.convert(mode)
    except ValueError as error:
        raise UnsupportedColourError(f"Pillow knows no way from mode {image.mode} to {mode}.") from error


def _grey_to_rgb(grey: npt.NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(grey).convert("RGB")


def _high_bytes(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Return 12-, 16- or 32-bit grey as 8 bits; Pillow leaves to us what a TIFF says of its samples."""
    tags = getattr(image, "tag_v2", {})
    bits, values = tags.get(_BITS_TAG), np.asarray(image)
    if bits == (32,) and tags.get(_SAMPLE_FORMAT_TAG, (_UNSIGNED,)) == (_UNSIGNED,):
        values = values.view(np.uint32)
    top = 0xFFF if bits == (12,) else 0xFFFF
    clipped = np.clip(values, 0, top)
    if tags.get(_PHOTOMETRIC_TAG) == _WHITE_IS_ZERO:
        clipped = top - clipped
    grey: npt.NDArray[np.uint8] = (clipped >> (top.bit_length() - 8)).astype(np.uint8)
    return grey


def _float_to_grey(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    low, high = values.min(), values.max()  # NaN if any value is NaN, and NaN fails the comparison
    if not (low >= 0 and high <= 255):
        raise UnsupportedColourError(f"Float pixels reach from {low} to {high}; 0 to 1 and 0 to 255 are understood.")
    grey: npt.NDArray[np.uint8] = np.rint(values * np.float32(255 if high <= 1 else 1)).astype(np.uint8)
    return grey
