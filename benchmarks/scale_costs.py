"""Real objects of this project, made at several sizes, into what each further image or partition costs."""

from __future__ import annotations

import gc
import hashlib
import pickle
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image

from fusion_pipeline.cluster import Cluster
from fusion_pipeline.extract.cluster.spread import Done
from fusion_pipeline.extract.loading.preparation import NetworkInput, Preparation, Squares, decode_and_prepare
from fusion_pipeline.extract.meter import Meter
from fusion_pipeline.extract.networks.backbones import PAPER, find_backbone
from fusion_pipeline.extract.networks.network import find_preprocessing
from fusion_pipeline.extract.producers import path_arrays
from fusion_pipeline.images.decode import DecodeBudget
from fusion_pipeline.images.listing import ImageListing, ImageRow, list_rows
from fusion_pipeline.images.thumbnails import THUMBNAIL_SIZES
from fusion_pipeline.store import Cache, Store
from fusion_pipeline.store.layout import (
    FEATURES,
    PARTITION_ROWS,
    GroupEncoder,
    backbone_arrays,
    index_arrays,
)
from fusion_pipeline.store.making.attempt import Attempt
from fusion_pipeline.store.making.known import AttemptRows, KnownRows, PublishedRows
from fusion_pipeline.store.making.record import PartitionRecord
from fusion_pipeline.store.manifest import FileEntry, Manifest
from fusion_pipeline.store.paths import MANIFEST, group_folder, store_folder
from fusion_pipeline.store.storage.backend import Backend
from fusion_pipeline.train.experts import fit_expert

PAPER_FEATURES = (2048, 2048, 2048, 4096, 4096)
"""Of the paper's five backbones; each has 1,000 probabilities beside."""

CLASSES = 1000
DATASET, VERSION = "benchmark", f"sha256:{'1' * 64}"
_SEED = 0


@dataclass(frozen=True)
class Cost:
    """Something that grows.

    Parameters
    ----------
    title : str
        What it is.
    unit : str
        What it is counted in.
    per : {"image", "partition", "call"}
        What it grows with.
    at : mapping of int to float
        What was measured, by the number of those.
    """

    title: str
    unit: str
    per: str
    at: Mapping[int, float]

    @property
    def slope(self) -> float:
        """What one more costs: the line of least squares through what was measured."""
        sizes = list(self.at)
        if len(sizes) == 1:
            return self.at[sizes[0]] / sizes[0]
        return float(np.polyfit(sizes, list(self.at.values()), 1)[0])

    def line(self) -> str:
        """Return it for people."""
        measured = "  ".join(f"{value:>12,.6g} at {size:>9,}" for size, value in self.at.items())
        return f"{self.title:<46} {self.slope:>12.4g} {self.unit} a {self.per:<10} {measured}"


def names(rows: int, first: int = 0) -> list[bytes]:
    """Return ids as a folder of 1,000 classes has them, 27 bytes long."""
    return [b"class%04d/picture%07d.jpeg" % (row % CLASSES, row) for row in range(first, first + rows)]


def hashes(rows: int) -> list[str]:
    """Return as many different sha256, hexadecimal: a text of its own each, as hashing makes them."""
    return [hashlib.sha256(row.to_bytes(8, "big")).hexdigest() for row in range(rows)]


def listing(rows: int) -> ImageListing:
    """Return a listing, made as those of manifests and shards are."""
    return list_rows(Path("/data"), DATASET, (ImageRow(path, path[:9].decode()) for path in names(rows)))


def kept_and_peak(make: Callable[[], object]) -> tuple[float, float]:
    """Return the bytes that a result takes for as long as it is kept, and the most that making it took."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        result = make()
        gc.collect()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    del result
    return float(after - before), float(peak - before)


def seconds(run: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    """Return the seconds of a call: the least of three, by this process's own time unless it waits for others."""
    times = []
    for _ in range(3):
        start = clock()
        run()
        times.append(clock() - start)
    return min(times)


# On disk


def backbone_encoder(features: int, rows: int, partition_rows: int = PARTITION_ROWS) -> GroupEncoder:
    """Return the encoder of a store of one backbone of the paper."""
    return GroupEncoder(backbone_arrays(features, CLASSES, "float16", head=True), rows, partition_rows)


