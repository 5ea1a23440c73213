"""A measure becomes the sentence that says what it shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fusion_pipeline.analysis.agreement import Agreement
from fusion_pipeline.analysis.calibration import Reliability
from fusion_pipeline.analysis.class_f1 import ClassF1
from fusion_pipeline.analysis.class_wins import ClassWins
from fusion_pipeline.analysis.confused_pair import ConfusedPair
from fusion_pipeline.analysis.correct_experts import CorrectExperts
from fusion_pipeline.analysis.distinct_votes import DistinctVotes
from fusion_pipeline.analysis.subsets import Subset, Subsets
from fusion_pipeline.analysis.trust import Trust
from fusion_pipeline.errors import printable
from fusion_pipeline.train.rows import AVERAGE

_ALIKE = 1e-6  # weights are kept as float32


def read_agreement(found: Agreement) -> str:
    """Return which backbones agree least.

    Examples
    --------
    >>> from fusion_pipeline.analysis.agreement import PairAgreement
    >>> read_agreement(Agreement((PairAgreement("a", "b", 0.5),), 0.5, 0.5))
    'Two backbones, a and b, agree with a kappa of 0.500.'
    """
    if not found.pairs:
        return "There is one backbone, which agrees with nobody."
    low, high = (choose(found.pairs, key=lambda pair: pair.kappa) for choose in (min, max))
    if low is high:
        return f"Two backbones, {_both(low.first, low.second)}, agree with a kappa of {low.kappa:.3f}."
    return (
        f"Pairs of backbones agree with a kappa of {found.mean:.3f} on average, least {_both(low.first, low.second)} "
        f"({low.kappa:.3f}), most {_both(high.first, high.second)} ({high.kappa:.3f})."
    )


def read_correct(found: CorrectExperts) -> str:
    """Return how often someone is right.

    Examples
    --------
    >>> read_correct(CorrectExperts((1, 3, 6), (0.1, 0.3, 0.6), 1, "a", 2, 0.5))
    'At least one backbone is right on 90.0 % of the images, all of them on 60.0 %.'
    """
    several = "At least one backbone is right" if len(found.counts) > 2 else "The backbone is right"
    everyone = f", all of them on {_percent(found.shares[-1])}" if len(found.counts) > 2 else ""
    return f"{several} on {_percent(1 - found.shares[0])} of the images{everyone}."


def read_all_wrong(found: CorrectExperts) -> str:
    """Return what a perfect choice between backbones could mend.

    Examples
    --------
    >>> read_all_wrong(CorrectExperts((1, 3, 6), (0.1, 0.3, 0.6), 1, "a", 4, 0.25))
    'Of the 4 errors of the best backbone, a, all others make 1 as well: the right choice could mend 75.0 %.'
    """
    if found.ratio is None:
        return f"The best backbone, {printable(found.best)}, makes no error."
    if len(found.counts) == 2:
        return f"The only backbone, {printable(found.best)}, makes {found.best_errors:,} errors."
    return (
        f"Of the {found.best_errors:,} errors of the best backbone, {printable(found.best)}, all others make "
        f"{found.all_wrong:,} as well: the right choice could mend {_percent(1 - found.ratio)}."
    )


def read_class_f1(found: ClassF1, class_names: Sequence[str]) -> str:
    """Return which classes have which winner."""
    if not found.examples:
        return "No class has a backbone that knows it better than the others."
    won = [
        f"{printable(each.winner)} knows {_quoted(class_names[each.label])} best (by {each.margin:.3f} of F1)"
        for each in found.examples
    ]
    return f"{_listed(won)}."


def read_class_wins(found: ClassWins) -> str:
    """Return who wins the most classes, without and with the fused row.

    Examples
    --------
    >>> from fusion_pipeline.analysis.class_wins import Wins
    >>> read_class_wins(ClassWins(3, Wins(("a", "b"), (2.0, 1.0), (2, 1)), None))
    'Of 3 classes a wins the most among the backbones, 2 (ties shared; 2 alone).'
    """
    best = int(np.argmax(found.experts.shared))
    text = (
        f"Of {found.classes:,} classes {printable(found.experts.names[best])} wins the most among the backbones, "
        f"{found.experts.shared[best]:.3g} (ties shared; {found.experts.strict[best]:,} alone)"
    )
    if found.with_fused is None:
        return f"{text}."
    fused, shared, strict = found.with_fused.names[-1], found.with_fused.shared[-1], found.with_fused.strict[-1]
    return f"{text}; with {printable(fused)} among them, that one wins {shared:.3g} ({strict:,} alone)."


def read_confused(found: ConfusedPair, class_names: Sequence[str]) -> str:
    """Return which classes are confused, and by whom most."""
    by_expert = found.counts[0, :, 1] + found.counts[1, :, 0]
    worst, best = int(by_expert.argmax()), int(by_expert.argmin())
    pair = _both(_quoted(class_names[found.first]), _quoted(class_names[found.second]))
    text = f"{pair} are confused most, {_times(found.confusions)} by all backbones together"
    if len(found.experts) == 1:
        return f"{pair} are confused most, {_times(found.confusions)}."
    if by_expert[worst] == by_expert[best]:
        return f"{text}, {_times(by_expert[best])} by each."
    return (
        f"{text}: {_times(by_expert[worst])} by {printable(found.experts[worst])}, {_times(by_expert[best])} by "
        f"{printable(found.experts[best])}."
    )


def read_distinct(found: Sequence[DistinctVotes], fused: str) -> str:
    """Return how the fused row does where the backbones disagree."""
    n = sum(each.n for each in found)
    apart = [each for each in found if each.distinct > 1 and each.accuracies]
    text = f"All backbones agree on {_percent(found[0].n / n)} of the images"
    if not apart or len(found) == 1:
        return f"{text}." if len(found) > 1 else "One backbone cannot disagree."
    names = list(apart[0].accuracies or {})
    rates = {name: sum((each.accuracies or {})[name] * each.n for each in apart) for name in names}
    there = sum(each.n for each in apart)
    experts = [name for name in names if name not in {fused, AVERAGE}]
    best = max(experts, key=lambda name: rates[name])
    return (
        f"{text}; where they do not, {printable(fused)} is right on {_percent(rates[fused] / there)}, and the "
        f"backbone that is best there, {printable(best)}, on {_percent(rates[best] / there)}."
    )


def read_trust(found: Trust) -> str:
    """Return whom the gate trusts, or that it averages."""
    if len(found.experts) == 1:
        return f"{printable(found.row)} has one expert, which it cannot but trust."
    if found.averaged == found.parts:
        return (
            f"{printable(found.row)} fell back to averaging in all {found.parts} parts: it trusts each of the "
            f"{len(found.experts)} experts alike."
        )
    if not found.adapts and np.ptp(found.overall) < _ALIKE:
        return f"{printable(found.row)} gives each of the {len(found.experts)} experts the same weight on every image."
    order = np.argsort(-found.overall, kind="stable")
    most, least = (f"{printable(found.experts[each])} ({found.overall[each]:.2f})" for each in (order[0], order[-1]))
    heard = float(np.nanmean(found.effective_experts))
    averaged = f"; it averaged in {found.averaged} of {found.parts} parts" if found.averaged else ""
    return (
        f"{printable(found.row)} trusts {most} most and {least} least, and hears {heard:.2f} of {len(found.experts)} "
        f"experts on an image{averaged}."
    )


def read_subsets(found: Subsets) -> str:
    """Return how few backbones come close to the best subset."""
    best = max(found.best, key=lambda each: each.correct)
    if len(found.best) == 1:
        return f"{_names(best)} alone is right on {_percent(best.accuracy)} of the images."
    one = found.best[0]
    if best is one:
        return f"No average is more accurate than {_names(one)} alone, {_percent(one.accuracy)}{_cost(one)}."
    tried = "all" if found.exhaustive else f"the {len(found.tried):,} tried"
    text = (
        f"Of {tried} subsets the average of {_names(best)} is the most accurate, {_percent(best.accuracy)}"
        f"{_cost(best)}; the best single backbone, {_names(one)}, has {_percent(one.accuracy)}{_cost(one)}"
    )
    return f"{text} (chosen on these images, so a little too good)."


def read_calibration(found: Sequence[Reliability]) -> str:
    """Return whose probabilities can be believed most and least."""
    ordered = sorted(found, key=lambda each: each.ece)
    low, high = (f"{100 * each.ece:.1f}" for each in (ordered[0], ordered[-1]))
    if low == high:
        return f"What any row says to be likely is off by {low} points on average (ECE)."
    return (
        f"What {printable(ordered[0].name)} says to be likely is off by {low} points on average (ECE), the "
        f"least; {printable(ordered[-1].name)} is off by {high}, the most."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _times(number: int) -> str:
    return f"{number:,} time" if number == 1 else f"{number:,} times"


def _both(first: str, second: str) -> str:
    return f"{printable(first)} and {printable(second)}"


def _quoted(name: str) -> str:
    return f"'{printable(name)}'"


def _names(subset: Subset) -> str:
    return " + ".join(map(printable, subset.members))


def _cost(subset: Subset) -> str:
    return "" if subset.multiply_adds is None else f" at {subset.multiply_adds / 1e9:.2f} billion multiply-adds"


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])}, and {parts[-1]}"
