"""The pass over the images: bounded, in order, each image decoded and resized once for all who share it."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fusion_pipeline.errors import UnusableDataError
from fusion_pipeline.extract.loading import loader as loader_module
from fusion_pipeline.extract.loading.decoders import ThreadDecoder
from fusion_pipeline.extract.loading.decoding_process import Timed
from fusion_pipeline.extract.loading.loader import ImageLoader, Job, Taken, Task
from fusion_pipeline.extract.loading.preparation import Preparation, Prepared, PreparedImage
from fusion_pipeline.extract.meter import Meter
from fusion_pipeline.extract.rows import PartitionRows, compute_partition
from fusion_pipeline.images.decode import DecodeBudget, RawFile, Reason, read_file
from tests.builders import write_picture

ROWS = 40
BATCH = 4


class ToMean:
    """A preparation, which counts the images that it is given; equal ones share that."""

    n_bytes = 4

    def __init__(self, name: str = "mean") -> None:
        self.prepared: list[int] = []
        self._name = name

    def __call__(self, image: Image.Image) -> Prepared:
        self.prepared.append(1)
        return (np.asarray(image, dtype=np.float32).mean(keepdims=True).reshape(1),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ToMean) and other._name == self._name

    def __hash__(self) -> int:
        return hash(self._name)


class Mean:
    """A producer of an image's mean value, which counts what it is asked to do."""

    def __init__(self, preparation: str = "mean", factor: float = 1, batch_size: int = 4) -> None:
        self.name = f"mean times {factor}"
        self.preparation = ToMean(preparation)
        self.batch_size = batch_size
        self.batches: list[int] = []
        self.seconds = {"forward": 0.0}
        self._factor = factor

    @property
    def prepared(self) -> int:
        return len(self.preparation.prepared)

    def launch(self, batch: Prepared) -> Callable[[], Mapping[str, np.ndarray]]:
        self.batches.append(len(batch[0]))
        self.seconds["forward"] += 1.0
        return lambda: {"features": batch[0] * self._factor}


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("pictures")
    return [bytes(write_picture(folder / f"{row:03}.png", seed=row, size=(8, 8))) for row in range(ROWS)]


def loader(meter: Meter | None = None, **options: Any) -> ImageLoader:
    done = options.pop("progress", lambda _images: None)
    decoder = options.pop("decoder", None) or ThreadDecoder(DecodeBudget())
    return ImageLoader(
        workers=3,
        batch_size=BATCH,
        budget=DecodeBudget(),
        decoder=decoder,
        progress=done,
        meter=meter or Meter(),
        **options,
    )


def compute_tasks(
    paths: list[bytes], *tasks: Task, stop: bool = False, meter: Meter | None = None, **options: Any
) -> PartitionRows:
    with loader(meter, **options) as images:
        job, batches = next(images.partitions([Job(0, paths, tasks, check=stop)]))
        return compute_partition(images.meter, job, batches, 100, stop_on_bad=stop)


def compute(paths: list[bytes], *producers: Mean, dtype: str = "float32", stop: bool = False) -> PartitionRows:
    return compute_tasks(paths, *(Task(producer, {"features": dtype}) for producer in producers), stop=stop)


