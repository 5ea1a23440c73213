"""What the partitions of a store were made with, and by whom, into the `made` of its manifest."""

from __future__ import annotations

import getpass
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from fusion_pipeline.store.identity import canonical_json
from fusion_pipeline.store.making.record import PartitionRecord


def made_otherwise(made: Mapping[str, Any], records: Sequence[PartitionRecord]) -> dict[str, list[Any]]:
    """Return with what else partitions were computed, where that was not what finishes the attempt."""
    others = {canonical_json(dict(record.made)): dict(record.made) for record in records}
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
    return {**found, "reused_from": sources} if sources else found


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
