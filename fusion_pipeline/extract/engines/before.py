"""What rows were made with before into what a plan leaves open, so that those to come are made alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from fusion_pipeline.extract.plan import LAYOUTS, Plan


def as_before(plan: Plan, device: str, made: Iterable[Mapping[str, Any]]) -> Plan:
    """Return a plan whose open choices are those that were made before on such a device.

    What is fastest on a GPU is found by timing, which may end otherwise the next time.

    Parameters
    ----------
    plan : Plan
    device : str
        What a store calls the device: its kind.
    made : iterable of mapping
        With what rows were made, as partitions and stores tell it; the first one of such a device counts.

    Examples
    --------
    >>> made = [{"device": "cpu", "batch_size": 8}, {"device": "H100", "batch_size": 256, "layout": "channels_first"}]
    >>> as_before(Plan("cuda"), "H100", made)
    Plan(device='cuda', engine='auto', precision='float32', batch_size=256, layout='channels_first')
    >>> as_before(Plan("cuda", batch_size=64), "A100", made)
    Plan(device='cuda', engine='auto', precision='float32', batch_size=64, layout='')
    """
    before = next((each for each in made if each.get("device") == device), {})
    size, layout = before.get("batch_size"), before.get("layout")
    return replace(
        plan,
        batch_size=plan.batch_size or (size if isinstance(size, int) and size > 0 else 0),
        layout=plan.layout or (layout if layout in LAYOUTS else ""),
    )
