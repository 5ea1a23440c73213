"""A decoded image into the uint8 pixels that a network takes in, or into the thumbnails of an index."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
from PIL import Image

from fusion_pipeline.extract.networks.backbones import Preprocessing
from fusion_pipeline.images.decode import DecodeBudget, Reason, decode
from fusion_pipeline.images.thumbnails import THUMBNAIL_SIZES, thumbnails

Prepared = tuple[np.ndarray, ...]
"""The arrays of one image, uint8."""


class Preparation(Protocol):
    """Prepares one image. Equal ones give equal arrays, so that producers share them; another process can use them."""

    @property
    def n_bytes(self) -> int:
        """Length of all the arrays of one image."""
        ...

    def __call__(self, image: Image.Image) -> Prepared:
        """Turn one RGB image into the arrays that a producer takes in batches."""
        ...

    def __hash__(self) -> int: ...


@dataclass(frozen=True)
class Squares:
    """The thumbnails of an index.

    Examples
    --------
    >>> [array.shape for array in Squares()(Image.new("RGB", (5, 9)))], Squares().n_bytes
    ([(32, 32, 3), (64, 64, 3)], 15360)
    """

    @property
    def n_bytes(self) -> int:
        """Length of all thumbnails of one image."""
        return sum(size * size * 3 for size in THUMBNAIL_SIZES)

    def __call__(self, image: Image.Image) -> Prepared:
        """Return the image's thumbnails, (size, size, 3) uint8 each."""
        return tuple(thumbnails(image).values())


@dataclass(frozen=True)
class NetworkInput:
    """The resized and cropped image that a network takes in, before its normalisation.

    Parameters
    ----------
    input_size, crop_pct, interpolation, crop_mode
        As `Preprocessing` has them.
    border : tuple of float, optional
        The colour that fills up what a crop leaves empty.
    """

    input_size: int
    crop_pct: float
    interpolation: str
    crop_mode: str
    border: tuple[float, float, float] | None = None

    @classmethod
    def of(cls, preprocessing: Preprocessing) -> NetworkInput:
        """Return what prepares images for a network."""
        return cls(*preprocessing.geometry)

    @property
    def n_bytes(self) -> int:
        """Length of the pixels of one image."""
        return 3 * self.input_size**2

    def __call__(self, image: Image.Image) -> Prepared:
        """Return the image as (3, input_size, input_size) uint8."""
        return (np.asarray(_transform(self)(image), dtype=np.uint8),)


@dataclass(frozen=True)
class PreparedImage:
    """What became of the bytes of one file.

    Parameters
    ----------
    reason : Reason
        Whether they are an image.
    arrays : tuple of tuple
        What each preparation gave, in the order asked for; empty without an image.
    """

    reason: Reason
    arrays: tuple[Prepared, ...] = ()


def decode_and_prepare(
    content: bytes,
    budget: DecodeBudget,
    preparations: Sequence[Preparation],
    decoded: Callable[[], object] = lambda: None,
) -> PreparedImage:
    """Decode an image once and prepare it in every way that somebody needs.

    Parameters
    ----------
    content : bytes
        Of the file.
    budget : DecodeBudget
        What it may cost.
    preparations : sequence of Preparation
    decoded : callable
        Called between the two.

    Returns
    -------
    PreparedImage
    """
    image = decode(content, budget)
    decoded()
    if image.image is None:
        return PreparedImage(image.reason)
    return PreparedImage(Reason.OK, tuple(prepare(image.image) for prepare in preparations))


@cache
def _transform(wanted: NetworkInput) -> Callable[[Image.Image], Any]:
    from timm.data.transforms_factory import create_transform  # noqa: PLC0415 - takes seconds

    # use_prefetcher leaves the pixels uint8 and the normalisation to the engine: a quarter of the bytes to move.
    transform: Callable[[Image.Image], Any] = create_transform(
        (3, wanted.input_size, wanted.input_size),
        is_training=False,
        use_prefetcher=True,
        interpolation=wanted.interpolation,
        crop_pct=wanted.crop_pct,
        crop_mode=wanted.crop_mode,
        mean=wanted.border or (0.0, 0.0, 0.0),
    )
    return transform
