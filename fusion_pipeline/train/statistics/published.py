"""Published percentages become the numbers of test images that they can come from.

An accuracy is a number of right images over a number of images, so 92.65 % can be 630 of 680 but nothing of 681. A
table of such values tells how many images were tested, whatever the text says.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from fusion_pipeline.errors import UsageError, printable

IntArray = NDArray[np.int64]

LARGEST = 1_000_000
"""Beyond this many test images no percentage that anybody prints tells sizes apart."""

_SHARES = tuple(Fraction(text) for text in ("1", "9/10", "4/5", "3/4", "2/3", "1/2", "1/3", "1/4", "1/5", "1/10"))
"""The test parts that protocols have: all images in cross-validation, a fold of it, or what a split holds out."""

_NUMBER = re.compile(r"(\d{1,3})(?:\.(\d{1,6}))?\s*%?", re.ASCII)


@dataclass(frozen=True)
class Percentage:
    """One percentage as it was printed.

    Attributes
    ----------
    text : str
        Without a percent sign.
    units : int
        Its digits as a whole number: 92.65 is 9265.
    digits : int
        How many of them stand after the point.
    """

    text: str
    units: int
    digits: int

    @classmethod
    def parse(cls, text: str) -> Percentage:
        """Return the percentage that `text` says.

        Raises
        ------
        UsageError
            If it is no number from 0 to 100 with at most 6 digits after a point.

        Examples
        --------
        >>> Percentage.parse("92.60 %")
        Percentage(text='92.60', units=9260, digits=2)
        """
        match = _NUMBER.fullmatch(text.strip())
        if match is not None:
            whole, rest = match[1], match[2] or ""
            if int(whole + rest) <= 100 * 10 ** len(rest):
                return cls(f"{whole}.{rest}" if rest else whole, int(whole + rest), len(rest))
        raise UsageError(
            f"'{printable(text)}' is no percentage. Give numbers from 0 to 100 as they are printed, such as 92.65."
        )

    def counts(self, sizes: IntArray) -> tuple[IntArray, IntArray]:
        """Return the least and the greatest number of right images, by size, that is printed so; none if least is more.

        A count in the middle between two printed values may have been rounded up, or to the even last digit.
        """
        unit = 200 * 10**self.digits  # in halves of the last digit, so that all bounds are whole numbers
        least = -((-sizes * (2 * self.units - 1)) // unit)
        # Only to an even last digit is a middle rounded down.
        above = sizes * (2 * self.units + 1) - (self.units % 2)
        return np.maximum(least, 0), np.minimum(above // unit, sizes)


@dataclass(frozen=True)
class Fit:
    """One number of test images, and what it makes of the percentages.

    Attributes
    ----------
    n : int
    share : Fraction or None
        What part of the data set it is, if protocols have such parts.
    consistent : bool
        Whether every percentage is a number of right images over n.
    counts : tuple of (int, int)
        The least and the greatest number of right images, in the order of the percentages; empty if not consistent.
    multiple_of : int or None
        The smallest consistent size that explains this one too: every count here is a multiple of n / multiple_of.
    chance : float
        Share of sets of as many different values, equally likely, that would be consistent with n too.
    """

    n: int
    share: Fraction | None
    consistent: bool
    counts: tuple[tuple[int, int], ...]
    multiple_of: int | None
    chance: float


@dataclass(frozen=True)
class Audit:
    """The numbers of test images that percentages are consistent with.

    Attributes
    ----------
    percentages : tuple of Percentage
    n : int
        How far was looked.
    sizes : tuple of int
        All consistent sizes up to n, ascending.
    splits : tuple of Fit
        n itself and the parts of it that protocols test on, the largest first.
    smallest : tuple of Fit
        The first few of the consistent sizes.
    """

    percentages: tuple[Percentage, ...]
    n: int
    sizes: tuple[int, ...]
    splits: tuple[Fit, ...]
    smallest: tuple[Fit, ...]


def audit(texts: Sequence[str], n: int, shown: int = 20) -> Audit:
    """Return which numbers of test images up to `n` the printed percentages are all consistent with.

    Parameters
    ----------
    texts : sequence of str
        As printed: the digits tell how they were rounded. Half up and half even are both allowed.
    n : int
        Number of images of the data set, 1 to `LARGEST`.
    shown : int
        How many of the smallest sizes are looked at closely.

    Raises
    ------
    UsageError
        If a text is no percentage, there is none, or n is out of range.

    Examples
    --------
    >>> found = audit(["92.65", "87.94", "95.15", "90.74"], 1360)
    >>> found.sizes
    (680, 1360)
    >>> found.smallest[0].counts
    ((630, 630), (598, 598), (647, 647), (617, 617))
    """
    percentages = tuple(Percentage.parse(text) for text in texts)
    if not percentages or not 1 <= n <= LARGEST:
        raise UsageError(
            f"An audit needs percentages and a size from 1 to {LARGEST:,}; give both, such as 92.65 --n 680."
        )
    sizes = np.arange(1, n + 1, dtype=np.int64)
    fits = np.ones(n, dtype=bool)
    for percentage in set(percentages):
        least, greatest = percentage.counts(sizes)
        fits &= least <= greatest
    consistent = tuple(int(size) for size in sizes[fits])
    splits = tuple(_fit(size, share, percentages, consistent) for share in _SHARES for size in _sizes_of(share, n))
    known = {split.n: split.share for split in reversed(splits)}  # where parts coincide, the largest
    smallest = tuple(_fit(size, known.get(size), percentages, consistent) for size in consistent[:shown])
    return Audit(percentages, n, consistent, splits, smallest)


def _sizes_of(share: Fraction, n: int) -> list[int]:
    """Return the whole numbers of images that a share of n is: one, or the two around it, but not none and not all."""
    down = share * n // 1
    sizes = sorted({int(down), int(-(-share * n // 1))}, reverse=True)
    return [size for size in sizes if size and (size < n or share == 1)]


def _fit(size: int, share: Fraction | None, percentages: Sequence[Percentage], consistent: Sequence[int]) -> Fit:
    bounds = [tuple(int(bound[0]) for bound in item.counts(np.array([size]))) for item in percentages]
    counts = tuple((least, greatest) for least, greatest in bounds)
    is_consistent = all(least <= greatest for least, greatest in counts)
    if not is_consistent:
        return Fit(size, share, False, (), None, _chance(size, percentages))
    base = next((small for small in consistent if small < size and _explains(size // small, counts, size, small)), None)
    return Fit(size, share, True, counts, base, _chance(size, percentages))


def _explains(factor: int, counts: Sequence[tuple[int, int]], size: int, small: int) -> bool:
    """Return whether `size` is `factor` times `small`, and so may be every count."""
    return size == factor * small and all(greatest // factor * factor >= least for least, greatest in counts)


def _chance(size: int, percentages: Sequence[Percentage]) -> float:
    """Return the share of printable values that `size` reaches, to the power of the different percentages."""
    chance = 1.0
    for item in set(percentages):
        chance *= min(1.0, (size + 1) / (100 * 10**item.digits + 1))
    return chance
