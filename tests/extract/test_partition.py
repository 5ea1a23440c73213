"""The pass over the images: bounded, in order, each image decoded and resized once for all who share it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fusion_pipeline.errors import UnusableDataError
from fusion_pipeline.extract import partition
from fusion_pipeline.extract.partition import ImageLoader, Meter, PartitionRows, Taken, Task, compute_partition
from fusion_pipeline.extract.producers import Prepared
from fusion_pipeline.extract.verdict import judge
from fusion_pipeline.images.decode import DecodeBudget, RawFile, Reason, read_file
from tests.builders import write_picture

ROWS = 40
BATCH = 4


class Mean:
    """A producer of an image's mean value, which counts what it is asked to do."""

    def __init__(self, preparation: Hashable = "mean", factor: float = 1) -> None:
        self.name = f"mean times {factor}"
        self.preparation = preparation
        self.prepared: list[int] = []
        self.batches: list[int] = []
        self._factor = factor

    def prepare(self, image: Image.Image) -> Prepared:
        self.prepared.append(1)
        return (np.asarray(image, dtype=np.float32).mean(keepdims=True).reshape(1),)

    def compute(self, batch: Prepared) -> Mapping[str, np.ndarray]:
        self.batches.append(len(batch[0]))
        return {"features": batch[0] * self._factor}


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("pictures")
    return [bytes(write_picture(folder / f"{row:03}.png", seed=row, size=(8, 8))) for row in range(ROWS)]


def loader(meter: Meter | None = None, **options: Any) -> ImageLoader:
    done = options.pop("progress", lambda _images: None)
    return ImageLoader(
        workers=3, batch_size=BATCH, budget=DecodeBudget(), progress=done, meter=meter or Meter(), **options
    )


def compute(paths: list[bytes], *producers: Mean, dtype: str = "float32", stop: bool = False) -> PartitionRows:
    with loader() as images:
        tasks = [Task(producer, {"features": dtype}) for producer in producers]
        return compute_partition(images, paths, 100, tasks, stop_on_bad=stop)


def test_few_images_are_read_ahead(paths: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []

    def reading(path: bytes, budget: DecodeBudget) -> RawFile:
        read.append(path)
        return read_file(path, budget)

    monkeypatch.setattr(partition, "read_file", reading)
    with loader() as images:
        batches = images.batches(paths, [Task(Mean(), {"features": "float32"})], check=False)
        next(batches)
        assert len(read) <= 3 * BATCH
        assert sum(len(batch) for batch in batches) == ROWS - BATCH
    assert sorted(read) == sorted(paths)


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
    assert len(one.prepared) + len(two.prepared) == ROWS
    assert len(other.prepared) == ROWS
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

    with loader() as images:
        task = Task(producer, {"features": "float32"}, take)
        result = compute_partition(images, paths, 100, [task], stop_on_bad=True)
    assert np.array_equal(result.arrays[0]["features"], known.arrays[0]["features"])
    assert (sum(producer.batches), len(producer.prepared)) == (ROWS - 5, ROWS - 5)
    assert result.reused == ({"there": 5},)


def test_bad_images_alone_see_no_network(paths: list[bytes], tmp_path: Path) -> None:
    """All other images of the partition are known: a bad one among them costs no forward pass."""
    known = compute(paths, Mean())
    rows = dict(zip(known.sha256, known.arrays[0]["features"], strict=True))
    spoilt = [*paths[:5], bytes(tmp_path / "missing.png"), *paths[6:]]
    producer = Mean()
    with loader() as images:
        task = Task(
            producer,
            {"features": "float32"},
            lambda sha256: ("there", {"features": rows[sha256]}) if sha256 in rows else None,
        )
        result = compute_partition(images, spoilt, 100, [task], stop_on_bad=False)
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
    with loader(meter, progress=done.append) as images:
        compute_partition(images, paths, 0, [Task(Mean(), {"features": "float32"})], stop_on_bad=False)
    assert sum(done) == meter.opens == ROWS
    assert {stage: meter.images[stage] for stage in ("read", "decode", "resize", "mean times 1")} == dict.fromkeys(
        ("read", "decode", "resize", "mean times 1"), ROWS
    )


@pytest.mark.parametrize(
    ("seconds", "stage"),
    [
        ({"wait": 9.0, "net": 1.0, "write": 1.0}, "decode"),
        ({"wait": 1.0, "net": 9.0, "write": 1.0}, "forward"),
        ({"wait": 1.0, "net": 1.0, "write": 9.0}, "write"),
    ],
)
def test_the_slowest_stage_is_named(seconds: dict[str, float], stage: str) -> None:
    meter = Meter()
    meter.seconds.update(seconds, decode=4.0)
    meter.images.update(decode=80, net=90)
    verdict = judge(meter, workers=2)
    assert verdict.text.startswith(f"{stage} held it back: 82 % of the time.")
    assert verdict.limits == {"decode": 40.0, "forward": 90 / seconds["net"]}


def test_nothing_to_judge() -> None:
    verdict = judge(Meter(), workers=1)
    assert verdict.text == "nothing had to be computed."
    assert verdict.limits == {"decode": None, "forward": None}
