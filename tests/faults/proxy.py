"""An S3 server, and what goes wrong on the way to it at the Nth request, into another S3 server."""

from __future__ import annotations

import http.client
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Mishap = Callable[["Relay"], None]
"""What is done with a request in place of passing it on."""


class Relay(BaseHTTPRequestHandler):
    """Passes one request on to the server, and its answer back."""

    protocol_version = "HTTP/1.1"
    # Headers and body are sent apart; without this the body would wait for the acknowledgement of the headers.
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        self._body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.proxy.handle(self)

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET  # noqa: N815

    def forward(self) -> tuple[int, list[tuple[str, str]], bytes]:
        """Return what the server answers: status, headers and body."""
        connection = http.client.HTTPConnection(self.server.proxy.upstream, timeout=60)
        try:
            connection.request(self.command, self.path, self._body, dict(self.headers.items()))
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def reply(self, status: int, headers: list[tuple[str, str]], body: bytes, sent: int | None = None) -> None:
        """Send an answer, or only so many bytes of its body."""
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        length = dict(headers).get("Content-Length", len(body)) if self.command == "HEAD" else len(body)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:sent])

    def hang_up(self) -> None:
        """End the connection."""
        self.wfile.flush()
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    proxy: Proxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that go away."""


def passed_on(relay: Relay) -> None:
    """Nothing goes wrong."""
    relay.reply(*relay.forward())


def busy(relay: Relay) -> None:
    """The server has too much to do: 503."""
    relay.reply(503, [], b"<Error><Code>SlowDown</Code></Error>")


def denied(relay: Relay) -> None:
    """The server takes us for somebody else: 403."""
    relay.reply(403, [], b"<Error><Code>AccessDenied</Code></Error>")


def half_a_body(relay: Relay) -> None:
    """The connection ends in the middle of the answer."""
    status, headers, body = relay.forward()
    relay.reply(status, headers, body, sent=len(body) // 2)
    relay.hang_up()


def lost_answer(relay: Relay) -> None:
    """The server does what it was asked for, and the connection ends before it can say so."""
    relay.forward()
    relay.hang_up()


class Proxy:
    """Stands in front of an S3 server, and lets requests meet a mishap.

    Parameters
    ----------
    upstream : str
        URL of the server.
    endpoint : str
        URL of the proxy.

    Attributes
    ----------
    met : list of str
        The requests that met the mishap.
    """

    def __init__(self, upstream: str, endpoint: str) -> None:
        self.upstream = urlsplit(upstream).netloc
        self.endpoint = endpoint
        self._lock = threading.Lock()
        self.clear()

    def plan(self, mishap: Mishap, number: int = 1, *, lasts: bool = False, only: str = "") -> None:
        """Let the Nth request from now on meet a mishap.

        Parameters
        ----------
        mishap : callable
        number : int
            Which request, from 1 on.
        lasts : bool
            Whether all later ones do as well.
        only : str
            Begins the only requests that count, such as ``"PUT"``.
        """
        with self._lock:
            self._numbers, self._mishap = itertools.count(1), mishap
            self.met: list[str] = []
            self._only, self._first, self._lasts = only, number, lasts

    def clear(self) -> None:
        """Let all requests pass from now on."""
        self.plan(passed_on)

    def handle(self, relay: Relay) -> None:
        """Pass a request on, or let it meet the mishap."""
        with self._lock:
            request = f"{relay.command} {relay.path}"
            number = next(self._numbers) if request.startswith(self._only) else 0
            meets = number == self._first or (self._lasts and number > self._first)
            mishap = self._mishap if meets else passed_on
            if meets:
                self.met.append(request)
        mishap(relay)


@contextmanager
def proxy(upstream: str) -> Iterator[Proxy]:
    """Put a proxy in front of the server at a URL."""
    with _Server(("127.0.0.1", 0), Relay) as server:
        server.proxy = Proxy(upstream, f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.proxy
        finally:
            server.shutdown()
            thread.join()
