"""A server on loopback that gives one answer to everything, and the answers that there are."""

from __future__ import annotations

import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Answer(BaseHTTPRequestHandler):
    """Gives every request the answer that its server holds."""

    server: Server

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.answer(self)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815 - the library's names

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """A server on loopback with one answer to everything."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, answer: Callable[[Answer], object]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.answer = answer

    def handle_error(self, *_: object) -> None:
        """Say nothing about clients that are gone."""


def status(code: int, body: bytes = b"") -> Callable[[Answer], None]:
    def answer(request: Answer) -> None:
        request.send_response(code)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(b"" if request.command == "HEAD" else body)

    return answer


def no_answer(_: Answer) -> None:
    time.sleep(2)


def hang_up(request: Answer) -> None:
    request.close_connection = True
    request.connection.shutdown(2)


def begin_object(request: Answer, length: int) -> None:
    request.send_response(200)
    stated = {"Content-Length": str(length), "ETag": '"1"', "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
    for name, value in stated.items():
        request.send_header(name, value)
    request.end_headers()


def half(request: Answer) -> None:
    begin_object(request, 8)
    request.wfile.write(b"1234")
    hang_up(request)
