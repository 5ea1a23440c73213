"""Thumbnails become groups of near-duplicates: pictures that are the same photograph, saved again or slightly cut.

Photographs from the web come twice: scaled, compressed anew, brightened, cut at an edge, turned left to right. With one
on each side of a split, a classifier is asked about what it has seen. Two looks find them, and both must agree:

1. A perceptual hash: the signs of the lowest frequencies (DCT) of the grey picture. Pairs whose hashes differ in few
   bits are candidates. Turning a picture left to right turns known signs, so mirrored copies cost one more look.
2. The correlation of the pictures' pixels, for candidates only, shifted by up to a pixel either way.

Nothing here opens an image: the index store has the thumbnails.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fusion_pipeline.errors import UsageError

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Float32Array = NDArray[np.float32]

HASH_SIDE = 9
"""The hash is the signs of the lowest 9 x 9 frequencies but the mean: 80 bits."""

MOST_BITS = 16
"""Candidates differ in at most so many bits; pictures that have nothing in common differ in about 40."""

LEAST_CORRELATION = 0.87
"""Of the pixels of two thumbnails, colours included.

Of Flowers17's pairs those that were looked at and are the same photograph, cut or framed, go down to 0.88; the first of
two different flowers is at 0.85, and its hashes differ in 22 bits.
"""

SIDE = 32
"""Thumbnails are compared at this size; larger ones are averaged down to it."""

# Hashes are compared in blocks of so many rows: 1,000 x n products of float32 at a time.
_BLOCK = 1000

# A picture whose brightness deviates by less than this (of 255) has no features to compare.
_FLAT = 2.0

# Grey by the weights of ITU-R BT.601, as pictures on screens are greyed.
_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True)
class Duplicates:
    """Pairs of near-identical pictures.

    Attributes
    ----------
    rows : int
        How many pictures there are.
    pairs : ndarray (m, 2), int64
        Row numbers, the smaller first, ascending.
    correlation : ndarray (m,), float64
        Of the pixels, at the best shift.
    mirrored : ndarray (m,), bool
        Whether one of the two had to be turned left to right.
    """

    rows: int
    pairs: IntArray
    correlation: NDArray[np.float64]
    mirrored: BoolArray

    @property
    def groups(self) -> IntArray:
        """Group number (rows,) of each picture: equal for those that pairs connect, counted by their first pictures."""
        return connected(self.rows, self.pairs)


def connected(rows: int, pairs: IntArray) -> IntArray:
    """Return the group number of each row where `pairs` (m, 2) belong together, and whatever they lead to.

    Examples
    --------
    >>> connected(5, np.array([[0, 3], [3, 4]])).tolist()
    [0, 1, 2, 0, 0]
    """
    links = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(rows, rows))
    return np.asarray(connected_components(links, directed=False)[1], dtype=np.int64)


def joined(*groupings: IntArray) -> IntArray:
    """Return the finest groups (n,) that keep together whatever any of the `groupings` (n,) keeps together.

    Examples
    --------
    >>> joined(np.array([0, 0, 1, 2]), np.array([5, 6, 6, 7])).tolist()
    [0, 0, 0, 1]
    """
    links = [np.empty((0, 2), np.int64)]
    for grouping in groupings:
        _, first, numbers = np.unique(grouping, return_index=True, return_inverse=True)
        links.append(np.column_stack([np.arange(len(grouping)), first[numbers.reshape(-1)]]))
    return connected(len(groupings[0]), np.concatenate(links))


def find_duplicates(
    thumbnails: NDArray[np.uint8],
    *,
    least_correlation: float = LEAST_CORRELATION,
    most_bits: int = MOST_BITS,
    mirrored: bool = True,
) -> Duplicates:
    """Find the pairs of near-identical pictures.

    Parameters
    ----------
    thumbnails : ndarray (n, side, side, 3), uint8
        With a side of 32 or a multiple of it.
    least_correlation : float
        Of the pixels of a pair.
    most_bits : int
        In which the hashes of a pair may differ.
    mirrored : bool
        Whether to look for pictures that are turned left to right too.

    Returns
    -------
    Duplicates

    Raises
    ------
    UsageError
        If the thumbnails have another shape.

    Examples
    --------
    >>> pictures = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    >>> brighter = np.clip(pictures[:1] * 1.1, 0, 255).astype(np.uint8)
    >>> find_duplicates(np.concatenate([pictures, brighter])).pairs.tolist()
    [[0, 3]]
    """
    if thumbnails.ndim != 4 or thumbnails.shape[1] % SIDE or thumbnails.shape[1:] != (*thumbnails.shape[1:2] * 2, 3):
        raise UsageError(f"Near-duplicates are found in square thumbnails of 32 or 64 pixels, not {thumbnails.shape}.")
    signs, flat = _hashes(thumbnails)
    straight = _verified(thumbnails, _candidates(signs, signs, flat, most_bits), least_correlation, mirror=False)
    turned = (np.empty((0, 2), np.int64), np.empty(0))
    if mirrored:
        candidates = _candidates(signs, signs * _mirror_signs(), flat, most_bits)
        turned = _verified(thumbnails, candidates, least_correlation, mirror=True)
    return _merged(len(thumbnails), straight, turned, _equal(thumbnails))


def _grey(thumbnails: NDArray[np.uint8]) -> Float32Array:
    """Return grey pictures (m, 32, 32), float32."""
    return np.asarray(_small(thumbnails) @ _GREY)


def _small(thumbnails: NDArray[np.uint8]) -> Float32Array:
    """Return the pictures averaged down to (m, 32, 32, 3), float32."""
    factor = thumbnails.shape[1] // SIDE
    total = np.zeros((len(thumbnails), SIDE, SIDE, 3), np.float32)
    for down in range(factor):
        for right in range(factor):
            total += thumbnails[:, down::factor, right::factor]
    return total / np.float32(factor**2)


def _hashes(thumbnails: NDArray[np.uint8]) -> tuple[Float32Array, BoolArray]:
    """Return the hashes (n, bits) as signs, -1 or 1, and which pictures are flat (n,)."""
    positions = (np.arange(SIDE) + 0.5) * np.pi / SIDE
    cosines = np.cos(np.arange(HASH_SIDE)[:, None] * positions).astype(np.float32)
    signs, flat = [np.empty((0, HASH_SIDE**2 - 1), np.float32)], [np.empty(0, bool)]
    for rows in _blocks(len(thumbnails)):
        grey = _grey(thumbnails[rows])
        frequencies = (cosines @ grey @ cosines.T).reshape(len(grey), -1)[:, 1:]
        signs.append(np.where(frequencies > 0, np.float32(1), np.float32(-1)))
        flat.append(grey.std(axis=(1, 2)) < _FLAT)
    return np.concatenate(signs), np.concatenate(flat)


def _mirror_signs() -> Float32Array:
    """Return what turning a picture left to right does to the signs of its hash: odd frequencies along a row turn."""
    columns = np.tile(np.arange(HASH_SIDE), HASH_SIDE)[1:]
    return np.where(columns % 2 == 1, np.float32(-1), np.float32(1))


def _blocks(n: int) -> Iterator[slice]:
    return (slice(start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK))


def _candidates(signs: Float32Array, others: Float32Array, flat: BoolArray, most_bits: int) -> IntArray:
    """Return the pairs (m, 2), the smaller row first, whose hashes differ in at most so many bits."""
    least = signs.shape[1] - 2 * most_bits  # the product of two hashes is what agrees minus what differs
    found = [np.empty((0, 2), np.int64)]
    for rows in _blocks(len(signs)):
        close = signs[rows] @ others[rows.start :].T >= least
        first, second = np.nonzero(np.triu(close, 1))
        found.append(np.column_stack([first, second]) + rows.start)
    pairs = np.concatenate(found)
    return pairs[~flat[pairs].any(axis=1)]


def _verified(
    thumbnails: NDArray[np.uint8], pairs: IntArray, least: float, *, mirror: bool
) -> tuple[IntArray, NDArray[np.float64]]:
    """Return the pairs whose pixels correlate, and how much."""
    correlation = np.empty(len(pairs))
    for rows in _blocks(len(pairs)):
        first, second = (_small(thumbnails[pairs[rows, side]]) for side in (0, 1))
        correlation[rows] = _best_correlation(first, second[:, :, ::-1] if mirror else second)
    kept = correlation >= least
    return pairs[kept], correlation[kept]


def _best_correlation(first: Float32Array, second: Float32Array) -> NDArray[np.float64]:
    """Return the largest correlation (m,) of pictures (m, 32, 32, 3) over shifts of up to a pixel either way."""
    middle = _normal(first[:, 1:-1, 1:-1])
    best = np.full(len(first), -1.0)
    for down in range(3):
        for right in range(3):
            shifted = _normal(second[:, down : down + SIDE - 2, right : right + SIDE - 2])
            best = np.maximum(best, np.einsum("ij,ij->i", middle, shifted))
    return best


def _normal(pictures: Float32Array) -> NDArray[np.float64]:
    """Return the pictures as rows of mean 0 and length 1, each colour of each picture with its own mean."""
    centred = (pictures - pictures.mean(axis=(1, 2), keepdims=True)).reshape(len(pictures), -1).astype(np.float64)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9))


def _equal(thumbnails: NDArray[np.uint8]) -> IntArray:
    """Return the pairs of pictures that are equal in every byte, flat ones included: each with its first."""
    firsts: dict[bytes, int] = {}
    pairs = [
        (firsts.setdefault(sha256(picture.tobytes()).digest(), row), row) for row, picture in enumerate(thumbnails)
    ]
    found = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return found[found[:, 0] < found[:, 1]]


def _merged(
    n: int,
    straight: tuple[IntArray, NDArray[np.float64]],
    turned: tuple[IntArray, NDArray[np.float64]],
    equal: IntArray,
) -> Duplicates:
    """Return all pairs once: what is equal or found without turning counts as that."""
    pairs = np.concatenate([equal, straight[0], turned[0]])
    correlation = np.concatenate([np.ones(len(equal)), straight[1], turned[1]])
    is_turned = np.repeat([False, True], [len(equal) + len(straight[0]), len(turned[0])])
    _, first = np.unique(pairs[:, 0] * n + pairs[:, 1], return_index=True)
    return Duplicates(n, pairs[first], correlation[first], is_turned[first])
