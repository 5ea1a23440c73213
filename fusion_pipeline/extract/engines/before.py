"""What rows were made with before into what a plan leaves open, so that those to come are made alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from fusion_pipeline.extract.plan import ENGINES_OF_CPU, LAYOUTS, Plan


def as_before(plan: Plan, device: str, made: Iterable[Mapping[str, Any]]) -> Plan:
    """Return a plan whose open choices are those that were made before on such a device.

    What is fastest is found by timing on a GPU, and by the number of images and of threads on a CPU: both may end
    otherwise the next time.

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
    >>> plan = as_before(Plan("cuda"), "H100", made)
    >>> plan.batch_size, plan.layout
    (256, 'channels_first')
    >>> as_before(Plan("cuda", batch_size=64), "A100", made) == Plan("cuda", batch_size=64)
    True
    >>> as_before(Plan(), "cpu", [{"device": "cpu", "engine": "compiled"}]).before
    'compiled'
    """
    before = next((each for each in made if each.get("device") == device), {})
    size, layout, engine = (before.get(key) for key in ("batch_size", "layout", "engine"))
    return replace(
        plan,
        batch_size=plan.batch_size or (size if isinstance(size, int) and size > 0 else 0),
        layout=plan.layout or (layout if layout in LAYOUTS else ""),
        before=engine if engine in ENGINES_OF_CPU else "",
    )
