"""The seconds of a run into its ceilings, and into one line that says what held it back and what would help."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fusion_pipeline.extract.meter import THREAD_STAGES, Meter

STAGES = (*THREAD_STAGES, "transfer", "forward", "write")

_ADVICE = {
    "read": "Images on a faster disk, or more --workers,",
    "decode": "More processors for --workers, or --decode-in processes,",
    "resize": "More processors for --workers, or --decode-in processes,",
    "transfer": "A larger --batch-size",
    "write": "A faster disk for --cache, or more --partition-rows,",
}


@dataclass(frozen=True)
class Stage:
    """One stage of a run.

    Parameters
    ----------
    seconds : float
        Of work, summed over the threads or processes that did it.
    share : float
        Of the run's duration in which all of those who can do it were at it: 1 for what holds a run back.
    """

    seconds: float
    share: float


@dataclass(frozen=True)
class Verdict:
    """What limits a run.

    Parameters
    ----------
    stages : mapping of str to Stage
        By the names of `STAGES`, those that had something to do.
    limits : dict of str to float or None
        Images per second that reading and decoding (with all workers), and the forward passes of all backbones, would
        do alone, as they were in this run; None for what had nothing to do.
    share_of_limit : float or None
        The run's images per second over the lower limit; over what both give in turn, where they share processors.
    seconds : float
        Duration of loading and computing: the run without the building of its networks. Of a cluster, what each worker
        took on average.
    slowest : str or None
        The stage that held the run back; None if nothing was computed.
    text : str
        One line for people.
    """

    stages: Mapping[str, Stage]
    limits: dict[str, float | None]
    share_of_limit: float | None
    seconds: float
    slowest: str | None
    text: str


def judge(
    meter: Meter,
    workers: int,
    faster: str = "A GPU, or fewer backbones,",
    *,
    readers: int = 0,
    machines: int = 1,
    by_turns: bool = False,
) -> Verdict:
    """Say what held a run back.

    Parameters
    ----------
    meter : Meter
        What the run counted.
    workers : int
        Number of decoding threads or processes, of all machines together.
    faster : str
        What would make the forward passes faster.
    readers : int
        Number of reading threads, of all machines together, which hand images to `workers` processes and wait for them;
        without it the threads that decode read.
    machines : int
        How many ran networks side by side; the meter then has their seconds as a sum, and their mean duration.
    by_turns : bool
        Whether nobody decoded while a network computed, both being on the same processors.

    Returns
    -------
    Verdict

    Examples
    --------
    >>> meter = Meter(duration=10.0)
    >>> meter.seconds.update(read=0.2, decode=2.0, resize=0.2, forward=9.0, write=0.1)
    >>> meter.images.update(decode=100, forward=100)
    >>> verdict = judge(meter, workers=2)
    >>> verdict.text
    'forward held it back: busy 90 % of the time. A GPU, or fewer backbones, would help most.'
    >>> round(verdict.limits["decode"]), round(verdict.limits["forward"]), round(verdict.share_of_limit, 2)
    (83, 11, 0.9)
    """
    workers = max(workers, 1)
    readers = max(readers, workers)
    lanes = {"read": readers, "decode": workers, "resize": workers}
    duration = max(meter.duration, 1e-9)
    stages = {
        stage: Stage(meter.seconds[stage], meter.seconds[stage] / lanes.get(stage, machines) / duration)
        for stage in STAGES
        if meter.seconds.get(stage)
    }
    computed = meter.images.get("forward", 0) / max(len(meter.forward), 1)
    images = max(meter.images.get("decode", 0), computed)
    loading = _loading(meter, workers, readers)
    # A GPU copies while it computes: the longer of the two is the limit.
    forward = max(meter.seconds.get("forward", 0.0), meter.seconds.get("transfer", 0.0)) / machines
    limits = {
        "decode": images / loading if loading and images else None,
        "forward": computed / forward if forward else None,
    }
    found = [limit for limit in limits.values() if limit]
    if not computed or not found:
        return Verdict(stages, limits, None, meter.duration, None, "nothing had to be computed.")
    slowest = _slowest(stages, loading / duration)
    highest = 1 / sum(1 / limit for limit in found) if by_turns else min(found)
    share = min(computed / duration / highest, 1.0)
    return Verdict(stages, limits, share, meter.duration, slowest, _text(slowest, stages, loading / duration, faster))


def _loading(meter: Meter, workers: int, readers: int) -> float:
    """Return the seconds that loading takes if nothing holds it back."""
    seconds = {stage: meter.seconds.get(stage, 0.0) for stage in THREAD_STAGES}
    # A thread that reads is at its image until this is decoded, by itself or by a process.
    return max(sum(seconds.values()) / readers, (seconds["decode"] + seconds["resize"]) / workers)


def _slowest(stages: Mapping[str, Stage], together: float) -> str:
    """Return the busiest stage; those that share their threads are one, busy `together`, until they are it."""
    others = {stage: found.share for stage, found in stages.items() if stage not in THREAD_STAGES}
    busiest = max(others, key=lambda stage: others[stage])
    if others[busiest] >= together:
        return busiest
    return max((stage for stage in THREAD_STAGES if stage in stages), key=lambda stage: stages[stage].share)


def _text(slowest: str, stages: Mapping[str, Stage], together: float, faster: str) -> str:
    share = together if slowest in THREAD_STAGES else stages[slowest].share
    advice = faster if slowest == "forward" else _ADVICE[slowest]
    return f"{slowest} held it back: busy {100 * min(share, 1.0):.0f} % of the time. {advice} would help most."
