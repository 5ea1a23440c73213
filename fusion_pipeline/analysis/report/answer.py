"""Standings and costs become the answer that a report opens with: which backbone, what fusing gains, at what price.

Sentences have names from outside between marks, as `names.named` puts them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fusion_pipeline.analysis.report.costs import Costs
from fusion_pipeline.analysis.report.names import named
from fusion_pipeline.analysis.report.standings import Standings, Step
from fusion_pipeline.train.rows import AVERAGE


@dataclass(frozen=True)
class Point:
    """One part of the answer.

    Attributes
    ----------
    heading : str
        The question.
    figure : str
        What stands out: a number, or one or two words.
    sentences : tuple of str
    """

    heading: str
    figure: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """What the first screen of a report says.

    Attributes
    ----------
    headline : str
    warning : str
        What must not be overlooked, as that the gate only averages; empty if there is nothing.
    points : tuple of Point
    """

    headline: str
    warning: str
    points: tuple[Point, ...]

    @property
    def sentences(self) -> Iterator[str]:
        """All of it, sentence by sentence."""
        yield self.headline
        if self.warning:
            yield self.warning
        for point in self.points:
            yield f"{point.heading} {point.figure}. {' '.join(point.sentences)}"


def answer(standings: Standings, costs: Costs) -> Answer:
    """Return the answer of a run with at least one backbone.

    Parameters
    ----------
    standings : Standings
    costs : Costs
    """
    points = [_best(standings)]
    if standings.to_best is not None and len(standings.fuses) > 1:
        points += [_gain(standings, standings.to_best), _certainty(standings, standings.to_best)]
        points.append(_price(standings, costs))
    return Answer(_headline(standings), _warning(standings), tuple(points))


def percent(share: float) -> str:
    r"""Return a share in percent, which no line break separates.

    Examples
    --------
    >>> percent(0.97132)
    '97.13\xa0%'
    """
    return f"{100 * share:.2f}\N{NO-BREAK SPACE}%"


def points_of(difference: float) -> str:
    """Return a difference of shares in percentage points, with its sign; a true minus, and none before a zero.

    Examples
    --------
    >>> points_of(0.01544), points_of(-0.002), points_of(-0.00001)
    ('+1.54', '\u22120.20', '0.00')
    """
    text = f"{100 * difference:+.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def chance(p: float) -> str:
    r"""Return a p-value.

    Examples
    --------
    >>> chance(0.0202), chance(0.00004)
    ('p\xa0=\xa00.020', 'p\xa0<\xa00.001')
    """
    told = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    return told.replace(" ", "\N{NO-BREAK SPACE}")


def _headline(standings: Standings) -> str:
    best = standings.names[0]
    if len(standings.fuses) == 1:
        return (
            f"{named(best)} is the only backbone, with {percent(standings.backbones[0]['accuracy'])} right: there is "
            "nothing to fuse it with."
        )
    if standings.to_best is None:
        return f"{named(best)} is the best of the backbones, with {percent(standings.backbones[0]['accuracy'])} right."
    gain, fusing = standings.to_best, "Averaging" if standings.only_averages else "Fusing"
    if not gain.sure:
        return (
            f"{fusing} {len(standings.fuses)} backbones makes no sure difference to using {named(best)} alone: "
            f"{points_of(gain.difference.difference)} points."
        )
    verb = "raises" if gain.difference.difference > 0 else "lowers"
    return (
        f"{fusing} {len(standings.fuses)} backbones {verb} accuracy from {_accuracy(standings.backbones[0])} to "
        f"{_accuracy(standings.fused or {})}."
    )


def _accuracy(row: Mapping[str, Any]) -> str:
    return percent(row["accuracy"])


def _warning(standings: Standings) -> str:
    averaged, parts = standings.averaged
    if not averaged or len(standings.fuses) == 1:
        return ""
    if averaged == parts:
        return (
            f"The gate {named(standings.fused_name)} fell back to averaging in all of its {parts} parts: no "
            "weights that it learned surely beat averaging on training images that it had not learned from. What is "
            "shown under its name is the plain average, every weight is the same, and nothing here adapts to the image."
        )
    return (
        f"The gate {named(standings.fused_name)} fell back to averaging in {averaged} of its {parts} parts: there "
        "every weight is the same."
    )


def _best(standings: Standings) -> Point:
    row, name = standings.backbones[0], standings.names[0]
    repeats = f" in {standings.repeats} repeats" if standings.repeats > 1 else ""
    sentences = [f"It gets {row['correct']:,} of {row['n']:,} right{repeats} ({_interval(row['ci95'])})."]
    if len(standings.fuses) > 1 and len(standings.names) < len(standings.fuses):
        sentences.append(f"The table has rows of {len(standings.names)} of the {len(standings.fuses)} backbones only.")
    if standings.to_runner_up is not None:
        sentences.append(_runner_up(standings.to_runner_up))
    chosen = standings.chosen_accuracy
    if chosen is not None and round(chosen, 4) != round(row["accuracy"], 4):
        sentences.append(
            "Chosen without a look at the tested images, as you would have to, the single backbone gets "
            f"{percent(chosen)}."
        )
    elif chosen is not None:
        sentences.append("A choice without a look at the tested images, as you would have to make, does as well.")
    return Point("Which backbone is best?", named(name), tuple(sentences))


def _runner_up(step: Step) -> str:
    told = chance(step.p if step.p_holm is None else step.p_holm)
    if step.sure:
        return f"That it is better than the next one, {named(step.second)}, is sure ({told}, adjusted for all pairs)."
    return (
        f"Whether it is better than the next one, {named(step.second)} "
        f"({points_of(-step.difference.difference)} points), these images cannot tell ({told}, adjusted for all pairs)."
    )


def _interval(bounds: Sequence[float]) -> str:
    return f"95\N{NO-BREAK SPACE}% interval {100 * bounds[0]:.1f} to {100 * bounds[1]:.1f}"


def _gain(standings: Standings, step: Step) -> Point:
    low, high = step.difference.ci95
    sentences = [
        f"{named(step.first)} gets {_accuracy(standings.fused or {})}: "
        f"95\N{NO-BREAK SPACE}% interval of the difference {points_of(low)} to {points_of(high)} points.",
        f"Of all images {step.difference.wins:,} are won and {step.difference.losses:,} lost.",
    ]
    return Point(
        "What does fusing gain?", f"{points_of(step.difference.difference)}\N{NO-BREAK SPACE}points", tuple(sentences)
    )


def _certainty(standings: Standings, step: Step) -> Point:
    adjusted = "" if step.p_holm is None else f", {chance(step.p_holm)} adjusted for all comparisons of the table"
    sentences = [f"Exact sign-flip test against {named(step.second)}: {chance(step.p)}{adjusted}."]
    sentences += [
        f"That is about new images, after the same training; {test}, which is about new training images too, gives "
        f"{chance(p)}."
        for test, p in step.over_parts.items()
    ]
    if standings.fused_name == AVERAGE:
        sentences.append("This row is plain averaging: nothing in it is learned but the backbones' own classifiers.")
    elif standings.only_averages:
        sentences.append("All of the gain is that of plain averaging.")
    elif standings.to_average is not None:
        sentences.append(_beyond_averaging(standings.to_average))
    return Point("Is that sure?", "Yes" if step.sure else "No", tuple(sentences))


def _beyond_averaging(step: Step) -> str:
    low, high = step.difference.ci95
    sure = "sure" if step.sure else "not sure"
    return (
        f"Beyond plain averaging it is {points_of(step.difference.difference)} points ({points_of(low)} to "
        f"{points_of(high)}), which is {sure} ({chance(step.p)})."
    )


def _price(standings: Standings, costs: Costs) -> Point:
    networks = len(standings.fuses)
    single, all_of_them = costs.multiply_adds_of(standings.names[:1]), costs.multiply_adds_of(standings.fuses)
    sentences = [f"Every new image goes through {networks} networks instead of one."]
    if single and all_of_them:
        sentences.append(
            f"That is {all_of_them / 1e9:.2f} instead of {single / 1e9:.2f} billion multiply-adds for each image."
        )
    fitting = [costs.fit_seconds.get(name) for name in (standings.fused_name, standings.names[0])]
    if None not in fitting:
        sentences.append(f"Fitting took {_seconds(fitting[0])} instead of {_seconds(fitting[1])} of computing.")
    figure = f"{_times(all_of_them / single)} times the computing" if single and all_of_them else f"{networks} networks"
    return Point("What does it cost?", figure, tuple(sentences))


def _times(ratio: float) -> str:
    """Return a ratio, which a cheap network beside a dear one does not round to 1."""
    return f"{ratio:.1f}" if ratio >= 1.1 else f"{ratio:.2f}"


def _seconds(seconds: float | None) -> str:
    return (
        ""
        if seconds is None
        else f"{seconds:,.0f}\N{NO-BREAK SPACE}s"
        if seconds >= 10
        else f"{seconds:.2g}\N{NO-BREAK SPACE}s"
    )
