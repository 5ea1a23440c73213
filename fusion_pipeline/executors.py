"""Calls of pure functions, some waiting for others, become their results: in a plain loop or by Dask.

Callers describe work with `Executor.submit` and collect it with `Executor.gather`; the same calls run unchanged in a
plain loop, in threads or in local processes. This is the only module that speaks to Dask, and it imports it on use.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal, NoReturn, Protocol

from threadpoolctl import threadpool_limits

from fusion_pipeline.errors import ClusterError, UsageError

# glibc's M_MMAP_THRESHOLD and M_TRIM_THRESHOLD, and its greatest value for the former: 32 MiB.
_MALLOC_MAPPED_FROM, _MALLOC_TRIMMED_FROM, _KEPT_BYTES = -3, -1, 2**25

Progress = Callable[[int], None]
Found = Callable[["Handle", Any], None]


@dataclass(frozen=True, eq=False)
class Handle:
    """One call that an executor is to make; as an argument of another call it stands for its own result.

    Attributes
    ----------
    name : str
        What the call is, for messages.
    function : callable
    arguments : tuple
        Plain values, and handles whose results are to be passed.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


class Executor(Protocol):
    """Something that runs calls; results never depend on which executor ran them."""

    def submit(self, function: Callable[..., Any], *arguments: Any, name: str | None = None) -> Handle:
        """Describe a call and return its handle; nothing runs before `gather`.

        Parameters
        ----------
        function : callable
            A module-level function without side effects, so that any process may run it.
        *arguments
            Picklable values; a handle stands for the result of its own call.
        name : str, optional
            How messages call it; the function's name by default.
        """
        ...

    def gather(
        self, handles: Sequence[Handle], progress: Progress | None = None, found: Found | None = None
    ) -> list[Any]:
        """Run the calls and all that they wait for, each once, and return the results of `handles` in order.

        Parameters
        ----------
        handles : sequence of Handle
        progress : callable, optional
            Called with the number of finished calls after each of them.
        found : callable, optional
            Called in this process with each call and its result as soon as that is there: what is kept then is not
            lost with calls that fail later.

        Raises
        ------
        ClusterError
            If a worker was lost.
        Exception
            Whatever a call raised, as it raised it.
        """
        ...


def describe(function: Callable[..., Any], arguments: tuple[Any, ...], name: str | None = None) -> Handle:
    """Return the handle of a call, which nobody has begun."""
    return Handle(name or str(getattr(function, "__name__", function)), function, arguments)


def in_order(handles: Sequence[Handle]) -> list[Handle]:
    """Return every needed call once, each after those that it waits for.

    Examples
    --------
    >>> one = describe(max, (1, 2), "one")
    >>> [handle.name for handle in in_order([describe(pow, (one, 5), "two"), one])]
    ['one', 'two']
    """
    ordered: dict[Handle, None] = {}

    def visit(handle: Handle) -> None:
        if handle not in ordered:
            for argument in handle.arguments:
                if isinstance(argument, Handle):
                    visit(argument)
            ordered[handle] = None

    for handle in handles:
        visit(handle)
    return list(ordered)


class LoopExecutor:
    """Runs calls one after another in this process: what tests and debuggers want.

    Examples
    --------
    >>> executor = LoopExecutor()
    >>> two = executor.submit(max, 1, 2)
    >>> executor.gather([executor.submit(pow, two, 5), two])
    [32, 2]
    """

    def submit(self, function: Callable[..., Any], *arguments: Any, name: str | None = None) -> Handle:
        """Describe a call; see `Executor.submit`."""
        return describe(function, arguments, name)

    def gather(
        self, handles: Sequence[Handle], progress: Progress | None = None, found: Found | None = None
    ) -> list[Any]:
        """Run the calls in the order of their needs; see `Executor.gather`."""
        results: dict[Handle, Any] = {}
        for handle in in_order(handles):
            arguments = [results[value] if isinstance(value, Handle) else value for value in handle.arguments]
            results[handle] = handle.function(*arguments)
            if found is not None:
                found(handle, results[handle])
            if progress is not None:
                progress(len(results))
        return [results[handle] for handle in handles]


@dataclass
class _Watch:
    """Follows Dask through its callbacks: which calls run now, how many are done."""

    calls: dict[str, Handle]
    progress: Progress | None
    found: Found | None
    running: set[str] = field(default_factory=set)
    done: int = 0

    def before(self, key: Any, *_: Any) -> None:
        """Take down that a task begins."""
        self.running.add(str(key))

    def after(self, key: Any, result: Any, *_: Any) -> None:
        """Take down that a task is done, and hand on what it found."""
        self.running.discard(str(key))
        handle = self.calls.get(str(key))
        if handle is None:
            return
        self.done += 1
        if self.found is not None:
            self.found(handle, result)
        if self.progress is not None:
            self.progress(self.done)

    def running_names(self) -> str:
        """Return what messages call the tasks that run now."""
        return " or ".join(f"'{handle.name}'" for key, handle in self.calls.items() if key in self.running)


