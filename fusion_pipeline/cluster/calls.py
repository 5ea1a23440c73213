"""Items into calls on a cluster's workers: as many at a time as these can be at, each again where its worker dies."""

from __future__ import annotations

import pickle
import queue
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Generic, NamedTuple, TypeVar

from fusion_pipeline.errors import ClusterError

Item = TypeVar("Item")
Result = TypeVar("Result")

PATIENCE_SECONDS = 600.0
"""For how long workers are waited for once there are none any more: those of a queue come back."""

LOOK_SECONDS = 5.0
"""How often workers are counted."""

_AHEAD = 2
_RESULT_SECONDS = 15


class _Begun(NamedTuple):
    """A call that is under way."""

    future: Any
    item: Any
    name: str


class Patience:
    """Counts the workers now and then, and gives up once there have been none for long.

    Parameters
    ----------
    client : distributed.Client
    resources : mapping of str to float
        What a worker must have to count.
    """

    def __init__(self, client: Any, resources: Mapping[str, float]) -> None:
        self._client = client
        self._resources = resources
        self._looked = self._seen = -float("inf")
        self._threads = 0

    def threads(self) -> int:
        """Return how many threads the workers had when they were counted last.

        Raises
        ------
        ClusterError
            If there has been no worker for `PATIENCE_SECONDS`.
        """
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS and is_there(self._client):
            self._looked, self._threads = now, suited_threads(self._client, self._resources)
            if self._threads or self._seen < 0:
                self._seen = now
            elif now - self._seen >= PATIENCE_SECONDS:
                raise ClusterError(
                    f"No worker has been there for {PATIENCE_SECONDS / 60:.0f} minutes. What is finished stays: start "
                    "workers, and run the same command again."
                )
        return self._threads


class Calls(Generic[Item, Result]):
    """Calls of one function on a cluster's workers, with something that all calls share.

    A thread of a worker is given the call that it is at and the next one: what a worker that dies costs is that, and
    neither client nor scheduler holds all items or results at once.

    Parameters
    ----------
    client : distributed.Client
    function : callable
        Of a module that the workers have too; it may be called twice with an item.
    shared : object
        Sent once to each worker.
    resources : mapping of str to float
        What each call needs of a worker.

    Raises
    ------
    distributed.FutureCancelledError
        From `results`: if the scheduler is lost, or somebody made it forget the calls.
    """

    def __init__(
        self,
        client: Any,
        function: Callable[[Any, Item], Result],
        shared: object,
        resources: Mapping[str, float],
    ) -> None:
        self._client = client
        self._resources = dict(resources)
        # A task, no scattered data: these would be gone with the last worker that holds them. As bytes, so that the
        # scheduler need not have what the function imports.
        self._shared = _submit_large(client, pickle.dumps((function, shared)))
        self._done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._begun: dict[str, _Begun] = {}
        self._patience = Patience(client, self._resources)

    def results(self, items: Sequence[Item], names: Sequence[str]) -> Iterator[tuple[Item, Result]]:
        """Call the function with each item; yield what is done first. See `Cluster.map`."""
        waiting = iter(zip(items, names, strict=True))
        while True:
            for item, name in islice(waiting, max(self._room() - len(self._begun), 0)):
                self._begin(item, name)
            if not self._begun:
                return
            with suppress(queue.Empty):
                begun = self._begun[self._done.get(timeout=LOOK_SECONDS).key]
                try:
                    result = self._result(begun)
                except TimeoutError:
                    if not is_there(self._client):
                        raise
                    # Its worker died before the result was fetched: it is made again.
                    begun.future.add_done_callback(self._done.put)
                    continue
                del self._begun[begun.future.key]
                begun.future.release()  # or its worker would keep the result, and make it again if another one dies
                yield begun.item, result

    def cancel(self) -> None:
        """Let go of all calls: those that no worker is at are never made."""
        with suppress(Exception):  # of a scheduler that is lost nothing need be taken back
            self._client.cancel([self._shared, *(begun.future for begun in self._begun.values())])

    def _begin(self, item: Item, name: str) -> None:
        future = self._client.submit(_call, self._shared, item, pure=False, resources=self._resources)
        self._begun[future.key] = _Begun(future, item, name)
        future.add_done_callback(self._done.put)

    def _result(self, begun: _Begun) -> Any:
        return result_of(begun.future, begun.name, "with fewer --workers or a smaller --batch-size")

    def _room(self) -> int:
        """Return how many calls are to be under way, by the workers that are there."""
        return max(_AHEAD * self._patience.threads(), 1)


def result_of(future: Any, name: str, advice: str) -> Any:
    """Return the result of a future that is done.

    Raises
    ------
    ClusterError
        If its worker died, and the next ones too.
    """
    from distributed import KilledWorker  # noqa: PLC0415 - takes a second

    try:
        return future.result(timeout=_RESULT_SECONDS)
    except KilledWorker as error:
        raise ClusterError(
            f"{name} was lost with its worker {error.allowed_failures + 1} times: too little memory? "
            f"What is finished stays: run the same command again, {advice}."
        ) from None


def is_there(client: Any) -> bool:
    """Return whether a client's connection to its scheduler stands."""
    return bool(client.status == "running")


def suited_threads(client: Any, resources: Mapping[str, float]) -> int:
    """Return the number of threads of those workers of a cluster that have all of some resources."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return sum(worker["nthreads"] for worker in workers if _has_all(worker.get("resources", {}), resources))


def _has_all(had: Mapping[str, float], resources: Mapping[str, float]) -> bool:
    return all(had.get(name, 0) >= amount for name, amount in resources.items())


def _submit_large(client: Any, content: bytes) -> Any:
    from dask import config  # noqa: PLC0415

    with config.set({"distributed.admin.large-graph-warning-threshold": "1 TiB"}):  # it is sent only once
        return client.submit(_unpacked, content, pure=False)


def _unpacked(content: bytes) -> Any:
    return pickle.loads(content)  # noqa: S301 - whoever reaches the scheduler can run code here anyway


def _call(shared: tuple[Callable[[Any, Item], Result], Any], item: Item) -> Result:
    function, argument = shared
    return function(argument, item)
