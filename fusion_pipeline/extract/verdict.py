"""The seconds of a run into its limits, and into one line that says what held it back."""

from __future__ import annotations

from dataclasses import dataclass

from fusion_pipeline.extract.partition import Meter

_THREAD_STAGES = ("read", "decode", "resize")
_MAIN_STAGES = ("wait", "write")


@dataclass(frozen=True)
class Verdict:
    """What limits a run.

    Parameters
    ----------
    limits : dict of str to float or None
        Images per second that decoding (with all its threads) and the forward passes could do alone; None for a stage
        that had nothing to do.
    text : str
        One line for people.
    """

    limits: dict[str, float | None]
    text: str


def judge(meter: Meter, workers: int) -> Verdict:
    """Say what held a run back.

    Parameters
    ----------
    meter : Meter
        What the run counted.
    workers : int
        Number of decoding threads.

    Returns
    -------
    Verdict

    Examples
    --------
    >>> meter = Meter()
    >>> meter.seconds.update(decode=2.0, xception=8.0, wait=0.5, write=0.1)
    >>> meter.images.update(decode=100, xception=100)
    >>> judge(meter, workers=2).text
    'forward held it back: 93 % of the time. A GPU, or fewer backbones, would help most.'
    """
    forward = sum(seconds for stage, seconds in meter.seconds.items() if stage not in (*_THREAD_STAGES, *_MAIN_STAGES))
    prepare = sum(meter.seconds.get(stage, 0.0) for stage in _THREAD_STAGES) / max(workers, 1)
    computed = max((n for stage, n in meter.images.items() if stage not in (*_THREAD_STAGES, *_MAIN_STAGES)), default=0)
    limits = {
        "decode": meter.images.get("decode", 0) / prepare if prepare and meter.images.get("decode") else None,
        "forward": computed / forward if forward else None,
    }
    return Verdict(limits, _text(forward, meter.seconds.get("wait", 0.0), meter.seconds.get("write", 0.0)))


def _text(forward: float, wait: float, write: float) -> str:
    advice = {
        "forward": (forward, "A GPU, or fewer backbones, would help most."),
        "decode": (wait, "More --workers would help most."),
        "write": (write, "A faster disk for --cache would help most."),
    }
    total = forward + wait + write
    if not forward:
        return "nothing had to be computed."
    stage, (seconds, help_text) = max(advice.items(), key=lambda item: item[1][0])
    return f"{stage} held it back: {seconds / total:.0%} of the time. {help_text}".replace("%", " %")