@dataclass(frozen=True)
class DaskExecutor:
    """Runs calls by Dask in local worker processes or threads.

    Parameters
    ----------
    workers : int, optional
        Calls at a time; by default one per core that this process may use.
    kind : {"processes", "threads"}
        Processes are spawned, never forked, so that no lock or thread pool of the parent is copied half-way.

    Examples
    --------
    >>> executor = DaskExecutor(workers=2, kind="threads")
    >>> executor.gather([executor.submit(pow, 2, exponent) for exponent in (1, 2, 3)])
    [2, 4, 8]
    """

    workers: int | None = None
    kind: Literal["processes", "threads"] = "processes"

    def submit(self, function: Callable[..., Any], *arguments: Any, name: str | None = None) -> Handle:
        """Describe a call; see `Executor.submit`."""
        return describe(function, arguments, name)

    def gather(
        self, handles: Sequence[Handle], progress: Progress | None = None, found: Found | None = None
    ) -> list[Any]:
        """Run the calls as one Dask graph; see `Executor.gather`."""
        from dask.base import compute  # noqa: PLC0415 - importing Dask takes longer than most commands run
        from dask.callbacks import Callback  # noqa: PLC0415

        ordered = in_order(handles)
        if not ordered:
            return []
        keys = {handle: f"{position}: {handle.name}" for position, handle in enumerate(ordered)}
        watch = _Watch({key: handle for handle, key in keys.items()}, progress, found)
        # Every call is asked for, not only `handles`: Dask would otherwise merge chains of calls into one.
        graph = _delayed(ordered, keys)
        try:
            with self._scheduler() as settings, Callback(pretask=watch.before, posttask=watch.after):  # type: ignore[no-untyped-call]
                results = compute(*graph, **settings)  # type: ignore[no-untyped-call]
        except BrokenProcessPool as error:
            raise ClusterError(
                f"A worker process died while it ran {watch.running_names()}, perhaps for lack of memory. "
                "Run the command again, with fewer workers if it dies again."
            ) from error
        except Exception as error:
            _raise_original(error)
        known = dict(zip(ordered, results, strict=True))
        return [known[handle] for handle in handles]

    @contextmanager
    def _scheduler(self) -> Iterator[dict[str, Any]]:
        """Yield the options of `dask.compute`; calls go out one by one, since each takes seconds."""
        workers = self.workers or available_cores()
        if self.kind == "threads":
            # BLAS threads are limited per process: set once around all calls, no call can restore the limit too early.
            with threadpool_limits(1):
                yield {"scheduler": "threads", "num_workers": workers, "chunksize": 1}
            return
        spawned = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, mp_context=spawned, initializer=_keep_freed_memory)
        try:
            yield {"scheduler": "processes", "pool": pool, "num_workers": workers, "chunksize": 1}
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _keep_freed_memory() -> None:
    """Let this process keep some of the memory that it frees, where its C library is glibc.

    By default every array of a few megabytes is mapped anew and cleared by the kernel, page by page, which takes a
    third of the time of training a small CNN.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    for parameter in (_MALLOC_MAPPED_FROM, _MALLOC_TRIMMED_FROM):
        mallopt(parameter, _KEPT_BYTES)


def _delayed(ordered: Sequence[Handle], keys: dict[Handle, str]) -> list[Any]:
    from dask.delayed import delayed  # noqa: PLC0415

    nodes: dict[Handle, Any] = {}
    for handle in ordered:
        arguments = [nodes[value] if isinstance(value, Handle) else value for value in handle.arguments]
        nodes[handle] = delayed(handle.function, pure=False)(*arguments, dask_key_name=keys[handle])
    return list(nodes.values())


def _raise_original(error: Exception) -> NoReturn:
    """Raise what the call itself raised, without the wrapper that Dask's process scheduler puts around it."""
    original = getattr(error, "exception", None)
    if type(error).__module__.startswith("dask") and isinstance(original, Exception):
        raise original from error
    raise error


def available_cores() -> int:
    """Return the number of cores that this process may use (at least 1)."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


EXECUTORS = ("loop", "processes", "threads")


def make_executor(name: str, workers: int | None = None) -> Executor:
    """Return the executor called `name`.

    Parameters
    ----------
    name : {"loop", "processes", "threads"}
    workers : int, optional
        Calls at a time; by default one per core. A plain loop always makes one at a time.

    Raises
    ------
    UsageError
        If there is no such executor, or fewer than one worker is asked for.

    Examples
    --------
    >>> make_executor("loop").gather([])
    []
    """
    if workers is not None and workers < 1:
        raise UsageError(f"{workers} workers cannot do anything. Give a whole number of at least 1.")
    if name == "loop":
        return LoopExecutor()
    if name == "processes":
        return DaskExecutor(workers, "processes")
    if name == "threads":
        return DaskExecutor(workers, "threads")
    nearest = get_close_matches(name, EXECUTORS, n=1, cutoff=0.0)[0]
    raise UsageError(f"There is no executor '{name}'. Did you mean '{nearest}'? Known ones: {', '.join(EXECUTORS)}.")
