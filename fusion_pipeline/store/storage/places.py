"""Where a cache is, as a user names it, into the backend that holds it."""

from __future__ import annotations

from pathlib import Path

from fusion_pipeline.store.storage.backend import Backend
from fusion_pipeline.store.storage.local import LocalBackend


def open_backend(location: str | Path, *, single_writer: bool = False) -> Backend:
    """Return the storage at a location.

    Parameters
    ----------
    location : str or Path
        A folder, or ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``.
    single_writer : bool
        The caller vouches that nobody else writes there meanwhile: a storage that ignores conditions is then taken.

    Returns
    -------
    Backend

    Raises
    ------
    UsageError
        If nothing here speaks to such a place.

    Examples
    --------
    >>> open_backend("/tmp/cache").location
    '/tmp/cache'
    """
    text = str(location)
    if not is_remote(text):
        return LocalBackend(text.removeprefix("file://"))
    from fusion_pipeline.store.storage.objects import ObjectBackend  # noqa: PLC0415 - few caches need obstore

    return ObjectBackend(text, single_writer=single_writer)


def is_remote(location: str | Path) -> bool:
    """Return whether a location is an object store's, not a folder.

    Examples
    --------
    >>> is_remote("s3://team/features"), is_remote("cache")
    (True, False)
    """
    return "://" in str(location) and not str(location).startswith("file://")