def write_backbone(backend: Backend, features: int, rows: int) -> Store:
    """Publish a store of zeros, as an extraction does it."""
    encoder = backbone_encoder(features, rows)
    attempt = Attempt.open(backend, DATASET, f"made{features}", {"kind": "backbone"}, encoder)
    head = {name: _zeros(encoder, name, spec.rows) for name, spec in encoder.specs.items() if spec.rows is not None}
    return _publish(attempt, encoder, "backbone", hashes(rows), head)


def write_index(backend: Backend, rows: int) -> Store:
    """Publish an index of so many images."""
    images = listing(rows)
    encoder = GroupEncoder(index_arrays(rows, sum(map(len, images.paths)), THUMBNAIL_SIZES), rows)
    attempt = Attempt.open(backend, DATASET, "index", {"kind": "index"}, encoder)
    sha256 = hashes(rows)
    return _publish(attempt, encoder, "index", sha256, path_arrays(images.paths, sha256, images.labels))


def _publish(
    attempt: Attempt, encoder: GroupEncoder, kind: str, samples: Sequence[str], whole: Mapping[str, np.ndarray]
) -> Store:
    for number in range(encoder.partitions):
        part = samples[number * encoder.partition_rows : (number + 1) * encoder.partition_rows]
        arrays = {name: _zeros(encoder, name, len(part)) for name, spec in encoder.specs.items() if spec.per_sample}
        attempt.write(number, arrays, part, {})
    manifest, _ = attempt.publish(kind=kind, dataset_digest=VERSION, samples=samples, arrays=whole, made={})
    return Store(attempt._backend, DATASET, store_folder("", manifest.name, manifest.key).strip("/"))


def _zeros(encoder: GroupEncoder, name: str, rows: int | None) -> np.ndarray:
    spec = encoder.specs[name]
    return np.zeros((rows or 0, *spec.item_shape), spec.dtype)


def array_bytes(store: Store) -> dict[str, float]:
    """Return the bytes of each array of a store as its files have them, with what is said about it."""
    found: dict[str, float] = {}
    for name, entry in store.manifest.files.items():
        array = name.partition("/")[0]
        found[array] = found.get(array, 0) + entry.length
    return found


def on_disk(few: int, many: int) -> Iterator[Cost]:
    """Yield the bytes of every array, by files that were written; nothing in a store is compressed."""
    makers: dict[str, Callable[[Backend, int], Store]] = {
        "index": write_index,
        **{f"{n} features": _writer_of(n) for n in sorted(set(PAPER_FEATURES))},
    }
    for title, write in makers.items():
        at: dict[int, dict[str, float]] = {}
        for rows in (few, many):
            with tempfile.TemporaryDirectory() as folder:
                at[rows] = array_bytes(write(Cache(folder).backend, rows))
        for array in at[many]:
            if not array.endswith((".json", "head_weight", "head_bias")):
                yield Cost(f"{title}: {array}", "bytes", "image", {rows: found[array] for rows, found in at.items()})


def _writer_of(features: int) -> Callable[[Backend, int], Store]:
    return lambda backend, rows: write_backbone(backend, features, rows)


# Manifests


def manifest_of(partitions: int) -> Manifest:
    """Return the manifest of a store of 2,048 features in so many partitions; its sums are made up."""
    encoder = backbone_encoder(2048, partitions * PARTITION_ROWS)
    files = {
        name: FileEntry(PARTITION_ROWS * 4096, f"{number:064x}", f"{number:08x}")
        for number in range(partitions)
        for name in encoder.partition_files(number)
    }
    identity = {"dataset": VERSION, "number": partitions}
    return Manifest("backbone", "made", identity, "0" * 32, encoder.rows, PARTITION_ROWS, files)


