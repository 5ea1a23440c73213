"""The names of what a cache holds, relative to the cache."""

from __future__ import annotations

from fusion_pipeline.store.identity import short, slug

ATTEMPTS = "attempts"
MANIFEST = "manifest.json"


def store_folder(dataset: str, name: str, key: str) -> str:
    """Return the folder of a store, relative to the cache.

    Examples
    --------
    >>> store_folder("flowers17", "xception", "sha256:0123456789abcdef")
    'flowers17/xception-0123456789ab'
    """
    return f"{dataset}/{slug(name)}-{short(key)}"


def group_folder(store: str, attempt: str) -> str:
    """Return the folder of a store's Zarr group."""
    return f"{store}/{ATTEMPTS}/{attempt}"


def manifest_copy(store: str, attempt: str) -> str:
    """Return the path of the second copy of a store's manifest, from which a damaged or lost one is restored."""
    return f"{store}/{ATTEMPTS}/{attempt}.json"
