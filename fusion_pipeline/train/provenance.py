"""Stores become the record of what a result was made from: who they are, and the versions that made the result."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from fusion_pipeline import __version__
from fusion_pipeline.store.reader import Store

_LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch")


def describe_backbones(stores: Sequence[Store]) -> dict[str, dict[str, Any]]:
    """Return, by name, what each store says of its backbone, and the digests that tell it from any other."""
    return {
        store.name: {
            "key": store.manifest.key,
            "manifest": store.manifest_digest,
            "identity": store.identity,
            "source": store.manifest.made.get("source", {}),
        }
        for store in stores
    }


def versions() -> dict[str, str]:
    """Return the versions of what decides the numbers.

    Examples
    --------
    >>> sorted(versions())
    ['fusion-pipeline', 'numpy', 'python', 'scikit-learn', 'scipy', 'torch']
    """
    libraries = {name: version(name) for name in _LIBRARIES}
    return {**libraries, "fusion-pipeline": __version__, "python": platform.python_version()}
