"""Calls of pure functions, some waiting for others, into their results by the workers of a cluster."""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from fusion_pipeline.cluster import Cluster
from fusion_pipeline.cluster.calls import LOOK_SECONDS, Patience, is_there, result_of
from fusion_pipeline.executors import Found, Handle, Progress, describe, in_order


class ClusterExecutor:
    """Runs calls on the workers of a cluster; see `fusion_pipeline.executors.Executor`.

    The results of calls lie on the workers for as long as others need them. What a worker that dies held is made
    again elsewhere: calls are pure, so that it is the same.

    Parameters
    ----------
    cluster : Cluster
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def submit(self, function: Callable[..., Any], *arguments: Any, name: str | None = None) -> Handle:
        """Describe a call; see `fusion_pipeline.executors.Executor.submit`."""
        return describe(function, arguments, name)

    def gather(
        self, handles: Sequence[Handle], progress: Progress | None = None, found: Found | None = None
    ) -> list[Any]:
        """Run the calls; see `fusion_pipeline.executors.Executor.gather`.

        Raises
        ------
        ClusterError
            If the scheduler is lost, or a call with its worker, again and again.
        """
        with self._cluster.failures():
            futures = self._begin(in_order(handles))
            try:
                results = self._collect(futures, progress, found)
            finally:
                if futures and is_there(self._cluster.client):
                    with suppress(Exception):  # of a scheduler that is lost nothing need be taken back
                        self._cluster.client.cancel(list(futures.values()))  # type: ignore[no-untyped-call]
        return [results[handle] for handle in handles]

    def _begin(self, calls: Sequence[Handle]) -> dict[Handle, Any]:
        from dask import config  # noqa: PLC0415 - takes a second

        futures: dict[Handle, Any] = {}
        with config.set({"distributed.admin.large-graph-warning-threshold": "1 TiB"}):  # what is known is sent once
            for call in calls:
                arguments = [futures[value] if isinstance(value, Handle) else value for value in call.arguments]
                futures[call] = self._cluster.client.submit(
                    call.function, *arguments, pure=False, resources=self._cluster.resources
                )
        return futures

    def _collect(self, futures: dict[Handle, Any], progress: Progress | None, found: Found | None) -> dict[Handle, Any]:
        """Take each result as soon as it is there, and let go of its future: dependents keep what they need."""
        done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        calls = {future.key: call for call, future in futures.items()}
        for future in futures.values():
            future.add_done_callback(done.put)
        patience = Patience(self._cluster.client, self._cluster.resources)
        results: dict[Handle, Any] = {}
        while len(results) < len(calls):
            patience.threads()
            with suppress(queue.Empty):
                future = done.get(timeout=LOOK_SECONDS)
                call = calls[future.key]
                try:
                    results[call] = result_of(future, call.name, "on workers with more memory")
                except TimeoutError:
                    if not is_there(self._cluster.client):
                        raise
                    # Its worker died before the result was fetched: it is made again.
                    future.add_done_callback(done.put)
                    continue
                del futures[call]
                if found is not None:
                    found(call, results[call])
                if progress is not None:
                    progress(len(results))
        return results
