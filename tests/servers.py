"""Object stores on loopback, each from a server that a test session starts and stops."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

BUCKET = "team"

_START_SECONDS = 90
_SEAWEED = ("-s3", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.volumeSizeLimitMB=64", "-volume.max=20")
_SEAWEED_PORTS = tuple(f"{part}.port{kind}" for part in ("master", "volume", "filer", "s3") for kind in ("", ".grpc"))


@contextmanager
def moto(folder: Path) -> Iterator[str]:
    """Serve S3 from memory, with one bucket; yield the URL of the endpoint."""
    port = free_port()
    with _serving([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port, folder / "moto.log"):
        endpoint = f"http://127.0.0.1:{port}"
        make_bucket(endpoint)
        yield endpoint


class Seaweed:
    """A seaweedfs server on files of its own: it may be killed and started again, stopped and let go on.

    Parameters
    ----------
    folder : Path
        Where it keeps its files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = {name: free_port() for name in _SEAWEED_PORTS}
        self.endpoint = f"http://127.0.0.1:{self._ports['s3.port']}"
        self.start()
        _retried(lambda: make_bucket(self.endpoint), self._server, self._log)
        self.wait()

    @property
    def _log(self) -> Path:
        return self._folder / "weed.log"

    def start(self) -> None:
        """Start it; it takes some ten seconds to answer, and twice as long on files that a killed one left."""
        (self._folder / "files").mkdir(exist_ok=True)
        ports = [f"-{name}={port}" for name, port in self._ports.items()]
        with self._log.open("ab") as log:
            self._server = subprocess.Popen(
                [
                    _program("weed"),
                    "-logtostderr",
                    "server",
                    "-ip=127.0.0.1",
                    f"-dir={self._folder / 'files'}",
                    *_SEAWEED,
                    *ports,
                ],
                stdout=log,
                stderr=log,
                # With credentials in the environment it asks for them.
                env={name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            )

    def wait(self) -> None:
        """Wait until it takes objects."""
        _retried(lambda: _put(f"{self.endpoint}/{BUCKET}/.ready"), self._server, self._log)

    def kill(self) -> None:
        """Kill it as a power cut would, but for what the operating system still writes."""
        self._server.kill()
        self._server.wait()

    def freeze(self) -> None:
        """Let it answer nobody any more, with its connections open."""
        self._server.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._server.send_signal(signal.SIGCONT)


@contextmanager
def seaweedfs(folder: Path) -> Iterator[Seaweed]:
    """Serve S3 from a folder, with one bucket and conditional requests; yield the server."""
    server = Seaweed(folder)
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def rclone(folder: Path) -> Iterator[str]:
    """Serve S3 from a folder by a server that ignores conditions; yield the URL of the endpoint."""
    port = free_port()
    (folder / "files" / BUCKET).mkdir(parents=True)
    command = [_program("rclone"), "serve", "s3", f"--addr=127.0.0.1:{port}", str(folder / "files")]
    with _serving(command, port, folder / "rclone.log"):
        yield f"http://127.0.0.1:{port}"


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
    _put(f"{endpoint}/{bucket}")


def _program(name: str) -> str:
    """Return where a program is that a package of this environment brought, or the machine has."""
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if found is None:
        raise FileNotFoundError(f"There is no program {name}. 'make soak' installs it.")
    return found


def _put(url: str) -> None:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    try:
        connection.request("PUT", parts.path)
        status = connection.getresponse().status
        if status != 200:
            raise ConnectionError(f"PUT {parts.path} was answered with {status}")
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
    _retried(lambda: socket.create_connection(("127.0.0.1", port), timeout=1).close(), server, log)


def _retried(step: Callable[[], object], server: subprocess.Popen[bytes], log: Path) -> None:
    """Try a step until the server is ready for it."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            step()
            return
        except (OSError, http.client.HTTPException) as error:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"no server ({error}): {log.read_text()[-1000:]}") from error
            time.sleep(0.05)
