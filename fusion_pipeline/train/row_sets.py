"""Row numbers become a small set that can be compared, named by a digest, and written as JSON."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fusion_pipeline.errors import FormatError

IntArray = NDArray[np.int64]

# A set of at most so many runs is written as ranges, which people can read; any other as bits.
_MOST_RANGES = 16


@dataclass(frozen=True)
class RowSet:
    """A set of the rows 0 .. n - 1: an eighth of a byte for each row there could be.

    Attributes
    ----------
    n : int
    bits : bytes
        One bit a row, the first row highest.

    Examples
    --------
    >>> train, test = RowSet.of([0, 1, 2], 5), RowSet.of([3, 4], 5)
    >>> len(train | test), len(train & test), train.rows.tolist()
    (5, 0, [0, 1, 2])
    """

    n: int
    bits: bytes

    @classmethod
    def of(cls, rows: ArrayLike, n: int) -> RowSet:
        """Return the set of `rows`, whole numbers from 0 to n - 1 in any order.

        Raises
        ------
        ValueError
            If one of them is no row.
        """
        numbers = np.asarray(rows, dtype=np.int64)
        if len(numbers) and not 0 <= int(numbers.min()) <= int(numbers.max()) < n:
            raise ValueError(f"Rows {numbers.min()} to {numbers.max()} are not all among {n}.")
        marks = np.zeros(n, dtype=bool)
        marks[numbers] = True
        return cls(n, np.packbits(marks).tobytes())

    @cached_property
    def rows(self) -> IntArray:
        """The rows (m,), int64, ascending."""
        return np.flatnonzero(np.unpackbits(np.frombuffer(self.bits, np.uint8), count=self.n))

    @cached_property
    def digest(self) -> str:
        """The sha256 of n and the bits."""
        return f"sha256:{sha256(b'%d:' % self.n + self.bits).hexdigest()}"

    def __len__(self) -> int:
        return int.from_bytes(self.bits, "big").bit_count()

    def __and__(self, other: RowSet) -> RowSet:
        return self._with(int.from_bytes(self.bits, "big") & int.from_bytes(other.bits, "big"))

    def __or__(self, other: RowSet) -> RowSet:
        return self._with(int.from_bytes(self.bits, "big") | int.from_bytes(other.bits, "big"))

    def __sub__(self, other: RowSet) -> RowSet:
        return self._with(int.from_bytes(self.bits, "big") & ~int.from_bytes(other.bits, "big"))

    def _with(self, bits: int) -> RowSet:
        return RowSet(self.n, bits.to_bytes(len(self.bits), "big"))

    def whole_groups(self, groups: IntArray) -> RowSet:
        """Return all rows whose group in `groups` (n,) has a row in this set."""
        return RowSet.of(np.flatnonzero(np.isin(groups, groups[self.rows])), self.n)

    def to_json(self) -> dict[str, Any]:
        """Return the set as a JSON value: ``ranges`` of first and last row, or packed ``bits`` in base64."""
        rows = self.rows
        starts = np.flatnonzero(np.diff(rows, prepend=-2) > 1)
        if len(starts) > _MOST_RANGES:
            return {"n": self.n, "bits": base64.b64encode(self.bits).decode()}
        ends = np.append(starts[1:], len(rows)) - 1 if len(rows) else starts
        return {"n": self.n, "ranges": [[int(rows[a]), int(rows[b])] for a, b in zip(starts, ends, strict=True)]}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> RowSet:
        """Return the set that `to_json` wrote.

        Raises
        ------
        FormatError
            If it is none.
        """
        try:
            n = int(content["n"])
            if "bits" not in content:
                pieces = [np.arange(first, last + 1) for first, last in content["ranges"]]
                return cls.of(np.concatenate([np.empty(0, np.int64), *pieces]), n)
            found = cls(n, base64.b64decode(content["bits"], validate=True))
            if len(found.bits) != -(-n // 8) or cls.of(found.rows, n) != found:
                raise ValueError("bits of another number of rows")
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise FormatError(
                f"A set of rows in the ledger cannot be read: {error}. Run the benchmark again."
            ) from None
        return found
