"""The stores of a data set become groups of images that must stay on one side of every split."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.errors import UsageError, printable
from fusion_pipeline.train.aligned import Aligned
from fusion_pipeline.train.duplicates import find_duplicates, joined

IntArray = NDArray[np.int64]

NONE: Final = "none"
DUPLICATES: Final = "duplicates"
COLUMN: Final = "column"
GROUPINGS: Final = (NONE, DUPLICATES, COLUMN)

_THUMBNAIL_SIZE = 64


def find_groups(aligned: Aligned, grouping: str) -> IntArray | None:
    """Return the group of each usable image.

    Parameters
    ----------
    aligned : Aligned
    grouping : {"none", "duplicates", "column"}
        Every image for itself; near-duplicates together, found in the thumbnails; or these and what the data set's own
        column `group` keeps together.

    Returns
    -------
    ndarray (n,), int64, or None
        None where every image is for itself.

    Raises
    ------
    UsageError
        If there is no such grouping, or the data set has no such column.
    """
    if grouping == NONE:
        return None
    if grouping not in GROUPINGS:
        raise UsageError(f"There is no grouping '{printable(grouping)}'. Known ones: {', '.join(GROUPINGS)}.")
    stores = aligned.open()
    found = find_duplicates(stores.thumbnails(_THUMBNAIL_SIZE)).groups
    if grouping == DUPLICATES:
        return found
    named = stores.groups
    if named is None:
        raise UsageError("The data set has no column 'group'. Use --groups duplicates, or a manifest with that column.")
    return joined(found, named)
