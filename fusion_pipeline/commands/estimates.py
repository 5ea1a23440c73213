"""What an extraction would do, into lines for people and into one JSON document."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Any

from fusion_pipeline.commands.lines import skipped_lines
from fusion_pipeline.errors import printable

if TYPE_CHECKING:
    from fusion_pipeline.extract.estimates.draft import StorePlan, WeightsFile, Work
    from fusion_pipeline.extract.estimates.estimate import Estimate
    from fusion_pipeline.extract.estimates.forecast import PlannedArray
    from fusion_pipeline.images.listing import ImageListing
    from fusion_pipeline.store import Cache

_BAD_SHOWN = 5


def estimate_lines(
    found: Estimate, folder: ImageListing, cache: Cache, *, on_bad: str, scheduler: str | None
) -> Iterator[str]:
    """Yield what there is of each store and what is to be made, the space that it takes, and how long it takes.

    Parameters
    ----------
    found : Estimate
    folder : ImageListing
        The images.
    cache : Cache
        Where the stores would go.
    on_bad : {"stop", "skip"}
        What the run would do about an image that cannot be decoded.
    scheduler : str or None
        Of the cluster that would compute.
    """
    yield f"{printable(folder.name)}: {found.rows:,} images, {len(folder.class_names):,} classes"
    for plan in found.stores:
        yield ""
        yield from _store_lines(plan, found.rows)
    yield ""
    yield from _space_lines(found, cache)
    yield from _duration_lines(found, scheduler)
    yield from _bad_lines(found, on_bad)
    yield "No image was hashed: changed ones make it more work, those known under other names, or twice, make it less."


def estimate_to_json(found: Estimate, folder: ImageListing, cache: Cache, scheduler: str | None) -> dict[str, Any]:
    """Return an estimate as a JSON object; see `estimate_lines`."""
    return {
        "dry_run": True,
        "dataset": {"name": folder.name, "path": str(folder.root), "rows": found.rows, "classes": folder.class_names},
        "index": _store_to_json(found.index),
        "stores": [_store_to_json(plan) for plan in found.backbones],
        "bytes": found.n_bytes,
        "cache": {
            "location": cache.location,
            "writable": found.writable,
            "needed_bytes": found.needed_bytes,
            "free_bytes": found.free_bytes,
            "enough": found.has_room,
        },
        "seconds": found.seconds,
        "limits": dict(found.limits),
        "slowest": found.slowest,
        "device": found.device,
        "scheduler": scheduler,
        "sampled": found.sample.images,
        "bad": [{"sample": sample, "reason": reason.text} for sample, reason in found.sample.bad.items()],
    }


def duration_text(seconds: float) -> str:
    """Return a duration as an estimate should be read.

    Examples
    --------
    >>> [duration_text(seconds) for seconds in (0.4, 42, 700, 11_000, 500_000)]
    ['a second', '42 s', '12 min', '3.1 h', '5.8 days']
    """
    if seconds < 1.5:
        return "a second"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:,.1f} days"


def _store_lines(plan: StorePlan, rows: int) -> Iterator[str]:
    yield f"{printable(plan.name)}: {_state(plan, rows)}"
    if plan.weights is not None:
        yield f"  weights: {_weights(plan.weights)}"
    if plan.work is not None:
        yield f"  engine: {_engine(plan.work)}"
    width = max(len(str(array.shape)) for array in plan.arrays)
    for array in plan.arrays:
        yield f"  {printable(array.name):<22} {array.shape!s:<{width}} {array.dtype:<8} {array.n_bytes:>15,} bytes"


def _state(plan: StorePlan, rows: int) -> str:
    outlook = plan.outlook
    if outlook.state == "published":
        where = "" if outlook.store is None else f" at {printable(outlook.store.location)}"
        return f"published{where}"
    if outlook.state == "unknown":
        return f"{rows:,} rows to compute, or none: a store is published, perhaps with the weights not at hand"
    if outlook.state == "to be computed":
        return f"{rows:,} rows to compute"
    sources = {"from an unfinished run": outlook.unfinished, "to be taken over": outlook.reusable}
    listed = ", ".join(f"{count:,} {where}" for where, count in sources.items() if count)
    return f"about {outlook.left:,} of {rows:,} rows to compute ({listed})"


def _weights(file: WeightsFile) -> str:
    if file.path is not None:
        return f"{printable(str(file.path))}, at hand"
    size = "" if file.n_bytes is None else f", about {_megabytes(file.n_bytes)}"
    return f"to be downloaded{size}: {printable(str(file.url))}"


def _engine(work: Work) -> str:
    what = f"{work.choice.engine} ({printable(work.choice.why)}); "
    if not work.is_compiled:
        return f"{what}{_rate(work.rate)}"
    return (
        f"{what}eager it is {_rate(work.rate)}, and compiled, for which {work.compile_seconds:.0f} s are "
        f"counted, {work.gain:g} times that, as a rule"
    )


def _space_lines(found: Estimate, cache: Cache) -> Iterator[str]:
    where = printable(cache.location)
    free = "" if found.free_bytes is None else f"; {_megabytes(found.free_bytes)} are free at '{where}'"
    if found.n_bytes:
        yield (
            f"New arrays: {_megabytes(found.n_bytes)}, not compressed; files to write: about "
            f"{_megabytes(found.needed_bytes)}, for last chunks are filled up{free}"
        )
    else:
        yield "Nothing to write: all of it is published."
    if not found.has_room:
        yield "That is not enough: make room, or give another --cache."
    if not found.writable:  # a run tries that first, whatever there is to do
        yield f"'{where}' cannot be written: the run would stop. Have it shared with you, or give another --cache."


def _duration_lines(found: Estimate, scheduler: str | None) -> Iterator[str]:
    limits = ", ".join(f"{name} {_rate(rate)}" for name, rate in _told_limits(found.limits).items())
    machine = f"{os.cpu_count()} processors" if found.device == "cpu" else f"{os.cpu_count()} processors and a GPU"
    held = f"{found.slowest} holds it back; " if found.slowest != "read" else "nothing is computed; "
    sampled = f"from {found.sample.images} images"
    if scheduler is None:
        yield f"About {duration_text(found.seconds)}: {limits}, on {machine}; {held}{sampled}"
        return
    yield (
        f"The work is for the cluster at {printable(scheduler)}. One worker like this machine would take about "
        f"{duration_text(found.seconds)} for all of it: {limits}, on {machine}; {held}{sampled}"
    )


def _told_limits(limits: Mapping[str, float | None]) -> dict[str, float]:
    """Return what is worth telling: reading only where nothing is decoded."""
    names = ("forward", "read") if limits["decode"] is None else ("forward", "decode")
    return {name: rate for name in names if (rate := limits[name]) is not None}


def _bad_lines(found: Estimate, on_bad: str) -> Iterator[str]:
    bad = found.sample.bad
    if bad:
        what = "the run would stop" if on_bad == "stop" else "they would stay as NaN"
        yield f"{len(bad)} of these {found.sample.images} images cannot be decoded: {what}."
        yield from islice(skipped_lines(bad), _BAD_SHOWN)


def _rate(images_per_second: float) -> str:
    return f"{images_per_second:,.{1 if images_per_second >= 1 else 2}f} images/s"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _store_to_json(plan: StorePlan) -> dict[str, Any]:
    outlook, weights, work = plan.outlook, plan.weights, plan.work
    return {
        "backbone": plan.name,
        "state": outlook.state.value,
        "path": None if outlook.store is None else outlook.store.location,
        "to_compute": outlook.left,
        "unfinished": outlook.unfinished,
        "reusable": outlook.reusable,
        "arrays": [_array_to_json(array) for array in plan.arrays],
        "bytes": sum(array.n_bytes for array in plan.arrays),
        "weights": None
        if weights is None
        else {**asdict(weights), "path": None if weights.path is None else str(weights.path)},
        "engine": None if work is None else work.choice._asdict(),
        "forward": None if work is None else {"images_per_second": work.rate, "seconds": work.seconds},
    }


def _array_to_json(array: PlannedArray) -> dict[str, Any]:
    return {
        "name": array.name,
        "shape": list(array.shape),
        "dtype": array.dtype,
        "bytes": array.n_bytes,
        "stored_bytes": array.stored_bytes,
    }