def test_few_images_are_read_ahead(paths: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []

    def reading(path: bytes, budget: DecodeBudget) -> RawFile:
        read.append(path)
        return read_file(path, budget)

    monkeypatch.setattr(loader_module, "read_file", reading)
    asked: list[int] = []

    def jobs() -> Iterator[Job]:
        for number in range(ROWS // 8):
            asked.append(number)
            yield Job(number, paths[8 * number : 8 * number + 8], [Task(Mean(), {"features": "float32"})])

    with loader() as images:
        partitions = images.partitions(jobs())
        _, batches = next(partitions)
        assert len(next(batches)) == BATCH
        assert len(read) <= 3 * BATCH
        assert asked == [0, 1], "the next partition is begun before this one is done"
        assert [len(batch) for batch in batches] == [BATCH]
        assert [[len(batch) for batch in batches] for _, batches in partitions] == [[BATCH] * 2] * (ROWS // 8 - 1)
    assert sorted(read) == sorted(paths)


def ahead_of_the_first(paths: list[bytes], monkeypatch: pytest.MonkeyPatch, *producers: Mean, rows: int = ROWS) -> int:
    """Return how many images are loaded, in the end, while somebody is at the first batch of the loader."""
    read: list[bytes] = []

    def reading(path: bytes, budget: DecodeBudget) -> RawFile:
        read.append(path)
        return read_file(path, budget)

    monkeypatch.setattr(loader_module, "read_file", reading)
    tasks = [Task(producer, {"features": "float32"}) for producer in producers]
    jobs = (Job(number, paths[start : start + rows], tasks) for number, start in enumerate(range(0, ROWS, rows)))
    with loader() as images:
        next(images._batches(jobs))
        images._pool.shutdown(wait=True)
    return len(read) - BATCH


def test_as_many_are_read_ahead_as_a_network_takes(paths: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a GPU that takes hundreds at a time would wait for most of them."""
    assert ahead_of_the_first(paths, monkeypatch, Mean(batch_size=20), Mean(batch_size=4)) == 20
    assert ahead_of_the_first(paths, monkeypatch, Mean(batch_size=500), rows=12) == 12
    assert ahead_of_the_first(paths, monkeypatch, Mean(batch_size=1)) == 2 * BATCH
    monkeypatch.setattr(loader_module, "_BYTES_AHEAD", 16 * ToMean.n_bytes)
    assert ahead_of_the_first(paths, monkeypatch, Mean(batch_size=32)) == 16
    assert ahead_of_the_first(paths, monkeypatch, Mean(batch_size=32), Mean("other", batch_size=32)) == 2 * BATCH


def test_what_a_network_has_taken_is_dropped(paths: list[bytes]) -> None:
    """The memory of its pixels is needed for images to come."""

    class Watching(ThreadDecoder):
        def __call__(self, content: bytes, preparations: Sequence[Preparation]) -> Timed:
            timed = super().__call__(content, preparations)
            seen.append(weakref.ref(timed.image))
            return timed

    class Counting(Mean):
        def launch(self, batch: Prepared) -> Callable[[], Mapping[str, np.ndarray]]:
            alive.append(sum(image() is not None for image in seen))
            return super().launch(batch)

    seen: list[weakref.ref[PreparedImage]] = []
    alive: list[int] = []
    with loader(decoder=Watching(DecodeBudget())) as images:
        job, batches = next(images.partitions([Job(0, paths[:16], [Task(Counting(batch_size=8), {"features": "f4"})])]))
        loaded = list(batches)
        compute_partition(Meter(), job, (loaded.pop(0) for _ in range(4)), 0, stop_on_bad=False)
    assert alive == [16 - 8 + BATCH, BATCH], "but for those that were just handed over"


def test_by_turns_nobody_decodes_while_a_network_computes(paths: list[bytes]) -> None:
    decoded: list[bytes] = []

    class Noting(ThreadDecoder):
        def __call__(self, content: bytes, preparations: Sequence[Preparation]) -> Timed:
            decoded.append(content)
            time.sleep(0.05)
            return super().__call__(content, preparations)

    task = Task(Mean(), {"features": "float32"})
    with loader(decoder=Noting(DecodeBudget()), by_turns=True) as images:
        _, batches = next(images.partitions([Job(0, paths, [task])]))
        next(batches)
        begun = len(decoded)
        time.sleep(0.2)  # those whose turn it still was begin with an image each
        before = len(decoded)
        assert BATCH <= before <= begun + images.threads
        time.sleep(0.2)
        assert len(decoded) == before
        list(batches)
        assert before < len(decoded) == ROWS
    # Left before its end: those who wait for their turn do not keep it open.


def test_by_turns_rows_are_the_same(paths: list[bytes]) -> None:
    tasks = [Task(Mean(), {"features": "float32"}) for _ in range(2)]
    both = [compute_tasks(paths, task, by_turns=turns) for task, turns in zip(tasks, (False, True), strict=True)]
    assert np.array_equal(both[0].arrays[0]["features"], both[1].arrays[0]["features"])


def test_one_file_is_read_while_another_is_decoded_elsewhere(paths: list[bytes]) -> None:
    class Elsewhere(ThreadDecoder):
        threads_per_worker = 2

        def __call__(self, content: bytes, preparations: Sequence[Preparation]) -> Timed:
            met.wait(10)  # until as many are at it
            return super().__call__(content, preparations)

    met = threading.Barrier(2 * 3)
    task = Task(Mean(), {"features": "float32"})
    with loader(decoder=Elsewhere(DecodeBudget())) as images:
        for _, batches in images.partitions([Job(0, paths[:6], [task])]):
            assert sum(len(batch) for batch in batches) == 6


def test_rows_keep_their_order_and_batches_their_size(paths: list[bytes]) -> None:
    producer = Mean()
    result = compute(paths, producer)
    expected = [np.asarray(Image.open(path.decode()), dtype=np.float32).mean() for path in paths]
    assert np.allclose(result.arrays[0]["features"].ravel(), expected)
    assert producer.batches == [BATCH] * (ROWS // BATCH)
    assert result.arrays[0]["status"].tolist() == [0] * ROWS


def test_equal_preparations_are_shared(paths: list[bytes]) -> None:
    one, two, other = Mean(factor=1), Mean(factor=2), Mean("another")
    result = compute(paths, one, two, other)
    assert one.prepared + two.prepared == ROWS
    assert other.prepared == ROWS
    assert np.array_equal(result.arrays[0]["features"] * 2, result.arrays[1]["features"])


def test_twins_are_computed_once(paths: list[bytes]) -> None:
    """Rows 1 and 2 show the image of row 0, in its batch; the last row does so in another one."""
    producer = Mean()
    twins = [paths[0], paths[0], paths[0], *paths[3 : ROWS - 1], paths[0]]
    result = compute(twins, producer)
    expected = compute(paths, Mean()).arrays[0]["features"]
    assert np.array_equal(result.arrays[0]["features"], expected[[0, 0, 0, *range(3, ROWS - 1), 0]])
    assert sum(producer.batches) == ROWS - 3
    assert result.reused == ({"this store": 3},)


def test_known_rows_are_taken_and_not_decoded(paths: list[bytes]) -> None:
    known = compute(paths, Mean())
    rows = dict(zip(known.sha256[:5], known.arrays[0]["features"][:5], strict=True))
    producer = Mean()

    def take(sha256: str) -> Taken | None:
        return ("there", {"features": rows[sha256]}) if sha256 in rows else None

    result = compute_tasks(paths, Task(producer, {"features": "float32"}, take), stop=True)
    assert np.array_equal(result.arrays[0]["features"], known.arrays[0]["features"])
    assert (sum(producer.batches), producer.prepared) == (ROWS - 5, ROWS - 5)
    assert result.reused == ({"there": 5},)


def test_bad_images_alone_see_no_network(paths: list[bytes], tmp_path: Path) -> None:
    """All other images of the partition are known: a bad one among them costs no forward pass."""
    known = compute(paths, Mean())
    rows = dict(zip(known.sha256, known.arrays[0]["features"], strict=True))
    spoilt = [*paths[:5], bytes(tmp_path / "missing.png"), *paths[6:]]
    producer = Mean()
    task = Task(
        producer,
        {"features": "float32"},
        lambda sha256: ("there", {"features": rows[sha256]}) if sha256 in rows else None,
    )
    result = compute_tasks(spoilt, task)
    assert producer.batches == []
    assert np.isnan(result.arrays[0]["features"]).ravel().tolist() == [row == 5 for row in range(ROWS)]


def test_bad_rows_are_nan_and_the_others_as_ever(paths: list[bytes], tmp_path: Path) -> None:
    empty = tmp_path / "empty.png"
    empty.write_bytes(b"")
    spoilt = [*paths[:5], bytes(empty), *paths[6:]]
    producer = Mean()
    result = compute(spoilt, producer)
    assert result.bad == {105: Reason.EMPTY}
    good = np.arange(ROWS) != 5
    assert np.isnan(result.arrays[0]["features"].ravel()).tolist() == (~good).tolist()
    assert np.array_equal(result.arrays[0]["features"][good], compute(paths, Mean()).arrays[0]["features"][good])
    assert producer.batches == [BATCH] * (ROWS // BATCH)
    assert result.arrays[0]["status"].tolist() == [int(not ok) for ok in good]


def test_nothing_is_computed_after_a_bad_image_that_stops(paths: list[bytes], tmp_path: Path) -> None:
    missing = [*paths[:5], bytes(tmp_path / "missing.png"), *paths[6:8], bytes(tmp_path / "gone.png")]
    producer = Mean()
    result = compute(missing, producer, stop=True)
    assert result.bad == {105: Reason.UNREADABLE, 108: Reason.UNREADABLE}
    assert (result.arrays, producer.batches) == ((), [BATCH])
    assert result.sha256[5] == ""


def test_bad_files_are_found_without_producers(paths: list[bytes], tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_bytes(b"hello")
    assert compute([*paths[:2], bytes(text)], stop=True).bad == {102: Reason.NOT_AN_IMAGE}
    assert compute([*paths[:2], bytes(text)], stop=False).bad == {}  # read and hashed only


@pytest.mark.parametrize(
    ("factor", "dtype", "message"),
    [
        (1e6, "float16", "overflow float16; use --dtype float32 --anew"),
        (float("inf"), "float32", "are not finite numbers"),
    ],
)
def test_values_that_cannot_be_stored(paths: list[bytes], factor: float, dtype: str, message: str) -> None:
    with pytest.raises(UnusableDataError, match=rf"000\.png' {message}"):
        compute(paths[:4], Mean(factor=factor), dtype=dtype)


def test_progress_and_seconds_are_booked(paths: list[bytes]) -> None:
    done: list[int] = []
    meter = Meter()
    compute_tasks(paths, Task(Mean(), {"features": "float32"}), meter=meter, progress=done.append)
    assert sum(done) == meter.opens == ROWS
    stages = ("read", "decode", "resize", "forward")
    assert {stage: meter.images[stage] for stage in stages} == dict.fromkeys(stages, ROWS)
    assert meter.seconds["forward"] == meter.forward["mean times 1"] == ROWS / BATCH


def test_what_a_partition_before_had_is_not_computed_again(paths: list[bytes]) -> None:
    """Its rows are known only once this partition's images are loaded already."""
    known: dict[str, np.ndarray] = {}
    producer = Mean()

    def take(sha256: str) -> Taken | None:
        return ("before", {"features": known[sha256]}) if sha256 in known else None

    task = Task(producer, {"features": "float32"}, take)
    with loader() as images:
        jobs = [Job(number, paths[:8], [task]) for number in range(2)]
        results = []
        for job, batches in images.partitions(jobs):
            results.append(compute_partition(images.meter, job, batches, 0, stop_on_bad=False))
            known.update(zip(results[-1].sha256, results[-1].arrays[0]["features"], strict=True))
    assert producer.batches == [BATCH] * 2
    assert results[1].reused == ({"before": 8},)
    assert np.array_equal(results[0].arrays[0]["features"], results[1].arrays[0]["features"])


def test_a_producer_has_batches_of_its_own_size(paths: list[bytes]) -> None:
    small, large, whole = Mean(batch_size=3), Mean("other", batch_size=16), Mean("third", batch_size=0)
    result = compute(paths, small, large, whole)
    assert (small.batches, large.batches) == ([3] * 13 + [1], [16, 16, 8])
    assert sum(whole.batches) == ROWS
    assert np.array_equal(result.arrays[0]["features"], result.arrays[1]["features"])
