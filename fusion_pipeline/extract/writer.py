"""Finished partitions to the storage while the next ones are computed, one at a time and in order."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Writer:
    """Runs one call after another in a thread of its own; a failure shows in the next call, or at the end.

    Examples
    --------
    >>> done = []
    >>> writer = Writer()
    >>> writer.begin(lambda: done.append(1)); writer.begin(lambda: done.append(2)); writer.wait(); done
    [1, 2]
    >>> writer.close()
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._running: Future[object] | None = None

    def begin(self, write: Callable[[], object]) -> None:
        """Wait for the call before it, then begin with this one."""
        self.wait()
        self._running = self._pool.submit(write)

    def wait(self) -> None:
        """Wait for the last call.

        Raises
        ------
        FusionError
            Whatever it raised.
        """
        running, self._running = self._running, None
        if running is not None:
            running.result()

    def close(self) -> None:
        """End the thread, once the call that it is at is done; its failure, if it has one, is dropped."""
        self._pool.shutdown(wait=True)
