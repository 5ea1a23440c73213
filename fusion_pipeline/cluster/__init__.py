"""Calls of one function on the workers of a running Dask cluster, and what can go wrong with it as clear errors."""

from __future__ import annotations

import ipaddress
import logging
import threading
from asyncio import CancelledError
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError as FutureCancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fusion_pipeline.cluster.calls import Calls, Item, Result, is_there, suited_threads
from fusion_pipeline.errors import ClusterError, RefusedError, UsageError, printable

CONNECT_SECONDS = 15
"""For how long a scheduler, and then its first worker, is waited for."""

EVERYWHERE_SECONDS = 15
"""For how long a function that is called everywhere is waited for."""

_START_WORKERS = "'dask worker ADDRESS --nthreads 1 --nworkers N'"


@dataclass(frozen=True)
class Tls:
    """The files by which both sides of a connection know each other, in PEM format.

    Parameters
    ----------
    ca, cert, key : str
        Paths of the authority's certificate, and of ours with its key.
    """

    ca: str
    cert: str
    key: str


class Cluster:
    """A Dask cluster that somebody started: a scheduler's address, and its workers.

    Parameters
    ----------
    address : str
        ``tcp://HOST:PORT`` or ``tls://HOST:PORT``.
    tls : Tls, optional
        For ``tls://``.
    insecure : bool
        Take a scheduler on another machine without TLS: whoever can reach it can run code on its workers.
    resources : mapping of str to float
        What each call needs of a worker, by the names that workers were started with: ``{"GPU": 1}``.

    Attributes
    ----------
    client : distributed.Client
        The connection.
    resources : dict of str to float
        As given.

    Raises
    ------
    UsageError
        If the address is none.
    RefusedError
        If the scheduler is on another machine and the connection would be open.
    ClusterError
        If no scheduler answers, or it has no worker.
    """

    def __init__(
        self,
        address: str,
        *,
        tls: Tls | None = None,
        insecure: bool = False,
        resources: Mapping[str, float] | None = None,
    ) -> None:
        from distributed import Client  # noqa: PLC0415 - takes a second

        check_address(address, has_tls=tls is not None, insecure=insecure)
        self.address = address
        self.resources = dict(resources or {})
        try:
            self.client = Client(address, security=_security(tls), timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, TimeoutError) as error:
            raise ClusterError(
                f"No scheduler answers at '{printable(address)}' ({printable(str(error))[:120]}). "
                "Start one with 'dask scheduler', or check --scheduler."
            ) from None
        self._await_workers()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        logger = logging.getLogger("distributed.client")
        before = logger.level
        if not is_there(self.client):  # of a scheduler that is lost it would show a traceback
            logger.setLevel(logging.CRITICAL)
        self.client.close(timeout=5)
        logger.setLevel(before)

    def map(
        self, function: Callable[[Any, Item], Result], shared: Any, items: Sequence[Item], names: Sequence[str]
    ) -> Iterator[tuple[Item, Result]]:
        """Call a function with something that all calls share, and an item each; yield what is done first.

        A call whose worker dies is made again elsewhere, three times at most.

        Parameters
        ----------
        function : callable
            Of a module that the workers have too; it may be called twice with an item.
        shared : object
            Sent once to each worker.
        items : sequence
        names : sequence of str
            What each call is, for messages.

        Yields
        ------
        item, result

        Raises
        ------
        ClusterError
            If a call was lost with its workers too often, or the scheduler is gone.
        Exception
            Whatever a call raised.
        """
        with self.failures():
            calls: Calls[Item, Result] = Calls(self.client, function, shared, self.resources)
            try:
                yield from calls.results(items, names)
            finally:
                if is_there(self.client):
                    calls.cancel()

    def everywhere(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function, or coroutine function, once on every worker that is there; what it raises is passed over.

        It runs on the event loop of each worker, and a worker that does not answer is not waited for.
        """
        if is_there(self.client):
            call = threading.Thread(target=self._run, args=(function, *arguments), daemon=True)
            call.start()
            call.join(EVERYWHERE_SECONDS)

    def _run(self, function: Callable[..., object], *arguments: object) -> None:
        with suppress(Exception, CancelledError):
            self.client.run(function, *arguments, on_error="ignore")

    def _await_workers(self) -> None:
        try:
            self.client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except TimeoutError:
            self.client.close(timeout=5)
            raise ClusterError(
                f"The scheduler at '{printable(self.address)}' has no workers. Start some with {_START_WORKERS}."
            ) from None
        if self.resources and not suited_threads(self.client, self.resources):
            self.client.close(timeout=5)
            wanted = " ".join(f"{printable(name)}={amount:g}" for name, amount in self.resources.items())
            raise ClusterError(
                f"No worker of '{printable(self.address)}' was started with the resources {wanted}. "
                f"Start workers with '--resources \"{wanted}\"', or change --resources."
            )

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Turn a lost scheduler into one clear error."""
        from distributed.comm.core import CommClosedError  # noqa: PLC0415

        try:
            yield
        except (CancelledError, FutureCancelledError, CommClosedError, TimeoutError) as error:
            lost = (
                "dropped the calls: somebody restarted it, or cancelled them" if is_there(self.client) else "was lost"
            )
            raise ClusterError(
                f"The scheduler at '{printable(self.address)}' {lost} ({type(error).__name__}). "
                "What is finished stays: run the same command again."
            ) from None


def check_address(address: str, *, has_tls: bool = False, insecure: bool = False) -> None:
    """Refuse an address that is none, or that would send code over an open line.

    Raises
    ------
    UsageError, RefusedError

    Examples
    --------
    >>> check_address("tcp://127.0.0.1:8786")
    >>> check_address("tcp://10.0.0.7:8786")
    Traceback (most recent call last):
    ...
    fusion_pipeline.errors.RefusedError: 'tcp://10.0.0.7:8786' is on another machine ...
    """
    parts = urlsplit(address)
    try:
        known = parts.scheme in ("tcp", "tls") and parts.hostname is not None and parts.port is not None
    except ValueError:
        known = False
    if not known:
        raise UsageError(f"'{printable(address)}' is no scheduler. Give tcp://HOST:PORT or tls://HOST:PORT.")
    if parts.scheme == "tls" and not has_tls:
        raise UsageError("tls:// needs --tls-ca, --tls-cert and --tls-key, the files that its scheduler was given.")
    if parts.scheme == "tcp" and not insecure and not _is_here(str(parts.hostname)):
        raise RefusedError(
            f"'{printable(address)}' is on another machine and not encrypted: whoever reaches it can run code on the "
            "workers. Use tls:// with --tls-ca, --tls-cert and --tls-key, or --insecure in a network that you trust."
        )


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _security(tls: Tls | None) -> Any:
    from distributed.security import Security  # noqa: PLC0415

    if tls is None:
        return Security()
    return Security(require_encryption=True, tls_ca_file=tls.ca, tls_client_cert=tls.cert, tls_client_key=tls.key)
