"""Folders of images become published stores: each file opened once, nothing computed twice, versions kept apart."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save

from fusion_pipeline.errors import IntegrityError, RefusedError, StaleError, UnusableDataError, UsageError
from fusion_pipeline.extract import backbone_target as backbone_target_module
from fusion_pipeline.extract import passes as passes_module
from fusion_pipeline.extract.engines.cuda import CudaEngine
from fusion_pipeline.extract.networks.backbones import Backbone
from fusion_pipeline.extract.networks.network import Network
from fusion_pipeline.extract.options import Options
from fusion_pipeline.extract.producers import BackboneProducer
from fusion_pipeline.extract.repair import repair
from fusion_pipeline.extract.run import extract
from fusion_pipeline.images.decode import DecodeBudget, Reason
from fusion_pipeline.images.index import list_image_folder
from fusion_pipeline.store import Cache
from fusion_pipeline.store.care.verify import verify
from fusion_pipeline.store.storage.local import LocalBackend
from tests.builders import Tiny, count_opens, tree_bytes, write_picture, write_pictures
from tests.extract.engines.made import pretend_gpu
from tests.extract.made import computed, contents, run

N = 9
NAN = np.float16("nan")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "flowers")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def counted_on(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images engines were chosen for."""
    numbers: list[int] = []
    true_choice = backbone_target_module.choose_engine

    def choose(*arguments: Any, images: int, **options: Any) -> Any:
        numbers.append(images)
        return true_choice(*arguments, images=images, **options)

    monkeypatch.setattr(backbone_target_module, "choose_engine", choose)
    return numbers


