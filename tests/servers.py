"""Object stores on loopback, each from a server that a test session starts and stops."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

BUCKET = "team"

_START_SECONDS = 60


@contextmanager
def moto(folder: Path) -> Iterator[str]:
    """Serve S3 from memory, with one bucket; yield the URL of the endpoint."""
    port = free_port()
    with _serving([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port, folder / "moto.log"):
        endpoint = f"http://127.0.0.1:{port}"
        make_bucket(endpoint)
        yield endpoint


def variables(endpoint: str) -> dict[str, str]:
    """Return the environment by which a cache at ``s3://team/...`` is found on an endpoint."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "something",
        "AWS_REGION": "us-east-1",
    }


def make_bucket(endpoint: str, bucket: str = BUCKET) -> None:
    """Make a bucket on a server that takes requests without a signature."""
    connection = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=30)
    try:
        connection.request("PUT", f"/{bucket}")
        status = connection.getresponse().status
        assert status == 200, f"no bucket, but {status}"
    finally:
        connection.close()


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def _serving(command: list[str], port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server while the body runs; it answers by then, and is dead afterwards."""
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as server:
        try:
            _wait_until_it_listens(server, port, log)
            yield server
        finally:
            server.kill()


def _wait_until_it_listens(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert server.poll() is None, f"the server ended: {log.read_text()[-1000:]}"
            assert time.monotonic() < deadline, f"the server does not listen: {log.read_text()[-1000:]}"
            time.sleep(0.05)
