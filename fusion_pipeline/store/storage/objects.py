"""Paths below a cache into objects of an S3-compatible, Google or Azure object store."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotSupportedError, PreconditionError
from obstore.store import from_url

from fusion_pipeline.errors import DeniedError, RefusedError, StorageError, UsageError, printable
from fusion_pipeline.store.storage.backend import Backend, Entries, StoredFile

SCHEMES = ("s3", "gs", "az")
"""Which URLs name an object store that a cache can lie in."""

# The libraries' own patience is minutes. A request of which nothing is heard for half a minute ends, and is then not
# repeated; one that fails at once, as while a server starts again, is repeated for up to twenty seconds. A large object
# on a slow line may take long: of one that is fetched something is heard all the time, and while one is sent the server
# is asked now and then whether it still answers.
_CLIENT = {"connect_timeout": "5s", "read_timeout": "30s", "timeout": "30m"}
_ASK_SECONDS = 10.0
_SOON_SENT = 16 << 10
_RETRIES = {
    "max_retries": 8,
    "retry_timeout": timedelta(seconds=20),
    "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=5), "base": 2},
}
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")

_DUMP, _ANSWERED = "Debug source:", re.compile(r"status code: (\d{3}[ \w]*)")


class ObjectBackend(Backend):
    """A prefix of a bucket.

    An object is durable, and whole, when its PUT is answered. `create` is a PUT with ``If-None-Match: *``; a store that
    ignores that header is found out before anything is created in it.

    Parameters
    ----------
    location : str
        ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``. Credentials, region and endpoint
        come from the usual variables (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL`` and so on).
    single_writer : bool
        The caller vouches that nobody else writes there meanwhile: conditions are then not needed.
    store : obstore store, optional
        The store itself, in place of what `location` names.

    Raises
    ------
    UsageError
        If `location` is no such URL.

    Examples
    --------
    >>> from obstore.store import MemoryStore
    >>> backend = ObjectBackend("s3://team/features", store=MemoryStore())
    >>> backend.write("a/b", b"12"); backend.read("a/b"), backend.create("a/b", b"34"), backend.list("a")
    (b'12', False, ['b'])
    """

    concurrency = 16

    def __init__(self, location: str, *, single_writer: bool = False, store: Any = None) -> None:
        self.location = location.rstrip("/")
        self._single_writer = single_writer
        self._store = _open_store(self.location, _CLIENT) if store is None else store
        patient = {name: limit for name, limit in _CLIENT.items() if name != "read_timeout"}
        self._sends = _open_store(self.location, patient) if store is None else store

    def where(self, path: str) -> str:
        """Return the URL of an object."""
        return f"{self.location}/{path}" if path else self.location

    def read(self, path: str, at_most: int | None = None) -> bytes | None:
        """Return the content of an object, or None; see `Backend.read`."""
        with self._storage_errors(path):
            try:
                found = obstore.get(self._store, path)
            except FileNotFoundError:
                return None
            if at_most is not None and found.meta["size"] > at_most:
                return bytes(obstore.get_range(self._store, path, start=0, length=at_most + 1))
            return bytes(found.bytes())

    def length(self, path: str) -> int | None:
        """Return the length of an object, or None."""
        with self._storage_errors(path):
            try:
                return int(obstore.head(self._store, path)["size"])
            except FileNotFoundError:
                return None

    def lengths(self, folder: str, names: Sequence[str]) -> list[int | None]:
        """Return the lengths of objects below a prefix: a listing tells a thousand of them at once."""
        found = {file.path: file.length for file in self.walk(folder)}
        return [found.get(f"{folder}/{name}") for name in names]

    def holds(self, path: str, content: bytes) -> bool:
        """Return whether an object is there with exactly this content; it is read only if its tag does not tell."""
        with self._storage_errors(path):
            try:
                found = obstore.head(self._store, path)
            except FileNotFoundError:
                return False
        if int(found["size"]) != len(content):
            return False
        return _tag(found) == _md5(content) or super().holds(path, content)

    def entries(self, path: str) -> Entries:
        """Return what lies directly below a prefix."""
        with self._storage_errors(path):
            found = obstore.list_with_delimiter(self._store, path or None)
        skipped = len(path) + 1 if path else 0
        files = sorted(str(item["path"])[skipped:] for item in found["objects"])
        folders = sorted(str(prefix).rstrip("/")[skipped:] for prefix in found["common_prefixes"])
        return Entries(tuple(files), tuple(folders))

    def walk(self, path: str) -> Iterator[StoredFile]:
        """Yield all objects below a prefix."""
        with self._storage_errors(path):
            for page in obstore.list(self._store, path or None, chunk_size=1000):
                for item in page:
                    yield StoredFile(str(item["path"]), int(item["size"]), item["last_modified"].timestamp())

    def write(self, path: str, content: bytes) -> None:
        """Put an object over what was there."""
        with self._storage_errors(path):
            self._put(path, content)

    def create(self, path: str, content: bytes) -> bool:
        """Put an object unless there is one."""
        if self._single_writer:
            if self.length(path) is not None:
                return False
            self.write(path, content)
            return True
        self.check_conditions()
        return self._create(path, content)

    def swap(self, path: str, before: bytes | None, content: bytes) -> bool:
        """Put an object if it is still the one that held `before`."""
        if before is None:
            return self.create(path, content)
        with self._storage_errors(path):
            try:
                found = obstore.get(self._store, path)
            except FileNotFoundError:
                return False
            version = {name: tag for name in ("e_tag", "version") if (tag := found.meta[name]) is not None}
            if bytes(found.bytes()) != before:
                return False
            if self._single_writer:
                self._put(path, content)
                return True
            try:
                self._put(path, content, mode=version)
            except (PreconditionError, FileNotFoundError):
                # Or the answer to our own PUT was lost, and its repetition found it done.
                return self.read(path) == content
            except NotSupportedError:
                self._put(path, content)
        return True

    def copy_all(self, files: Mapping[str, str]) -> None:
        """Copy objects within the store: the bytes never pass through here."""

        def copy(target: str) -> None:
            with self._storage_errors(target, passing=FileNotFoundError):
                obstore.copy(self._store, files[target], target)

        for _ in self.map(copy, list(files)):
            pass

    def remove(self, path: str) -> None:
        """Remove all objects below a prefix."""
        with self._storage_errors(path):
            for page in obstore.list(self._store, path, chunk_size=1000):
                obstore.delete(self._store, [str(item["path"]) for item in page])

    def remove_file(self, path: str) -> None:
        """Remove an object, if it is there."""
        with self._storage_errors(path):
            try:
                obstore.delete(self._store, path)
            except FileNotFoundError:
                return

    def check_writable(self) -> None:
        """Write and remove an object, and see that the store keeps its conditions."""
        if not self._single_writer:
            self.check_conditions()
            return
        path = _probe()
        self.write(path, b"?")
        self.remove_file(path)

    def check_conditions(self) -> None:
        """Insist that the store refuses to create what is there.

        Raises
        ------
        RefusedError
            If it does not: two writers could then both believe that they published.
        """
        _ = self._keeps_conditions

    @cached_property
    def _keeps_conditions(self) -> bool:
        path = _probe()
        try:
            refused = self._create(path, b"first") and not self._create(path, b"second")
        finally:
            if not self.failing:
                self.remove_file(path)
        if not refused:
            raise RefusedError(
                f"'{printable(self.location)}' ignores If-None-Match: two writers could both believe that they "
                "published a store. Use another object store, or --single-writer if nobody else writes there meanwhile."
            )
        return True

    def _create(self, path: str, content: bytes) -> bool:
        with self._storage_errors(path):
            try:
                self._put(path, content, mode="create")
            except (AlreadyExistsError, PreconditionError):
                # The answer to a PUT that succeeded may be lost: its repetition is refused, though the object is ours.
                return self.read(path) == content
        return True

    def _put(self, path: str, content: bytes, mode: Any = "overwrite") -> None:
        if len(content) <= _SOON_SENT:
            put = obstore.put(self._store, path, content, mode=mode, use_multipart=False)
        else:
            with ThreadPoolExecutor(1) as own:  # this thread may be one that runs an event loop, as a notebook's does
                put = own.submit(asyncio.run, self._send(path, content, mode)).result()
        if len(_tag(put)) == 32 and _tag(put) != _md5(content):
            self._check_arrived(path, content)

    async def _send(self, path: str, content: bytes, mode: Any) -> Any:
        """Put an object, however long that takes, as long as the server answers others meanwhile."""
        sent = asyncio.ensure_future(obstore.put_async(self._sends, path, content, mode=mode, use_multipart=False))
        try:
            while not (await asyncio.wait({sent}, timeout=_ASK_SECONDS))[0]:
                await self._ask(path)
            return sent.result()
        finally:
            sent.cancel()

    async def _ask(self, path: str) -> None:
        """Ask the server for anything; fail if it does not answer."""
        try:
            await obstore.head_async(self._store, path)
        except (BaseError, OSError) as error:
            if not isinstance(error, FileNotFoundError) and not _is_answer(error):
                raise

    def _check_arrived(self, path: str, content: bytes) -> None:
        """Read back what a store acknowledged with a tag that is not the MD5 of it, as encrypting ones do."""
        if self.read(path) != content:
            raise StorageError(
                f"'{printable(self.where(path))}' holds other bytes than were sent. Run the same command again."
            )

    @contextmanager
    def _storage_errors(self, path: str, passing: type[OSError] | tuple[()] = ()) -> Iterator[None]:
        try:
            yield
        except passing:
            raise
        except (BaseError, OSError) as error:
            self.failing = True
            kind = DeniedError if _is_denied(error) else StorageError
            raise kind(
                f"Storage failed at '{printable(self.where(path))}': {_reason(error)} Then run the same command again."
            ) from error
        else:
            self.failing = False


def _open_store(location: str, limits: Mapping[str, str]) -> Any:
    scheme, _, rest = location.partition("://")
    if scheme not in SCHEMES or not rest.strip("/"):
        known = ", ".join(f"{name}://BUCKET/PREFIX" for name in SCHEMES)
        raise UsageError(f"Cache '{printable(location)}' is neither a folder nor one of {known}.")
    options: dict[str, Any] = {}
    endpoint = next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), None)
    client: dict[str, Any] = dict(limits)
    if scheme == "s3" and endpoint is not None:
        options["endpoint"] = endpoint
        client["allow_http"] = endpoint.startswith("http://")
        if not os.environ.get("AWS_REGION") and not os.environ.get("AWS_DEFAULT_REGION"):
            options["region"] = "us-east-1"
    try:
        opened: Any = from_url(location, client_options=client, retry_config=_RETRIES, **options)  # type: ignore[call-overload]
        return opened
    except (BaseError, ValueError, OSError) as error:
        raise UsageError(f"Cache '{printable(location)}' cannot be opened: {_first_line(error)}.") from None


def _probe() -> str:
    return f".probe/{uuid.uuid4().hex}"


def _tag(described: Mapping[str, Any]) -> str:
    return str(described.get("e_tag") or "").strip('"')


def _md5(content: bytes) -> str:
    """Return what most stores tag an unencrypted object with."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _is_answer(error: Exception) -> re.Match[str] | None:
    return _ANSWERED.search(str(error).partition(_DUMP)[0])


def _is_denied(error: Exception) -> bool:
    answered = _is_answer(error)
    return isinstance(error, PermissionError) or (answered is not None and answered[1][:3] in ("401", "403"))


def _reason(error: Exception) -> str:
    """Return what happened, and what to mend, in a sentence each."""
    # Below the message lies a dump of the library's own objects, which names every setting and kind of failure.
    told, _, dump = str(error).partition(_DUMP)
    answered = _is_answer(error)
    if _is_denied(error):
        return "access denied. Check the credentials and what they allow."
    if "NoSuchBucket" in told or isinstance(error, FileNotFoundError):
        return "there is no such bucket. Make it, or check its name."
    if answered:
        return f"the server answered {printable(answered[1].strip())}. See what ails it."
    if "kind: Timeout" in dump:
        return "no answer in time. See that the server runs and can be reached."
    if "error sending request" in told:
        return "the server cannot be reached. See that it runs."
    return f"{_first_line(error)}. Mend it."


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return printable(lines[0])[:200].rstrip(".") if lines else type(error).__name__
