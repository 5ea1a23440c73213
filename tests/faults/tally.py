"""Faults into three numbers: tried, survived and lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Tally:
    """Counts faults.

    Parameters
    ----------
    tried : int
        Faults that were made to happen.
    survived : int
        Those after which everything was as it must be.

    Examples
    --------
    >>> tally = Tally()
    >>> with tally.fault():
    ...     pass
    >>> print(tally)
    faults tried 1, survived 1, lost 0
    """

    tried: int = 0
    survived: int = 0

    @property
    def lost(self) -> int:
        """Those after which something was not."""
        return self.tried - self.survived

    @contextmanager
    def fault(self) -> Iterator[None]:
        """Count one fault, which the body makes happen; it is survived if the body ends well."""
        self.tried += 1
        yield
        self.survived += 1

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.tried + other.tried, self.survived + other.survived)

    def __str__(self) -> str:
        return f"faults tried {self.tried:,}, survived {self.survived:,}, lost {self.lost:,}"