def test_engines_are_chosen_for_the_images_that_no_store_of_the_data_set_has(
    data: Path, cache: Path, tiny_resnet: Tiny, counted_on: list[int], tmp_path: Path
) -> None:
    run(data, cache, tiny_resnet)
    run(write_pictures(tmp_path / "others", seed=1), cache, tiny_resnet)
    for number in range(2):
        write_picture(data / "cat" / f"new{number}.png", seed=50 + number)
    run(data, cache, tiny_resnet)
    assert counted_on == [N, N, 2]


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lengths of the batches of images that go through a network."""
    lengths: list[int] = []
    true_launch = BackboneProducer.launch

    def launch(self: BackboneProducer, batch: Any) -> Any:
        lengths.append(len(batch[0]))
        return true_launch(self, batch)

    monkeypatch.setattr(BackboneProducer, "launch", launch)
    return lengths


def test_each_file_is_opened_once_for_all_backbones(
    data: Path, cache: Path, tiny_resnet: Tiny, tiny_efficientnet: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = count_opens(monkeypatch, data)
    result = run(data, cache, tiny_resnet, tiny_efficientnet)
    files = sorted(str(path) for path in data.rglob("*.png"))
    assert result.opens == N
    assert sorted(opened()) == files
    assert computed(result) == [N, N, N]
    assert [item.store.features.shape for item in result.backbones] == [(N, 96), (N, 256)]
    store = result.backbones[0].store
    assert store.probabilities.shape == (N, 10)
    assert store.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert store.class_names == ("iris", "rose", "tulip")
    assert store.thumbnails(64).shape == (N, 64, 64, 3)
    for item in (result.index, *result.backbones):
        assert list(verify(item.store)) == []


def test_a_rerun_computes_nothing(data: Path, cache: Path, tiny_resnet: Tiny, forwards: list[int]) -> None:
    first = run(data, cache, tiny_resnet)
    before, passes = tree_bytes(cache), len(forwards)
    again = run(data, cache, tiny_resnet)
    assert computed(again) == [0, 0]
    assert [item.reused for item in (again.index, *again.backbones)] == [N, N]
    assert again.opens == N  # a mtime is never trusted
    assert contents(again) == contents(first)
    assert len(forwards) == passes
    assert tree_bytes(cache) == before


def test_a_backbone_is_added_without_touching_the_others(
    data: Path, cache: Path, tiny_resnet: Tiny, tiny_efficientnet: Tiny
) -> None:
    run(data, cache, tiny_resnet)
    before = {name: digest for name, digest in tree_bytes(cache).items() if not name.endswith("current.json")}
    both = run(data, cache, tiny_resnet, tiny_efficientnet)
    assert computed(both) == [0, 0, N]
    after = tree_bytes(cache)
    assert {name: after[name] for name in before} == before


def test_results_depend_on_nothing_but_the_inputs(data: Path, tmp_path: Path, tiny_resnet: Tiny) -> None:
    one = run(data, tmp_path / "one", tiny_resnet, workers=1)
    moved = shutil.copytree(data, tmp_path / "elsewhere" / "flowers")
    two = run(moved, tmp_path / "two", tiny_resnet, workers=4)
    assert contents(one) == contents(two)
    assert one.backbones[0].store.manifest.key == two.backbones[0].store.manifest.key


def _edit(data: Path) -> None:
    write_picture(data / "rose" / "001.png", seed=77)


def _add(data: Path) -> None:
    write_picture(data / "rose" / "0005.png", seed=78)


def _remove(data: Path) -> None:
    (data / "iris" / "000.png").unlink()


def _rename(data: Path) -> None:
    (data / "iris" / "000.png").rename(data / "iris" / "zzz.png")


def _move(data: Path) -> None:
    (data / "iris" / "000.png").rename(data / "rose" / "000b.png")


@pytest.mark.parametrize("change", [_edit, _add, _remove, _rename, _move])
def test_changed_images_are_a_new_version(
    data: Path, cache: Path, tiny_resnet: Tiny, change: Callable[[Path], None], forwards: list[int]
) -> None:
    """Only images that no store has seen cost a forward pass, whatever they are called."""
    old = run(data, cache, tiny_resnet)
    before = {name: digest for name, digest in tree_bytes(cache).items() if not name.endswith("current.json")}
    change(data)
    new = run(data, cache, tiny_resnet)
    changed = 1 if change in (_edit, _add) else 0
    assert computed(new) == [changed, changed]
    assert sum(forwards) == N + changed
    assert new.index.store.manifest.dataset != old.index.store.manifest.dataset
    after = tree_bytes(cache)
    assert {name: after[name] for name in before} == before
    fresh = run(data, cache.with_name("fresh"), tiny_resnet)
    assert contents(new)[0] == contents(fresh)[0]
    for name in ("features", "imagenet_probabilities"):  # another batch may change the last bits
        one, other = (result.backbones[0].store.array(name)[:] for result in (new, fresh))
        assert np.allclose(one, other, rtol=2e-3, atol=1e-6)
    if not changed:
        reused = new.backbones[0].store.manifest.made["reused_from"]
        assert reused == {old.backbones[0].store.manifest_digest: len(new.backbones[0].store.sample_ids)}
    stores = Cache(cache)["flowers"]
    assert stores.index().manifest == new.index.store.manifest
    assert stores["small_resnet"].manifest == new.backbones[0].store.manifest


def test_the_version_last_extracted_is_the_current_one(data: Path, cache: Path, tiny_resnet: Tiny) -> None:
    first = run(data, cache, tiny_resnet)
    original = {path: path.read_bytes() for path in data.rglob("*.png")}
    _edit(data)
    second = run(data, cache, tiny_resnet)
    assert Cache(cache)["flowers"].index().manifest == second.index.store.manifest
    for path, content in original.items():
        path.write_bytes(content)
    again = run(data, cache, tiny_resnet)
    assert computed(again) == [0, 0]
    stores = Cache(cache)["flowers"]
    assert stores.index().manifest == first.index.store.manifest
    assert stores["small_resnet"].manifest == first.backbones[0].store.manifest
    (cache / "flowers" / "current.json").write_bytes(b"[]")
    assert stores.index().manifest == second.index.store.manifest


def test_training_on_the_old_version_is_stale(
    data: Path, cache: Path, tiny_resnet: Tiny, tiny_efficientnet: Tiny
) -> None:
    run(data, cache, tiny_resnet)
    _edit(data)
    run(data, cache, tiny_efficientnet)
    with pytest.raises(StaleError, match="small_resnet"):
        Cache(cache)["flowers"]["small_resnet"]


def test_an_image_that_changes_during_the_run(
    data: Path, cache: Path, tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(data, cache, tiny_resnet)
    _edit(data)
    true_complete = passes_module.Passes._complete

    def change_again(self: Any, targets: Any) -> None:
        if targets:
            write_picture(data / "tulip" / "000.png", seed=99)
        true_complete(self, targets)

    monkeypatch.setattr(passes_module.Passes, "_complete", change_again)
    with pytest.raises(StaleError, match=r"tulip/000\.png"):
        run(data, cache, tiny_resnet)


@pytest.fixture
def bad_data(data: Path) -> Path:
    """Rows 4 (partition 1) and 8 (partition 2) cannot be decoded."""
    (data / "rose" / "001.png").write_bytes(b"")
    damaged = data / "tulip" / "002.png"
    damaged.write_bytes(damaged.read_bytes()[:300])
    return data


def test_bad_images_stop_and_are_all_listed(
    bad_data: Path, cache: Path, tiny_resnet: Tiny, forwards: list[int]
) -> None:
    with pytest.raises(UnusableDataError, match="2 of 9 images cannot be used") as caught:
        run(bad_data, cache, tiny_resnet)
    listed = str(caught.value).splitlines()[1:]
    assert listed == ["  rose/001.png: empty file", "  tulip/002.png: damaged, cut short or of an unknown kind"]
    assert sum(forwards) == 4  # the first partition; nothing after the first bad image
    assert Cache(cache)["flowers"].stores() == ()


def test_partitions_before_a_bad_image_are_kept(
    bad_data: Path, cache: Path, tiny_resnet: Tiny, forwards: list[int]
) -> None:
    with pytest.raises(UnusableDataError):
        run(bad_data, cache, tiny_resnet)
    forwards.clear()
    write_picture(bad_data / "rose" / "001.png", seed=71)
    write_picture(bad_data / "tulip" / "002.png", seed=72)
    result = run(bad_data, cache, tiny_resnet)
    assert computed(result) == [5, 5]
    assert sum(forwards) == 5
    assert contents(result) == contents(run(bad_data, cache.with_name("fresh"), tiny_resnet))


def test_skipped_images_keep_their_rows(bad_data: Path, cache: Path, tiny_resnet: Tiny) -> None:
    result = run(bad_data, cache, tiny_resnet, on_bad="skip")
    store = result.backbones[0].store
    assert result.bad == {"rose/001.png": Reason.EMPTY, "tulip/002.png": Reason.DAMAGED}
    assert store.status.tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 3]
    missing = np.isnan(store.features[:]).all(axis=1)
    assert missing.tolist() == (store.status != 0).tolist()
    assert np.isnan(store.probabilities[:]).all(axis=1).tolist() == missing.tolist()
    assert store.index.status.tolist() == store.status.tolist()
    assert not np.any(store.thumbnails(32)[4])


def test_good_rows_do_not_depend_on_bad_ones(data: Path, tmp_path: Path, tiny_resnet: Tiny) -> None:
    clean = np.asarray(run(data, tmp_path / "clean", tiny_resnet).backbones[0].store.features[:])
    (data / "rose" / "001.png").write_bytes(b"")
    store = run(data, tmp_path / "skipped", tiny_resnet, on_bad="skip").backbones[0].store
    good = np.arange(N) != 4
    assert np.array_equal(clean[good], np.asarray(store.features[:])[good])


def test_a_whole_partition_of_bad_images(data: Path, cache: Path, tiny_resnet: Tiny) -> None:
    for path in sorted(data.rglob("*.png"))[4:8]:
        path.write_bytes(b"not an image")
    store = run(data, cache, tiny_resnet, on_bad="skip").backbones[0].store
    assert store.status.tolist() == [0, 0, 0, 0, 2, 2, 2, 2, 0]


def test_a_mended_image_is_not_reported_again(
    bad_data: Path, cache: Path, tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that skips bad images dies before it publishes; then one is mended, and the next run stops at any."""

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(passes_module.Passes, "_publish", die)
        with pytest.raises(KeyboardInterrupt):
            run(bad_data, cache, tiny_resnet, on_bad="skip")
    write_picture(bad_data / "rose" / "001.png", seed=71)
    with pytest.raises(UnusableDataError, match="1 of 9 images") as caught:
        run(bad_data, cache, tiny_resnet)
    assert "rose/001.png" not in str(caught.value)
    write_picture(bad_data / "tulip" / "002.png", seed=72)
    result = run(bad_data, cache, tiny_resnet)
    assert computed(result) == [1, 1]  # the run before has redone the partition of the first one
    assert contents(result) == contents(run(bad_data, cache.with_name("fresh"), tiny_resnet))


