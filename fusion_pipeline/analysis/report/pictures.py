"""Square thumbnails become data URIs that a page carries in itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from fusion_pipeline.images.thumbnails import THUMBNAIL_SIZES
from fusion_pipeline.store import layout
from fusion_pipeline.store.reader import Store

IntArray = NDArray[np.int64]
ByteArray = NDArray[np.uint8]

# At 64 pixels a photograph takes 1.5 KB of text as WebP of this quality.
_QUALITY = 70

# Thumbnails read at a time: 12 MB of them.
_ROWS = 1024


def picture_uri(thumbnail: ByteArray) -> str:
    """Return a thumbnail as a data URI; the same pixels are the same text, by the same Pillow.

    Parameters
    ----------
    thumbnail : ndarray (size, size, 3), uint8

    Examples
    --------
    >>> picture_uri(np.zeros((64, 64, 3), np.uint8))[:11]
    'data:image/'
    """
    kind = "WEBP" if features.check("webp") else "JPEG"
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(thumbnail)).save(out, kind, quality=_QUALITY)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(out.getvalue()).decode()}"


def picture_uris(index: Store, rows: IntArray) -> list[str]:
    """Return the thumbnails of some rows of an index as data URIs, at the largest size that it has.

    Parameters
    ----------
    index : Store
    rows : ndarray (m,), int64
        In any order, which is kept.

    Raises
    ------
    IntegrityError
        If stored bytes are not what was published.
    """
    names = [layout.THUMBNAILS.format(size=size) for size in sorted(THUMBNAIL_SIZES, reverse=True)]
    array = index.array(next(name for name in names if name in index.array_names))
    ascending = np.unique(rows)
    uris = dict(zip(ascending.tolist(), map(picture_uri, _read(array, ascending)), strict=True))
    return [uris[row] for row in rows.tolist()]


def _read(array: Any, rows: IntArray) -> Iterator[ByteArray]:
    for start in range(0, len(rows), _ROWS):
        yield from np.asarray(array.oindex[rows[start : start + _ROWS]])
