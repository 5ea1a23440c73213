"""What the partitions of a store were made with, and by whom, into the `made` of its manifest."""

from __future__ import annotations

import getpass
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from fusion_pipeline.store.identity import canonical_json
from fusion_pipeline.store.making.record import PartitionRecord

_COMPUTED_WITH = ("device", "threads", "batch_size", "engine", "layout", "versions")
_CARRIED = ("also_made_with", "reused_from", "migrated_from")


def made_with(made: Mapping[str, Any]) -> dict[str, Any]:
    """Return with what the rows of a published store were computed, of what its manifest tells.

    Examples
    --------
    >>> made_with({"device": "cpu", "threads": 8, "user": "ada"})
    {'device': 'cpu', 'threads': 8}
    """
    return {key: made[key] for key in _COMPUTED_WITH if key in made}


def told_of_store(made: Mapping[str, Any], manifest_digest: str, rows: int) -> dict[str, Any]:
    """Return what a partition tells whose rows were taken over from a published store.

    Parameters
    ----------
    made : mapping
        What the store's manifest tells.
    manifest_digest : str
        Digest of that.
    rows : int
        How many rows the partition has.

    Returns
    -------
    dict
        See `PartitionRecord.told`; in ``before`` what the store told of its own origins.
    """
    found = {key: made[key] for key in ("softmax_deviation",) if key in made}
    before = {key: made[key] for key in _CARRIED if key in made}
    return {**found, "reused": {manifest_digest: rows}, **({"before": before} if before else {})}


def made_otherwise(made: Mapping[str, Any], records: Sequence[PartitionRecord]) -> dict[str, list[Any]]:
    """Return with what else partitions were computed, where that was not what finishes the attempt."""
    each = [record.made for record in records] + [
        dict(other) for before in _before(records) for other in before.get("also_made_with", ())
    ]
    others = {canonical_json(dict(other)): dict(other) for other in each}
    listed = [other for other in others.values() if any(made.get(key) != value for key, value in other.items())]
    return {"also_made_with": listed} if listed else {}


def told(records: Sequence[PartitionRecord]) -> dict[str, Any]:
    """Return what the partitions tell, as one: the greatest deviation, and the sum of the rows taken over."""
    deviations = [float(record.told["softmax_deviation"]) for record in records if "softmax_deviation" in record.told]
    sources: dict[str, int] = {}
    for record in records:
        for source, rows in record.told.get("reused", {}).items():
            sources[source] = sources.get(source, 0) + int(rows)
    found: dict[str, Any] = {"softmax_deviation": max(deviations)} if deviations else {}
    for before in _before(records):  # of a whole store: all its partitions tell the same
        for source, rows in before.get("reused_from", {}).items():
            sources[source] = max(sources.get(source, 0), int(rows))
        found.update({key: before[key] for key in ("migrated_from",) if key in before})
    return {**found, "reused_from": sources} if sources else found


def _before(records: Sequence[PartitionRecord]) -> list[Mapping[str, Any]]:
    """Return what the stores told of their origins from which partitions were taken over."""
    return [record.told["before"] for record in records if "before" in record.told]


def user() -> str:
    """Return the name of who runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        return "unknown"


def who_and_when() -> dict[str, str]:
    """Return user, host, and the time by this machine's clock."""
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    return {"created": now, "host": platform.node(), "user": user()}