def _scaled(tiny: Tiny, path: Path, factor: float) -> Tiny:
    """Return a backbone whose features are `factor` times those of another."""
    tensors = load_file(tiny.weights)
    last = max(name for name in tensors if name.startswith("layer4") and name.endswith(("bn3.weight", "bn2.weight")))
    for name in (last, last.replace("weight", "bias")):
        tensors[name] = tensors[name] * factor + factor
    path.write_bytes(save(tensors))
    return Tiny("scaled", tiny.architecture, path)


def test_overflow_of_float16_names_the_image(data: Path, cache: Path, tmp_path: Path, tiny_resnet: Tiny) -> None:
    scaled = _scaled(tiny_resnet, tmp_path / "scaled.safetensors", 1e6)
    with pytest.raises(UnusableDataError, match=r"'features': the values of image '.*iris/000\.png' overflow float16"):
        run(data, cache, scaled)
    store = run(data, cache, scaled, dtype="float32").backbones[0].store
    assert store.features.dtype == np.float32
    assert float(np.max(store.features[:])) > float(np.finfo(np.float16).max)


def test_values_that_are_not_numbers(data: Path, cache: Path, tmp_path: Path, tiny_resnet: Tiny) -> None:
    scaled = _scaled(tiny_resnet, tmp_path / "scaled.safetensors", float("nan"))
    with pytest.raises(UnusableDataError, match=r"iris/000\.png' are not finite numbers"):
        run(data, cache, scaled, dtype="float32")


