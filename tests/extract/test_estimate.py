"""What an extraction would do is foretold without a trace: arrays, bytes, what is left, the engine and the time."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fusion_pipeline.errors import IncompleteError, IntegrityError, StaleError, UsageError
from fusion_pipeline.extract import passes as passes_module
from fusion_pipeline.extract.engines import choice as choice_module
from fusion_pipeline.extract.engines.choice import COMPILE_SECONDS, COMPILED_GAIN, Choice
from fusion_pipeline.extract.estimates import draft as draft_module
from fusion_pipeline.extract.estimates.draft import Work
from fusion_pipeline.extract.estimates.estimate import Estimate, estimate
from fusion_pipeline.extract.estimates.forecast import State
from fusion_pipeline.extract.estimates.sampling import SAMPLED, Sample
from fusion_pipeline.extract.options import Options
from fusion_pipeline.images.decode import Reason
from fusion_pipeline.images.index import list_image_folder
from fusion_pipeline.store import Cache
from fusion_pipeline.store.storage.local import LocalBackend
from tests.builders import SIZE, Tiny, count_opens, write_picture, write_pictures
from tests.extract.made import OPTIONS, run

N = 9


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "flowers")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "team" / "cache"


@pytest.fixture
def _no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No weights in the libraries' own caches, and no network."""

    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", fail)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))


def foretold(data: Path, cache: Path, *backbones: Any, **options: Any) -> Estimate:
    """Estimate in this process, with small partitions."""
    records = [getattr(backbone, "backbone", backbone) for backbone in backbones]
    return estimate(list_image_folder(data), records, Cache(cache), Options(**{**OPTIONS, **options}))


def traces(root: Path) -> list[tuple[str, int, int]]:
    """Return every file and folder below a folder, with what changes if it is written to."""
    paths = [Path(folder, name) for folder, *inside in os.walk(root) for name in (".", *inside[0], *inside[1])]
    return sorted((str(path), path.stat().st_mtime_ns, path.stat().st_ino) for path in paths)


