"""What a run counts while it works: files opened, and seconds by stage."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

THREAD_STAGES = ("read", "decode", "resize")
"""Stages that run in several threads or processes at once."""


@dataclass
class Meter:
    """What a run counted: files opened, and seconds by stage.

    Parameters
    ----------
    opens : int
        Image files opened.
    seconds : dict of str to float
        Seconds of work: ``"read"``, ``"decode"`` and ``"resize"`` summed over threads, ``"wait"`` for them in the main
        thread, ``"transfer"`` to a GPU and ``"forward"`` of all networks, ``"write"`` in the writing thread.
    images : dict of str to int
        Images that went through each of these.
    forward : dict of str to float
        Seconds of the forward passes, by backbone.
    duration : float
        Seconds in which images were loaded and computed, from first to last, without those in which networks were
        built.

    Examples
    --------
    >>> meter = Meter()
    >>> since = time.perf_counter()
    >>> since <= meter.book("write", since, images=2)
    True
    >>> meter.images["write"]
    2
    """

    opens: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    images: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    forward: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    duration: float = 0.0

    def book(self, stage: str, since: float, images: int = 1) -> float:
        """Book the seconds since a time of `time.perf_counter` under a stage; return the time now."""
        now = time.perf_counter()
        self.seconds[stage] += now - since
        self.images[stage] += images
        return now

    def add(self, other: Meter) -> None:
        """Add what another one counted, in a decoding thread say."""
        self.opens += other.opens
        for mine, others in ((self.seconds, other.seconds), (self.forward, other.forward)):
            for stage, seconds in others.items():
                mine[stage] += seconds
        for stage, images in other.images.items():
            self.images[stage] += images

    def book_engine(self, name: str, spent: Mapping[str, float], images: int) -> None:
        """Book the seconds of an engine's stages, for a backbone that had something to do."""
        if not images:
            return
        for stage, seconds in spent.items():
            self.seconds[stage] += seconds
            self.images[stage] += images
        if "forward" in spent:
            self.forward[name] += spent["forward"]
