"""What a result was made from, into canonical JSON and a key."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

FORMAT_MAJOR = 1
"""Major version of the store format; part of every identity."""

# Made once: a cache of a thousand stores needs it thousands of times.
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)

Recipe = Mapping[str, Any]
"""An identity without the data set: how a store is made, whatever images it is made from."""


def canonical_json(value: Any) -> bytes:
    """Return `value` as JSON that is the same bytes for equal values: sorted keys, no spaces, ASCII, no NaN.

    Examples
    --------
    >>> canonical_json({"b": 1, "a": [0.5, None]})
    b'{"a":[0.5,null],"b":1}'
    """
    return _CANONICAL.encode(value).encode("ascii")


def digest(value: Any) -> str:
    """Return the sha256 of the canonical JSON of `value`, as ``"sha256:<hex>"``."""
    return digest_bytes(canonical_json(value))


def digest_bytes(content: bytes) -> str:
    """Return the sha256 of `content`, as ``"sha256:<hex>"``."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def short(key: str) -> str:
    """Return the first twelve hexadecimal digits of a digest, as folder names show them.

    Examples
    --------
    >>> short("sha256:0123456789abcdef")
    '0123456789ab'
    """
    return key.removeprefix("sha256:")[:12]


def slug(name: str) -> str:
    """Return `name` as one safe folder name, which never looks half-written, also where a key follows it.

    Examples
    --------
    >>> slug("timm:vit_small_patch14_dinov2.lvd142m"), slug("some.partial-net")
    ('timm-vit_small_patch14_dinov2.lvd142m', 'some-partial-net')
    """
    safe = re.sub(r"[^A-Za-z0-9._-]", "-", name).lstrip(".-")
    return re.sub(r"\.partial(?=-|$)", "-partial", safe) or "unnamed"


def store_identity(recipe: Recipe, dataset: str) -> dict[str, Any]:
    """Return the identity of a store: its recipe, the data-set digest and the format.

    Parameters
    ----------
    recipe : mapping
        How the store is made.
    dataset : str
        Digest of the data-set version.

    Returns
    -------
    dict
        Its `digest` is the store's key.
    """
    return {**recipe, "dataset": dataset, "format": FORMAT_MAJOR}


def differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return what differs between two recipes or identities, both sides shown.

    Examples
    --------
    >>> differences({"dtype": "float16", "weights": {"sha": "a"}}, {"dtype": "float32", "weights": {"sha": "a"}})
    ["dtype was 'float16', now 'float32'"]
    """
    found: list[str] = []
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(f"{prefix}{key} was {old!r}, now {new!r}")
    return found


def recipe_of(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a store was made, whatever its images: the inverse of `store_identity`.

    Examples
    --------
    >>> recipe_of(store_identity({"kind": "index"}, "sha256:00"))
    {'kind': 'index'}
    """
    return {key: value for key, value in identity.items() if key not in ("dataset", "format")}
