"""What the first screen says: of gains that are sure, unsure or losses, of gates that average, of one backbone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fusion_pipeline.analysis.report.answer import Answer, answer
from fusion_pipeline.analysis.report.costs import Costs
from fusion_pipeline.analysis.report.names import as_text
from fusion_pipeline.analysis.report.standings import Standings, Step
from fusion_pipeline.train.statistics.difference import Difference

COSTS = Costs({"embedding": 190.2, "beta": 34.0}, {"numpy": "2"}, {"alpha": 4e9, "beta": 1e9})


def row(correct: int, fallbacks: tuple[bool, ...] = ()) -> dict[str, Any]:
    return {"accuracy": correct / 200, "correct": correct, "n": 200, "ci95": [0.5, 0.9], "fallbacks": list(fallbacks)}


def step(first: str, second: str, wins: int, losses: int, p: float, p_holm: float | None = None) -> Step:
    gain = (wins - losses) / 200
    return Step(first, second, Difference(gain, (gain - 0.02, gain + 0.02), wins, losses), p, p_holm, {})


STANDINGS = Standings(
    (row(160), row(150)),
    row(180, (False, False)),
    ("beta", "alpha"),
    "embedding",
    ("alpha", "beta"),
    1,
    step("beta", "alpha", 20, 10, 0.1),
    step("embedding", "beta", 25, 5, 0.0003, 0.0062),
    step("embedding", "average", 3, 1, 0.625, 1.0),
    0.8,
)


def said(standings: Standings, costs: Costs = COSTS) -> str:
    """Return the whole answer as text."""
    return " ".join(map(as_text, answer(standings, costs).sentences))


def figures(found: Answer) -> list[str]:
    return [as_text(point.figure) for point in found.points]


def test_a_sure_gain() -> None:
    text = said(STANDINGS)
    assert text.startswith("Fusing 2 backbones raises accuracy from 80.00 % to 90.00 %. ")
    for sentence in (
        "It gets 160 of 200 right (95 % interval 50.0 to 90.0).",
        "Whether it is better than the next one, alpha (\N{MINUS SIGN}5.00 points), these images cannot tell "
        "(p = 0.100, adjusted for all pairs).",
        "A choice without a look at the tested images, as you would have to make, does as well.",
        "embedding gets 90.00 %: 95 % interval of the difference +8.00 to +12.00 points.",
        "Of all images 25 are won and 5 lost.",
        "Exact sign-flip test against beta: p < 0.001, p = 0.006 adjusted for all comparisons of the table.",
        "Beyond plain averaging it is +1.00 points (\N{MINUS SIGN}1.00 to +3.00), which is not sure (p = 0.625).",
        "Every new image goes through 2 networks instead of one.",
        "That is 5.00 instead of 1.00 billion multiply-adds for each image.",
        "Fitting took 190 s instead of 34 s of computing.",
    ):
        assert sentence in text
    assert figures(answer(STANDINGS, COSTS)) == ["beta", "+10.00 points", "Yes", "5.0 times the computing"]


def test_a_gain_that_is_not_sure_after_adjustment() -> None:
    """A small p alone is not enough where the table made many comparisons."""
    unsure = replace(STANDINGS, to_best=step("embedding", "beta", 12, 4, 0.04, 0.3))
    text = said(unsure)
    assert text.startswith("Fusing 2 backbones makes no sure difference to using beta alone: +4.00 points.")
    assert "Is that sure? No." in text


def test_a_loss() -> None:
    loss = replace(STANDINGS, fused=row(140), to_best=step("embedding", "beta", 2, 22, 0.00001, 0.0001))
    assert said(loss).startswith("Fusing 2 backbones lowers accuracy from 80.00 % to 70.00 %.")


@pytest.mark.parametrize(
    ("fallbacks", "warning"),
    [
        ((False, False), ""),
        (
            (True, False),
            "The gate embedding fell back to averaging in 1 of its 2 parts: there every weight is the same.",
        ),
        (
            (True, True),
            "The gate embedding fell back to averaging in all of its 2 parts: no weights that it learned surely",
        ),
    ],
)
def test_a_gate_that_averages_says_so(fallbacks: tuple[bool, ...], warning: str) -> None:
    found = answer(replace(STANDINGS, fused=row(180, fallbacks)), COSTS)
    assert as_text(found.warning).startswith(warning)
    assert bool(found.warning) == bool(warning)
    assert as_text(found.headline).startswith("Averaging" if all(fallbacks) else "Fusing")
    adapts = "All of the gain is that of plain averaging." not in " ".join(found.sentences)
    assert adapts == (not all(fallbacks))


def test_the_plain_average_itself() -> None:
    average = replace(STANDINGS, fused_name="average", to_average=None)
    assert said(average).startswith("Averaging 2 backbones raises")
    assert "This row is plain averaging: nothing in it is learned but the backbones' own classifiers." in said(average)


def test_a_choice_that_would_have_gone_wrong() -> None:
    assert (
        "Chosen without a look at the tested images, as you would have to, the single backbone gets 76.50 %."
        in said(replace(STANDINGS, chosen_accuracy=0.765))
    )


def test_nothing_is_fused() -> None:
    alone = replace(STANDINGS, fused=None, fused_name="", to_best=None, to_average=None)
    found = answer(alone, COSTS)
    assert as_text(found.headline) == "beta is the best of the backbones, with 80.00 % right."
    assert figures(found) == ["beta"]


def test_one_backbone_has_nothing_to_be_fused_with() -> None:
    one = replace(STANDINGS, backbones=(row(160),), names=("beta",), fuses=("beta",), fused=row(160, (True, True)))
    found = answer(one, COSTS)
    assert as_text(found.headline) == "beta is the only backbone, with 80.00 % right: there is nothing to fuse it with."
    assert (found.warning, figures(found)) == ("", ["beta"])


def test_backbones_without_a_row_are_fused_and_paid_for() -> None:
    """The table may show one backbone and gates of many: a new image goes through all of them."""
    few = replace(STANDINGS, backbones=(row(160),), names=("beta",), to_runner_up=None)
    text = said(few)
    assert text.startswith("Fusing 2 backbones raises")
    assert "The table has rows of 1 of the 2 backbones only." in text
    assert "5.0 times the computing. Every new image goes through 2 networks instead of one." in text
    assert "only." not in said(STANDINGS)


def test_tests_of_new_training_images_are_told_too() -> None:
    assert STANDINGS.to_best is not None
    found = replace(
        STANDINGS, repeats=2, to_best=replace(STANDINGS.to_best, over_parts={"corrected resampled t": 0.217})
    )
    text = said(found)
    assert "corrected resampled t, which is about new training images too, gives p = 0.217." in text
    assert "It gets 160 of 200 right in 2 repeats (95 %" in text
    assert "new training images" not in said(STANDINGS)


def test_a_cheap_network_more_does_not_cost_nothing() -> None:
    cheap = replace(COSTS, multiply_adds={"alpha": 5e7, "beta": 1e9})
    assert "1.05 times the computing" in said(STANDINGS, cheap)


def test_unknown_costs_are_not_told() -> None:
    text = said(STANDINGS, Costs({}, {}, {"beta": 1e9}))
    assert "What does it cost? 2 networks. Every new image goes through 2 networks instead of one." in text
    assert "multiply-adds" not in text
    assert "Fitting" not in text