def manifests(sizes: Sequence[int]) -> Iterator[Cost]:
    """Yield what the manifest of a store and whoever opens it pay for partitions."""
    found: dict[str, dict[int, float]] = {title: {} for title in ("files", "bytes", "write", "open", "kept", "peak")}
    for partitions in sizes:
        manifest = manifest_of(partitions)
        found["files"][partitions] = len(manifest.files)
        found["bytes"][partitions] = len(manifest.to_bytes())
        found["write"][partitions] = seconds(manifest.to_bytes)
        with tempfile.TemporaryDirectory() as name:
            backend, folder = Cache(name).backend, store_folder(DATASET, manifest.name, manifest.key)
            backend.write(f"{folder}/{MANIFEST}", manifest.to_bytes())

            def opened(backend: Backend = backend, folder: str = folder) -> Store:
                return Store(backend, DATASET, folder.partition("/")[2])

            found["open"][partitions] = seconds(opened)
            found["kept"][partitions], found["peak"][partitions] = kept_and_peak(opened)
    yield Cost("files of a backbone", "files", "partition", found["files"])
    yield Cost("manifest of a backbone", "bytes", "partition", found["bytes"])
    yield Cost("writing a manifest", "s", "partition", found["write"])
    yield Cost("opening (or listing) a store", "s", "partition", found["open"])
    yield Cost("memory of an open store", "bytes", "partition", found["kept"])
    yield Cost("memory while it is opened", "bytes", "partition", found["peak"])


# In memory


def in_memory(sizes: Sequence[int]) -> Iterator[Cost]:
    """Yield what a run keeps of each image."""
    lists = {rows: kept_and_peak(lambda rows=rows: listing(rows)) for rows in sizes}
    yield Cost("listing", "bytes", "image", {rows: kept for rows, (kept, _) in lists.items()})
    yield Cost("listing, while it is made", "bytes", "image", {rows: peak for rows, (_, peak) in lists.items()})
    kept = {rows: kept_and_peak(lambda rows=rows: hashes(rows))[0] for rows in sizes}
    yield Cost("sha256 of a run", "bytes", "image", kept)
    yield Cost("records and known rows of one store", "bytes", "image", {rows: _known(rows) for rows in sizes})
    yield Cost(
        "the same of a store that is gone on with", "bytes", "image", {rows: _known(rows, again=True) for rows in sizes}
    )
    whole = {rows: _whole_arrays(rows) for rows in sizes}
    yield Cost("arrays of an index, while it is published", "bytes", "image", whole)
    yield Cost("digest of the images' version", "s", "image", {rows: _digest(rows) for rows in sizes})