def test_another_recipe_is_another_store(data: Path, cache: Path, tiny_resnet: Tiny, tmp_path: Path) -> None:
    half = run(data, cache, tiny_resnet)
    full = run(data, cache, tiny_resnet, dtype="float32")
    assert computed(full) == [0, N]
    other = Tiny(tiny_resnet.name, tiny_resnet.architecture, tmp_path / "other.safetensors")
    _scaled(tiny_resnet, other.weights, 2.0)
    third = run(data, cache, other)
    keys = [result.backbones[0].store.manifest.key for result in (half, full, third)]
    assert len(set(keys)) == 3
    assert np.allclose(half.backbones[0].store.features[:], full.backbones[0].store.features[:], rtol=1e-3, atol=1e-6)


def test_partition_size_does_not_change_the_key(data: Path, tmp_path: Path, tiny_resnet: Tiny) -> None:
    results = [run(data, tmp_path / str(rows), tiny_resnet, partition_rows=rows) for rows in (4, 100)]
    assert len({result.backbones[0].store.manifest.key for result in results}) == 1
    small, large = (result.backbones[0].store.features[:] for result in results)
    assert np.allclose(small, large, rtol=2e-3, atol=1e-6)


def test_an_attempt_with_other_partitions_gives_its_rows(
    data: Path, cache: Path, tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(passes_module.Passes, "_publish", _refuse)
        with pytest.raises(RefusedError):
            run(data, cache, tiny_resnet)
    before = tree_bytes(cache)
    result = run(data, cache, tiny_resnet, partition_rows=5)
    assert computed(result) == [0, 0]
    assert before.items() <= tree_bytes(cache).items()
    assert result.backbones[0].store.manifest.made["reused_from"] == {"an unfinished store": N}
    store = run(data, cache.with_name("fresh"), tiny_resnet).backbones[0].store
    assert np.array_equal(result.backbones[0].store.features[:], store.features[:])


def _refuse(*_: object) -> None:
    raise RefusedError("stopped by the test")


@pytest.mark.parametrize(
    "options", [{"dtype": "float64"}, {"on_bad": "ignore"}, {"batch_size": -1}, {"partition_rows": 0}, {"workers": -1}]
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Options(**options)


def test_names_of_any_bytes(tmp_path: Path, tiny_resnet: Tiny) -> None:
    names = ["caf\u00e9.png", "cafe\u0301.png", "new\nline.png", "-dash.png", "esc\x1b[2J.png", "byte\udcff.png"]
    for row, name in enumerate(names):
        write_picture(tmp_path / "flowers" / ("rose" if row % 2 else "iris") / "x.png", seed=row).rename(
            tmp_path / "flowers" / ("rose" if row % 2 else "iris") / name
        )
    result = run(tmp_path / "flowers", tmp_path / "cache", tiny_resnet)
    assert {Path(sample).name for sample in result.backbones[0].store.sample_ids} == set(names)


def test_batches_and_threads_change_rounding_at_most(data: Path, cache: Path, tiny_resnet: Tiny) -> None:
    one = run(data, cache, tiny_resnet, batch_size=1, workers=4, dtype="float32").backbones[0].store
    many = run(data, cache.with_name("other"), tiny_resnet, batch_size=9, workers=1, dtype="float32").backbones[0].store
    assert np.allclose(one.features[:], many.features[:], rtol=1e-4, atol=1e-6)
    assert one.sample_sha256 == many.sample_sha256


def test_a_verdict_names_the_slow_stage(
    data: Path, cache: Path, tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_run = Network.run

    def slow(self: Network, images: torch.Tensor) -> Any:
        time.sleep(0.3)
        return true_run(self, images)

    monkeypatch.setattr(Network, "run", slow)
    result = run(data, cache, tiny_resnet)
    assert result.verdict.text.startswith("forward held it back")
    forward = result.verdict.limits["forward"]
    assert forward is not None
    assert forward < N / (3 * 0.3)


def test_no_memory_stops_the_run_and_names_the_image(
    data: Path, cache: Path, tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("fusion_pipeline.images.decode.upright_rgb", fail)
        with pytest.raises(UnusableDataError, match=r"No memory left to decode image '.*png'.*--workers"):
            run(data, cache, tiny_resnet, on_bad="skip")
    assert computed(run(data, cache, tiny_resnet)) == [N, N]


def test_another_budget_is_another_store(data: Path, cache: Path, tiny_resnet: Tiny) -> None:
    small = run(data, cache, tiny_resnet, on_bad="skip", budget=DecodeBudget(max_pixels=100))
    assert set(small.bad.values()) == {Reason.TOO_MANY_PIXELS}
    usual = run(data, cache, tiny_resnet)
    assert (computed(usual), dict(usual.bad)) == ([N, N], {})
    assert small.index.store.identity["budget"]["max_pixels"] == 100
    assert "budget" not in usual.index.store.identity


def test_published_bad_rows_stop_a_run_that_does_not_skip_them(
    bad_data: Path, cache: Path, tiny_resnet: Tiny, tiny_efficientnet: Tiny
) -> None:
    skipped = run(bad_data, cache, tiny_resnet, on_bad="skip").bad
    before = tree_bytes(cache)
    for backbones in ([tiny_resnet], [tiny_resnet, tiny_efficientnet]):
        with pytest.raises(UnusableDataError, match=f"{len(skipped)} of") as caught:
            run(bad_data, cache, *backbones)
        assert all(Path(name).name in str(caught.value) for name in skipped)
    after = tree_bytes(cache)
    assert {name: after[name] for name in before} == before


def test_the_store_last_extracted_is_the_one_to_train_with(data: Path, cache: Path, tiny_resnet: Tiny) -> None:
    half = run(data, cache, tiny_resnet, dtype="float16").backbones[0].store
    single = run(data, cache, tiny_resnet, dtype="float32").backbones[0].store
    assert Cache(cache)["flowers"]["small_resnet"].folder == single.folder
    assert computed(run(data, cache, tiny_resnet, dtype="float16")) == [0, 0]
    assert Cache(cache)["flowers"]["small_resnet"].folder == half.folder


@pytest.mark.parametrize("damage", ["delete", "truncate"])
def test_a_published_store_with_files_missing_is_not_up_to_date(
    data: Path, cache: Path, tiny_resnet: Tiny, damage: str
) -> None:
    store = run(data, cache, tiny_resnet).backbones[0].store
    chunk = store.path / "features/c/1/0"
    if damage == "delete":
        chunk.unlink()
    else:
        chunk.write_bytes(b"abc")
    with pytest.raises(IntegrityError, match=r"'features/c/1/0' is missing or cut short. 'fusion cache repair'"):
        run(data, cache, tiny_resnet)
    shutil.rmtree(cache / "flowers" / store.folder)
    assert computed(run(data, cache, tiny_resnet)) == [0, N]


def test_a_cache_inside_the_images_is_refused_untouched(data: Path, tiny_resnet: Tiny) -> None:
    before = tree_bytes(data)
    with pytest.raises(UsageError, match="lies inside the images"):
        run(data, data / "cache", tiny_resnet)
    assert tree_bytes(data) == before


def test_weights_that_change_between_hash_and_load_are_refused(
    data: Path, cache: Path, tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_sha256 = backbone_target_module.checked_sha256
    content = tiny_resnet.weights.read_bytes()

    def then_change(backbone: Backbone, path: Path) -> str:
        found = true_sha256(backbone, path)
        path.write_bytes(save({name: value + 1 for name, value in load_file(path).items()}))
        return found

    monkeypatch.setattr(backbone_target_module, "checked_sha256", then_change)
    try:
        with pytest.raises(RefusedError, match="changed while it was in use"):
            run(data, cache, tiny_resnet)
    finally:
        tiny_resnet.weights.write_bytes(content)
    assert not (cache / "flowers").exists()


@contextmanager
def stopped_after_one(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stop the run inside once it has computed one partition."""
    true_write = passes_module.Passes._write

    def stop_after_one(self: Any, number: int, *arguments: Any) -> None:
        true_write(self, number, *arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(passes_module.Passes, "_write", stop_after_one)
        with pytest.raises(KeyboardInterrupt):
            yield


def test_what_is_not_asked_for_is_as_the_stopped_run_had_it(
    data: Path, cache: Path, tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stopped_after_one(monkeypatch):
        run(data, cache, tiny_resnet, batch_size=3)
    made = run(data, cache, tiny_resnet, batch_size=0).backbones[0].store.manifest.made
    assert made["batch_size"] == 3
    assert "also_made_with" not in made


def test_what_an_earlier_run_computed_with_is_told(
    data: Path, cache: Path, tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stopped_after_one(monkeypatch):
        run(data, cache, tiny_resnet, batch_size=4)
    result = run(data, cache, tiny_resnet, batch_size=2)
    made = result.backbones[0].store.manifest.made
    assert computed(result) == [5, 5]
    assert (made["batch_size"], [other["batch_size"] for other in made["also_made_with"]]) == (2, [4])
    assert "also_made_with" not in run(data, cache.with_name("other"), tiny_resnet).index.store.manifest.made


def test_a_gpu_goes_on_as_it_was_begun(
    data: Path, cache: Path, tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was faster once need not be the next time: neither a resumed run nor a repair times again."""
    pretend_gpu(monkeypatch)
    faster = {"channels_first": 64}

    def rate(self: CudaEngine, images: np.ndarray) -> float:
        return len(images) if faster.get(self._layout, 0) >= len(images) else 1.0

    monkeypatch.setattr(CudaEngine, "_rate", rate)
    options = {"device": "auto", "batch_size": 0, "decode_in": "threads"}
    with stopped_after_one(monkeypatch):
        run(data, cache, tiny_resnet, **options)
    faster = {"channels_last": 128}
    store = run(data, cache, tiny_resnet, **options).backbones[0].store
    made = store.manifest.made
    assert (made["device"], made["batch_size"], made["layout"]) == ("Pretended GPU", 64, "channels_first")
    assert "also_made_with" not in made
    (cache / "flowers" / store.folder / "attempts" / store.manifest.attempt / "features/c/1/0").unlink()
    known = {tiny_resnet.name: tiny_resnet.backbone}
    mended = repair(list_image_folder(data), Cache(cache), known.get, Options(decode_in="threads"))
    assert [repaired.is_identical for repaired in mended.stores] == [True]
    assert mended.stores[0].result.store.manifest.made["layout"] == "channels_first"
    other = run(data, cache.with_name("other"), tiny_resnet, **options).backbones[0].store.manifest.made
    assert (other["batch_size"], other["layout"]) == (128, "channels_last")


def test_a_publication_that_was_cut_short_is_finished(
    data: Path, cache: Path, tiny_resnet: Tiny, forwards: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run dies after it has put the backbone's arrays to where their manifest is to be."""
    true_swap = LocalBackend.swap

    def swap(self: LocalBackend, path: str, before: bytes | None, content: bytes) -> bool:
        if "small_resnet" in path:
            raise KeyboardInterrupt
        return true_swap(self, path, before, content)

    with monkeypatch.context() as patch:
        patch.setattr(LocalBackend, "swap", swap)
        with pytest.raises(KeyboardInterrupt):
            run(data, cache, tiny_resnet)
    forwards.clear()
    again = run(data, cache, tiny_resnet)
    assert (computed(again), forwards) == ([0, 0], [])
    (folder,) = (cache / "flowers").glob("small_resnet-*")
    assert len([path for path in (folder / "attempts").iterdir() if path.is_dir()]) == 1  # nothing half-done is left
    assert list((cache / "flowers" / "attempts").iterdir()) == []
    assert contents(again) == contents(run(data, cache.with_name("fresh"), tiny_resnet))


def test_an_image_that_changes_while_its_partition_is_redone(
    data: Path, cache: Path, tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(passes_module.Passes, "_publish", _refuse)
        with pytest.raises(RefusedError):
            run(data, cache, tiny_resnet)
    write_picture(data / "rose" / "001.png", seed=100)
    seeds, true_recompute = itertools.count(101), passes_module.Passes._recompute

    def change_again(self: Any, *arguments: Any) -> None:
        write_picture(data / "rose" / "001.png", seed=next(seeds))
        true_recompute(self, *arguments)

    monkeypatch.setattr(passes_module.Passes, "_recompute", change_again)
    with pytest.raises(StaleError, match=r"rose/001\.png"):
        run(data, cache, tiny_resnet)


def test_an_image_that_became_bad_stops_a_run_that_expected_a_finished_store(
    data: Path, cache: Path, tiny_resnet: Tiny
) -> None:
    run(data, cache, tiny_resnet)
    (data / "rose" / "001.png").write_bytes(b"not an image")
    with pytest.raises(UnusableDataError, match=r"1 of 9 images(?s:.*)rose/001\.png"):
        run(data, cache, tiny_resnet)


def test_other_labels_of_the_same_files_are_not_taken_for_the_same_version(data: Path, cache: Path) -> None:
    folder = list_image_folder(data)
    extract(folder, [], Cache(cache), Options(device="cpu", workers=2))
    relabelled = replace(folder, labels=(1, *folder.labels[1:]))
    result = extract(relabelled, [], Cache(cache), Options(device="cpu", workers=2))
    assert (computed(result), result.opens) == ([0], N)  # the very images: their thumbnails are known
    assert result.index.store.labels.tolist() == list(relabelled.labels)


def test_threads_are_those_asked_for_or_one_a_processor() -> None:
    assert Options(workers=3).threads == 3
    assert Options().threads >= 1
