"""Turns Pillow's warnings into silence while images are decoded, in any number of threads at once."""

from __future__ import annotations

import re
import threading
import warnings
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, cast

# What `warnings.filterwarnings("ignore", module=r"PIL\.")` would insert.
_FILTER: Final = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


class PillowWarningsIgnored:
    """A re-entrant context in which warnings raised by Pillow's own modules are ignored.

    Pillow warns about damaged EXIF blocks, odd palettes and large images. What a file decodes to must not depend
    on the process's warning filters, for under ``-W error`` each of these would be an exception. The standard
    `warnings.catch_warnings` swaps the process-wide list of filters, so two overlapping threads restore each
    other's lists. Here the first to enter inserts one filter and the last to leave removes that one filter: nobody
    else's filters are copied, replaced or forgotten.

    Examples
    --------
    >>> before = list(warnings.filters)
    >>> quiet = PillowWarningsIgnored()
    >>> with quiet, quiet:
    ...     len(warnings.filters) - len(before)
    1
    >>> warnings.filters == before
    True
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._lists: list[list[Any]] = []

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            filters = cast("list[Any]", warnings.filters)
            # Looked at on each entry: another thread's catch_warnings may have put a different list in place.
            if filters[:1] != [_FILTER]:
                filters.insert(0, _FILTER)
                self._lists.append(filters)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                for filters in self._lists:
                    with suppress(ValueError):  # warnings.resetwarnings() has emptied it meanwhile
                        filters.remove(_FILTER)
                self._lists.clear()