def _known(rows: int, *, again: bool = False) -> float:
    """Return what a run keeps of the partitions that are done: their records, and which row is whose."""
    samples = hashes(rows)
    numbers = range(rows // PARTITION_ROWS)
    encoder = backbone_encoder(2048, rows)

    def learn() -> object:
        known, records = KnownRows([FEATURES]), []
        for number in numbers:
            part = tuple(samples[number * PARTITION_ROWS : (number + 1) * PARTITION_ROWS])
            files = {name: FileEntry(0, f"{number:064x}", "0" * 8) for name in encoder.partition_files(number)}
            record = PartitionRecord(part, {}, files, f"parts/{number}-{'0' * 12}")
            if again:
                record = PartitionRecord.from_bytes(record.to_bytes())
            records.append(record)
            known.add(AttemptRows(cast(Any, None), record), number, record.samples, lambda _: True)
        return known, records

    return kept_and_peak(learn)[0]


def _whole_arrays(rows: int) -> float:
    images, sha256 = listing(rows), hashes(rows)
    return kept_and_peak(lambda: path_arrays(images.paths, sha256, images.labels))[1]


def _digest(rows: int) -> float:
    images, sha256 = listing(rows), hashes(rows)
    return seconds(lambda: images.digest(sha256))


def taking_over(sizes: Sequence[int]) -> Cost:
    """Return what it takes to read one partition of a published store of so many, to take its rows over."""

    def one(partitions: int) -> float:
        encoder = GroupEncoder(backbone_arrays(8, 0, "float16", head=False), partitions, 1)
        files = encoder.metadata()
        for number in range(partitions):
            files |= encoder.partition(number, {array: _zeros(encoder, array, 1) for array in encoder.specs})
        entries = {path: FileEntry.of(content) for path, content in files.items()}
        manifest = Manifest("backbone", "made", {"dataset": VERSION}, "0" * 32, partitions, 1, entries)
        folder = store_folder(DATASET, manifest.name, manifest.key)
        few = ["features/c/0/0", "features/c/1/0", *encoder.metadata()]  # all that is read of it
        with tempfile.TemporaryDirectory() as name:
            backend = Cache(name).backend
            backend.write_all({f"{group_folder(folder, manifest.attempt)}/{path}": files[path] for path in few})
            backend.write(f"{folder}/{MANIFEST}", manifest.to_bytes())
            rows = PublishedRows(Store(backend, DATASET, folder.partition("/")[2]))
            rows.read(0, FEATURES)
            return seconds(lambda: rows.read(1, FEATURES))

    return Cost("taking over one partition", "s", "partition of that store", {size: one(size) for size in sizes})


# Other machines


def sent(sizes: Sequence[int]) -> Iterator[Cost]:
    """Yield what each worker is sent, and what it then keeps of it."""
    pickled = {rows: pickle.dumps(listing(rows), protocol=5) for rows in sizes}
    yield Cost("sent to each worker", "bytes", "image", {rows: len(content) for rows, content in pickled.items()})
    kept = {rows: kept_and_peak(lambda content=content: pickle.loads(content))[0] for rows, content in pickled.items()}
    yield Cost("kept by each worker", "bytes", "image", kept)


def calls(sizes: Sequence[int]) -> Cost:
    """Return what a call through a scheduler costs, without work in it; scheduler and worker are this process."""
    from distributed import LocalCluster  # noqa: PLC0415 - takes a second

    with (
        LocalCluster(n_workers=1, processes=False, protocol="tcp", dashboard_address=":0") as local,
        Cluster(local.scheduler_address) as cluster,
    ):
        took = {size: seconds(lambda size=size: _make_calls(cluster, size), time.perf_counter) for size in sizes}
    return Cost("a call through the scheduler", "s", "call", took)


def _make_calls(cluster: Cluster, number: int) -> None:
    for _ in cluster.map(_done, None, range(number), ["a call"] * number):
        pass


def _done(_shared: Any, item: int) -> Done:
    """Return what a call returns, as far as it is long: the sha256 of its images."""
    sha256 = tuple(f"{item:032x}{row:032x}" for row in range(PARTITION_ROWS))
    return Done(sha256, {}, {"index": PARTITION_ROWS}, {}, Meter(), "here")


# Work


def decoding(pictures: int) -> Cost:
    """Return what one core needs to hash, decode and prepare a photograph for the paper's five and the index."""
    content = photograph()
    networks = (NetworkInput.of(find_preprocessing(find_backbone(name, {}))) for name in PAPER)
    ways: list[Preparation] = [*dict.fromkeys(networks), Squares()]
    decode_and_prepare(content, DecodeBudget(), ways)

    def prepare() -> None:
        for _ in range(pictures):
            hashlib.sha256(content).hexdigest()
            decode_and_prepare(content, DecodeBudget(), ways)

    return Cost("hashing, decoding and preparing, one core", "s", "image", {pictures: seconds(prepare)})


def photograph() -> bytes:
    """Return a made-up JPEG of 500 x 375 pixels with about as many bytes as a photograph of ImageNet, 110 kB."""
    rng = np.random.default_rng(_SEED)
    coarse = Image.fromarray(rng.integers(0, 256, (94, 125, 3), dtype=np.uint8)).resize((500, 375))
    pixels = np.asarray(coarse, np.int16) + rng.normal(0, 9, (375, 500, 3)).astype(np.int16)
    file = BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def training(rows: Sequence[int], features: int) -> Cost:
    """Return the memory of fitting one expert, the features themselves left out."""

    def peak(number: int) -> float:
        rng = np.random.default_rng(_SEED)
        labels = np.arange(number) % 2
        matrix = (rng.standard_normal((number, features)) + labels[:, None]).astype(np.float16)
        return kept_and_peak(lambda: fit_expert(matrix, labels, 2, seed=_SEED, alphas=(10.0,)))[1] / features

    return Cost("fitting an expert", "bytes", "image and feature", {number: peak(number) for number in rows})


def all_costs(sizes: Sequence[int]) -> Iterator[tuple[str, Iterator[Cost]]]:
    """Yield all costs under their headings, at so many images each."""
    partitions = [max(2, rows // PARTITION_ROWS) for rows in sizes]
    yield "on disk", on_disk(PARTITION_ROWS, 3 * PARTITION_ROWS)
    yield "of a manifest", manifests(partitions)
    yield "in the memory of a run", in_memory(sizes)
    yield "of other machines", iter([*sent(sizes), calls([20, 100])])
    yield "of work", iter([taking_over(partitions), decoding(20), training([1000, 2000], 256)])
