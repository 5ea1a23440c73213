"""What held a run back, out of what it counted."""

from __future__ import annotations

import pytest

from fusion_pipeline.extract.meter import THREAD_STAGES, Meter
from fusion_pipeline.extract.verdict import STAGES, judge


def metered(**seconds: float) -> Meter:
    meter = Meter(duration=10.0)
    meter.seconds.update(seconds)
    meter.images.update(dict.fromkeys(seconds, 100))
    meter.forward["net"] = seconds.get("forward", 0.0)
    return meter


@pytest.mark.parametrize("slow", STAGES)
def test_the_busiest_stage_is_named(slow: str) -> None:
    lanes = 2 if slow in THREAD_STAGES else 1
    verdict = judge(metered(**{**dict.fromkeys(STAGES, 0.01), slow: 9.0 * lanes}), workers=2)
    assert verdict.slowest == slow
    assert verdict.text.startswith(f"{slow} held it back: busy 9")
    assert verdict.stages[slow].share == pytest.approx(0.9)


def test_stages_that_share_threads_are_weighed_together() -> None:
    verdict = judge(metered(read=4.0, decode=6.0, resize=5.0, forward=7.0, write=0.1), workers=2)
    assert (verdict.slowest, verdict.text.split(".")[0]) == ("decode", "decode held it back: busy 75 % of the time")


def test_processes_decode_while_threads_read() -> None:
    meter = metered(read=4.0, decode=15.0, resize=4.0, forward=7.0)
    verdict = judge(meter, workers=2, readers=4)
    assert verdict.limits["decode"] == pytest.approx(100 / 9.5)  # 19 seconds of 2 processes, 23 of 4 threads
    assert verdict.stages["read"].share == pytest.approx(0.1)
    assert verdict.text.startswith("decode held it back: busy 95 % of the time")
    verdict = judge(metered(read=30.0, decode=6.0, resize=2.0, forward=7.0), workers=2, readers=4)
    assert verdict.limits["decode"] == pytest.approx(100 / 9.5)  # 38 seconds of 4 threads
    assert verdict.text.startswith("read held it back: busy 95 % of the time")


def test_limits_and_the_share_that_was_reached() -> None:
    verdict = judge(metered(read=1.0, decode=2.0, resize=1.0, forward=8.0, write=1.0), workers=2)
    assert verdict.limits == {"decode": 50.0, "forward": 12.5}
    assert verdict.share_of_limit == pytest.approx(0.8)


def test_who_take_turns_share_one_limit() -> None:
    meter = metered(decode=4.0, forward=7.5)
    assert judge(meter, workers=2).share_of_limit == pytest.approx(0.75)
    assert judge(meter, workers=2, by_turns=True).share_of_limit == pytest.approx(0.95)  # 2 and 7.5 of 10 seconds


def test_several_backbones_share_one_limit() -> None:
    meter = metered(decode=1.0, forward=8.0)
    meter.images["forward"] = 200
    meter.forward.update(one=4.0, net=4.0)
    assert judge(meter, workers=1).limits["forward"] == 12.5


def test_a_backbone_that_had_nothing_to_do_does_not_count() -> None:
    meter = metered(decode=1.0)
    meter.forward.clear()
    meter.book_engine("one", {"forward": 8.0}, 100)
    meter.book_engine("found", {"forward": 0.0}, 0)
    assert judge(meter, workers=1).limits["forward"] == 12.5


def test_what_would_help_a_network_depends_on_what_runs_it() -> None:
    verdict = judge(metered(decode=1.0, forward=9.0), workers=1, faster="--precision float16")
    assert verdict.text.endswith("--precision float16 would help most.")


def test_nothing_to_judge() -> None:
    verdict = judge(Meter(), workers=1)
    assert verdict.text == "nothing had to be computed."
    assert (verdict.limits, verdict.share_of_limit) == ({"decode": None, "forward": None}, None)
