"""A page becomes a file, whole or not at all."""

from __future__ import annotations

from pathlib import Path

from fusion_pipeline.store.storage.local import LocalBackend


def write_page(path: Path, html: str) -> Path:
    """Write a page over what was there, and return its absolute path.

    Parameters
    ----------
    path : Path
    html : str

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    whole = path.expanduser().absolute()
    LocalBackend(whole.parent).write(whole.name, html.encode())
    return whole