def stop_after_one(data: Path, cache: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    """Extract, and die once the first partition of 4 rows is on its way."""
    true_write = passes_module.Passes._write

    def write(self: Any, number: int, *arguments: Any) -> None:
        true_write(self, number, *arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(passes_module.Passes, "_write", write)
        with pytest.raises(KeyboardInterrupt):
            run(data, cache, tiny, **options)


def states(found: Estimate) -> list[tuple[State, int]]:
    """Return how far each store is, and how many rows are left."""
    return [(plan.outlook.state, plan.outlook.left) for plan in found.stores]


def test_arrays_are_those_of_the_run(data: Path, cache: Path, tiny_resnet: Tiny, tiny_efficientnet: Tiny) -> None:
    found = foretold(data, cache, tiny_resnet, tiny_efficientnet)
    assert states(found) == [(State.MISSING, N)] * 3
    done = run(data, cache, tiny_resnet, tiny_efficientnet)
    for plan, item in zip(found.stores, (done.index, *done.backbones), strict=True):
        store = item.store
        assert sorted(array.name for array in plan.arrays) == list(store.array_names)
        for array in plan.arrays:
            values = store.array(array.name)[:]
            assert (array.shape, array.dtype, array.n_bytes) == (values.shape, str(values.dtype), values.nbytes)
            files = [path for path in (store.path / array.name / "c").rglob("*") if path.is_file()]
            assert array.stored_bytes == sum(path.stat().st_size for path in files)
    assert found.n_bytes == sum(array.n_bytes for plan in found.stores for array in plan.arrays)
    assert found.needed_bytes == sum(array.stored_bytes for plan in found.stores for array in plan.arrays)


def test_nothing_is_written(data: Path, tmp_path: Path, cache: Path, tiny_resnet: Tiny) -> None:
    before = traces(tmp_path)
    assert foretold(data, cache, tiny_resnet).writable
    assert traces(tmp_path) == before
    run(data, cache, tiny_resnet)
    before = traces(tmp_path)
    foretold(data, cache, tiny_resnet)
    assert traces(tmp_path) == before


def test_of_an_unfinished_run_nothing_is_touched(
    data: Path, tmp_path: Path, cache: Path, tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after_one(data, cache, tiny_resnet, monkeypatch)
    before = traces(tmp_path)
    found = foretold(data, cache, tiny_resnet)
    assert traces(tmp_path) == before
    assert states(found) == [(State.PARTLY, N - 4)] * 2
    assert [plan.outlook.unfinished for plan in found.stores] == [4, 4]
    stored = sum(array.stored_bytes for plan in found.stores for array in plan.arrays)
    assert found.needed_bytes == pytest.approx(stored * (N - 4) / N, abs=len(found.stores) * 10)


def test_rows_for_another_list_of_images_are_taken_over_and_take_space(
    data: Path, cache: Path, tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after_one(data, cache, tiny_resnet, monkeypatch)
    found = foretold(data, cache, tiny_resnet, partition_rows=3)
    assert states(found) == [(State.PARTLY, N - 4)] * 2
    assert [(plan.outlook.unfinished, plan.outlook.reusable) for plan in found.stores] == [(0, 4)] * 2
    assert found.needed_bytes == sum(array.stored_bytes for plan in found.stores for array in plan.arrays)


def test_of_what_is_published_nothing_is_computed(
    data: Path, cache: Path, tiny_resnet: Tiny, tiny_efficientnet: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run(data, cache, tiny_resnet)
    with monkeypatch.context() as patch:
        patch.delattr(draft_module, "build_network")
        found = foretold(data, cache, tiny_resnet)
    assert states(found) == [(State.PUBLISHED, 0)] * 2
    assert found.backbones[0].outlook.store is not None
    assert found.backbones[0].outlook.store.path == done.backbones[0].store.path
    assert [array.shape for array in found.backbones[0].arrays if array.name == "features"] == [(N, 96)]
    assert (found.n_bytes, found.needed_bytes, found.forward_seconds, found.slowest) == (0, 0, 0, "read")
    assert (found.limits["decode"], found.limits["forward"]) == (None, None)
    assert found.sample.seconds["decode"] == 0
    assert states(foretold(data, cache, tiny_resnet, tiny_efficientnet))[1:] == [
        (State.PUBLISHED, 0),
        (State.MISSING, N),
    ]


def test_an_image_more(data: Path, cache: Path, tiny_resnet: Tiny) -> None:
    run(data, cache, tiny_resnet)
    write_picture(data / "rose" / "0005.png", seed=78)
    found = foretold(data, cache, tiny_resnet)
    assert states(found) == [(State.PARTLY, 1)] * 2
    assert [(plan.outlook.unfinished, plan.outlook.reusable) for plan in found.stores] == [(0, N)] * 2
    work = found.backbones[0].work
    assert work is not None
    assert work.images == 1


@pytest.mark.usefixtures("_no_hub")
def test_weights_that_are_not_at_hand(data: Path, tmp_path: Path, cache: Path, tiny_resnet: Tiny) -> None:
    before = traces(tmp_path)
    record = replace(tiny_resnet.backbone, weights=None)
    found = foretold(data, cache, record)
    assert traces(tmp_path) == before
    assert states(found) == [(State.MISSING, N)] * 2
    weights, work = found.backbones[0].weights, found.backbones[0].work
    assert weights is not None
    assert (weights.path, weights.url) == (
        None,
        "https://huggingface.co/timm/test_resnet.r160_in1k/resolve/main/model.safetensors",
    )
    assert weights.n_bytes == pytest.approx(tiny_resnet.weights.stat().st_size, rel=0.1)
    assert work is not None
    assert work.rate > 0
    run(data, cache, tiny_resnet)
    again = foretold(data, cache, record)  # with these weights, or with others: nobody can tell
    assert states(again) == [(State.PUBLISHED, 0), (State.UNKNOWN, N)]
    assert again.needed_bytes == sum(array.stored_bytes for array in again.backbones[0].arrays)
    assert states(foretold(data, cache, record, dtype="float32"))[1] == (State.MISSING, N)


def test_what_the_run_would_refuse(data: Path, cache: Path, tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = replace(tiny_resnet.backbone, weights="nowhere.safetensors")
    with pytest.raises(IncompleteError, match=r"not at 'nowhere\.safetensors'"):
        foretold(data, cache, missing)
    with pytest.raises(UsageError, match="lies inside the images"):
        foretold(data, data / "cache", tiny_resnet)
    stop_after_one(data, cache, tiny_resnet, monkeypatch)
    with pytest.raises(StaleError, match="dtype was 'float16', now 'float32'"):
        foretold(data, cache, tiny_resnet, dtype="float32")
    assert states(foretold(data, cache, tiny_resnet, dtype="float32", anew=True))[1] == (State.MISSING, N)


def test_a_damaged_store_is_refused(data: Path, cache: Path, tiny_resnet: Tiny) -> None:
    store = run(data, cache, tiny_resnet).backbones[0].store
    (store.path / "features" / "c" / "0" / "0").unlink()
    with pytest.raises(IntegrityError, match=r"features/c/0/0.* is missing or cut short"):
        foretold(data, cache, tiny_resnet)


def test_space_and_rights(data: Path, cache: Path, tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    found = foretold(data, cache, tiny_resnet)
    assert found.has_room
    monkeypatch.setattr(LocalBackend, "free_bytes", lambda _self: found.needed_bytes - 1)
    monkeypatch.setattr(LocalBackend, "may_write", lambda _self, path: path != "")
    crowded = foretold(data, cache, tiny_resnet)
    assert (crowded.has_room, crowded.writable, crowded.free_bytes) == (False, False, found.needed_bytes - 1)
    monkeypatch.setattr(LocalBackend, "free_bytes", lambda _self: None)
    assert foretold(data, cache, tiny_resnet).has_room


def test_a_few_images_are_opened(
    tmp_path: Path, cache: Path, tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_pictures(tmp_path / "flowers", per_class=20)
    opened = count_opens(monkeypatch, data)
    found = foretold(data, cache, tiny_resnet)
    assert found.sample.images == SAMPLED
    assert len(set(opened())) == SAMPLED
    assert {Path(path).parent.name for path in opened()} == {"iris", "rose", "tulip"}


@pytest.mark.parametrize(
    "names", [["rose/001.png"], [f"{name}/00{i}.png" for name in ("iris", "rose", "tulip") for i in range(3)]]
)
def test_bad_images(data: Path, cache: Path, tiny_resnet: Tiny, names: list[str]) -> None:
    for name in names:
        (data / name).write_bytes(b"no image")
    found = foretold(data, cache, tiny_resnet)
    assert found.sample.bad == dict.fromkeys(names, Reason.NOT_AN_IMAGE)
    assert found.forward_seconds > 0


def test_processes_decode_the_sample(data: Path, cache: Path, tiny_resnet: Tiny) -> None:
    found = foretold(data, cache, tiny_resnet, decode_in="processes")
    assert [images.shape for images in found.sample.inputs.values()] == [(N, 3, SIZE, SIZE)]
    assert found.sample.seconds["decode"] > 0


def test_engines(data: Path, cache: Path, tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(**options: Any) -> Work:
        found = foretold(data, cache, tiny_resnet, **options).backbones[0].work
        assert found is not None
        return found

    assert work().choice == Choice("eager", "too little work to win back the time for compiling")
    assert work(engine="eager").choice == Choice("eager", "asked for")
    compiled = work(engine="compiled")
    assert compiled.choice == Choice("compiled", "asked for")
    assert compiled.seconds == COMPILE_SECONDS + N / (compiled.rate * COMPILED_GAIN)
    monkeypatch.setattr(choice_module, "_WORTH_COMPILING", 1.0)
    assert work().choice == Choice("compiled", "enough work to win back the time for compiling")
    monkeypatch.setenv("CXX", "/no/such/compiler")
    assert work().choice == Choice("eager", "there is no C++ compiler (/no/such/compiler)")
    with pytest.raises(UsageError, match=r"cannot be compiled: there is no C\+\+ compiler"):
        work(engine="compiled")


@pytest.fixture
def timed(data: Path, cache: Path, tiny_resnet: Tiny) -> Callable[..., Estimate]:
    """An estimate of 9 images in two threads, with seconds of one's own and a network that does `rate` images/s."""
    found = foretold(data, cache, tiny_resnet)

    def make(seconds: dict[str, float], rate: float, device: str = "cpu") -> Estimate:
        work = Work(Choice("eager", "asked for"), rate, N)
        plans = tuple(replace(plan, work=work) for plan in found.backbones)
        return replace(found, sample=Sample(N, {}, seconds, {}), backbones=plans, device=device)

    return make


@pytest.mark.parametrize(("device", "seconds"), [("cpu", 9.0 + 4.5), ("cuda", 9.0)])
def test_a_processor_is_shared_and_a_gpu_is_not(timed: Callable[..., Estimate], device: str, seconds: float) -> None:
    found = timed({"read": 0.1, "decode": 0.4, "resize": 0.5}, 1.0, device)
    assert (found.load_seconds, found.forward_seconds, found.slowest) == (4.5, 9.0, "forward")
    assert found.seconds == seconds
    assert found.limits["read"] == pytest.approx(20)
    assert (found.limits["decode"], found.limits["forward"]) == (2.0, 1.0)


def test_what_holds_a_run_back(timed: Callable[..., Estimate]) -> None:
    assert timed({"read": 0.1, "decode": 0.4, "resize": 0.5}, 100.0).slowest == "decode"


def test_rows_that_are_there_are_read_and_not_decoded(
    timed: Callable[..., Estimate],
) -> None:
    found = timed({"read": 0.5, "decode": 1.0, "resize": 1.0}, 1.0)
    outlook = replace(found.index.outlook, left=0, state=State.PUBLISHED)
    plans = tuple(replace(plan, outlook=replace(outlook, left=1)) for plan in found.backbones)
    partly = replace(found, index=replace(found.index, outlook=outlook), backbones=plans)
    assert math.isclose(partly.load_seconds, (N * 0.5 + 1 * 2.0) / 2)
