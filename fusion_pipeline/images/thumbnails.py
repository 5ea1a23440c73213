"""Turns an RGB image into the small squares that the cnn gates and the report look at."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image

THUMBNAIL_SIZES: Final = (32, 64)


def thumbnail(image: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    """Return the whole of `image` squeezed into a square: R(x) of Eq. 5.

    The aspect ratio is given up rather than the borders: the gate shall see everything that the backbones may see.

    Parameters
    ----------
    image : PIL.Image.Image
        Mode RGB, any size from 1 x 1.
    size : int
        Side of the square in pixels.

    Returns
    -------
    numpy.ndarray
        uint8 ``(size, size, 3)``, antialiased bilinear (a triangle filter as wide as the reduction).

    Raises
    ------
    ValueError
        If the image is not RGB: other modes would be resampled differently, palette indices even meaninglessly.

    Examples
    --------
    >>> thumbnail(Image.new("RGB", (640, 480), (1, 2, 3)), 32)[31, 0].tolist()
    [1, 2, 3]
    """
    if image.mode != "RGB":
        raise ValueError(f"A thumbnail needs an RGB image, not mode {image.mode}.")
    return np.array(image.resize((size, size), Image.Resampling.BILINEAR))


def thumbnails(image: Image.Image) -> dict[int, npt.NDArray[np.uint8]]:
    """Return the thumbnail of `image` in each of `THUMBNAIL_SIZES`, by size.

    Each is made from the full image: 32 made from 64 would be filtered twice.

    Parameters
    ----------
    image : PIL.Image.Image
        Mode RGB.

    Returns
    -------
    dict of int to numpy.ndarray
        uint8 ``(size, size, 3)`` for each size.

    Examples
    --------
    >>> {size: square.shape for size, square in thumbnails(Image.new("RGB", (5, 9))).items()}
    {32: (32, 32, 3), 64: (64, 64, 3)}
    """
    return {size: thumbnail(image, size) for size in THUMBNAIL_SIZES}


def thumbnail_identity() -> dict[str, object]:
    """Return what decides a thumbnail's bytes beside the image, for the identity of a store.

    Returns
    -------
    dict
        JSON-able. Pillow's filters may change in the last bit with its major version only.

    Examples
    --------
    >>> thumbnail_identity()["sizes"]
    [32, 64]
    """
    return {
        "library": "Pillow",
        "major": int(PIL.__version__.split(".")[0]),
        "geometry": "squeeze",
        "interpolation": "bilinear",
        "antialias": True,
        "sizes": list(THUMBNAIL_SIZES),
    }
