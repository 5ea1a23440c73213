"""Which engine is taken where somebody else knows how long the work is, and which ones are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fusion_pipeline.errors import UsageError
from fusion_pipeline.extract.engines import choice
from fusion_pipeline.extract.engines.before import as_before
from fusion_pipeline.extract.engines.choice import check_engine, choose_engine, foresee_engine
from fusion_pipeline.extract.engines.compiled import NotCompiledError
from fusion_pipeline.extract.plan import Plan
from tests.builders import Tiny
from tests.extract.engines.made import built


@pytest.mark.parametrize(("worth", "images", "tried"), [(True, 0, True), (False, 10**15, False), (None, 10**15, True)])
def test_who_knows_all_of_the_work_decides(
    tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch, *, worth: bool | None, images: int, tried: bool
) -> None:
    compiled = []

    def engine(*arguments: Any, **_: Any) -> None:
        compiled.append(arguments)
        raise NotCompiledError("there is no compiler")

    engine.name = "compiled"  # type: ignore[attr-defined]
    monkeypatch.setattr(choice, "CompiledEngine", engine)
    plan = Plan(batch_size=3, worth_compiling=worth)
    assert choose_engine("tiny", *built(tiny_resnet), plan, images=images).name == "eager"  # for want of a compiler
    assert bool(compiled) == tried


@pytest.mark.parametrize(("before", "tried"), [("compiled", True), ("eager", False)])
@pytest.mark.parametrize("worth", [True, False, None])
def test_who_goes_on_takes_the_engine_of_the_rows_that_are_there(
    tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch, *, before: str, tried: bool, worth: bool | None
) -> None:
    compiled = []

    def engine(*arguments: Any, **_: Any) -> None:
        compiled.append(arguments)
        raise NotCompiledError("there is no compiler")

    engine.name = "compiled"  # type: ignore[attr-defined]
    monkeypatch.setattr(choice, "CompiledEngine", engine)
    made = [{"device": "an H100", "engine": "cuda"}, {"device": "cpu", "engine": before, "batch_size": 3}]
    plan = as_before(Plan(worth_compiling=worth), "cpu", made)
    engine_taken = choose_engine("tiny", *built(tiny_resnet), plan, images=0 if tried else 10**15)
    assert (engine_taken.name, engine_taken.batch_size) == ("eager", 3)
    assert bool(compiled) == tried
    asked = replace(plan, engine="eager")
    assert foresee_engine("tiny", 0.0, asked, 0) == ("eager", "asked for")


def test_a_compiled_network_is_for_a_cpu() -> None:
    with pytest.raises(UsageError, match=r"Engine 'compiled' is for a CPU, and the device is cuda:1\. Leave --engine"):
        check_engine(Plan("cuda:1", "compiled"))
    for plan in (Plan("cuda:1", "eager"), Plan("cuda"), Plan("cpu", "compiled")):
        assert check_engine(plan) is plan
