"""Compare the store with NumPy, hashlib and JSON on the same bytes: reading, writing, verifying and listing.

Run it on an idle machine, in a folder of the file system in question::

    python benchmarks/store.py --folder /mnt/team

Each line is a ratio of speeds, this project's over the plain way's, of two calls that are timed in turn: the median,
the least and the greatest; then the median of both speeds, and what is to be reached. What is read lies in the page
cache. What is written is synced, file by file and folder by folder, as an extraction does it, which loses no finished
partition; ``np.save`` is followed by one ``fsync`` of its file and one of its folder. What is listed is what ``fusion
cache ls`` shows.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import zarr
from printing import machine, make_parser, reached, versions

from fusion_pipeline.store import Cache, Store
from fusion_pipeline.store.care.verify import verify
from fusion_pipeline.store.layout import FEATURES, PARTITION_ROWS, STATUS, GroupEncoder, backbone_arrays
from fusion_pipeline.store.making.attempt import Attempt
from fusion_pipeline.store.paths import MANIFEST, store_folder
from fusion_pipeline.store.storage.local import LocalBackend

N_FEATURES = 2048
DATASET, VERSION = "benchmark", f"sha256:{'1' * 64}"

LISTED_ROWS = 1360
"""Images in each store that is listed: as many as in Flowers17, which makes manifests of 26 files."""

STORES_PER_DATASET = 50


@dataclass(frozen=True)
class Pair:
    """Two ways to the same end.

    Parameters
    ----------
    title, beside : str
        What is done, and the plain way to do it.
    ours, plain : callable
        Both ways.
    amount : float
        How much of `unit` each of them does.
    unit : str
        Of the amount per second.
    before : callable
        What precedes each of them, and is not timed.
    least : float
        The ratio to be reached.
    limit : float
        The seconds that ours may take.
    """

    title: str
    beside: str
    ours: Callable[[], object]
    plain: Callable[[], object]
    amount: float
    unit: str
    before: Callable[[], object] = lambda: None
    least: float = 0
    limit: float = math.inf

    def line(self, repeat: int) -> str:
        """Time both in turn, once without counting it; return what came out."""
        times = np.array([[self._seconds(self.plain), self._seconds(self.ours)] for _ in range(repeat + 1)])[1:]
        ratios, (plain, ours) = times[:, 0] / times[:, 1], np.median(times, axis=0)
        return (
            f"{self.title:<32} {np.median(ratios):>5.2f} {ratios.min():>5.2f} {ratios.max():>5.2f} "
            f"{self.amount / ours:>9.2f} {self.amount / plain:>9.2f} {self.unit:<8} {self.beside:<26} "
            f"{self._verdict(float(np.median(ratios)), float(ours))}"
        ).rstrip()

    def _seconds(self, run: Callable[[], object]) -> float:
        self.before()
        start = time.perf_counter()
        result = run()
        seconds = time.perf_counter() - start
        del result  # not before: giving memory back takes time too
        return seconds

    def _verdict(self, ratio: float, seconds: float) -> str:
        if math.isfinite(self.limit):
            return f"{seconds:.2f} s, at most {self.limit:.2f}: {reached(seconds <= self.limit)}"
        return f"at least {self.least}: {reached(ratio >= self.least)}" if self.least else ""


def write_store(folder: Path, features: np.ndarray, partition_rows: int) -> Store:
    """Write a matrix as an extraction does, partition by partition, and publish it."""
    cache, rows = Cache(folder), len(features)
    encoder = GroupEncoder(backbone_arrays(features.shape[1], 0, str(features.dtype), head=False), rows, partition_rows)
    attempt = Attempt.open(cache.backend, DATASET, "made", {"kind": "backbone"}, encoder)
    samples = [f"{row:064x}" for row in range(rows)]
    for number in range(encoder.partitions):
        part = slice(number * partition_rows, (number + 1) * partition_rows)
        arrays = {FEATURES: features[part], STATUS: np.zeros(len(features[part]), np.uint8)}
        attempt.write(number, arrays, samples[part], {})
    attempt.publish(kind="backbone", dataset_digest=VERSION, samples=samples, arrays={}, made={})
    (store,) = cache[DATASET].stores()
    return store


def save_durably(path: Path, features: np.ndarray) -> None:
    """Do what ``np.save`` does, then wait until the file and its name are on the disk."""
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        np.save(file, features)
        file.flush()
        os.fsync(file.fileno())
    descriptor = os.open(path.parent, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def reading(folder: Path, features: np.ndarray, partition_rows: int) -> Iterator[Pair]:
    """Yield the pairs that read a whole matrix, with one check or another, and that verify its store."""
    path, amount, memory = folder / "plain" / "features.npy", features.nbytes / 1e9, features.reshape(-1).data
    store = write_store(folder / "read", features, partition_rows)
    save_durably(path, features)
    by_zarr = zarr.open_array(store.location, path=FEATURES, mode="r")
    ways: dict[str, tuple[Callable[[], object], float]] = {
        "CRC-32C checked": (lambda: store.read(FEATURES, "crc32c"), 0.5),
        "sha256 checked": (lambda: store.read(FEATURES, "sha256"), 0),
        "Zarr alone": (lambda: by_zarr[...], 0),
    }
    for way, (read, least) in ways.items():
        yield Pair(f"reading, {way}", "np.load", read, lambda: np.load(path), amount, "GB/s", least=least)
    yield Pair(
        f"verifying, {LocalBackend.concurrency} threads",
        "sha256 in memory, 1 thread",
        ours=lambda: list(verify(store, read=True)),
        plain=lambda: hashlib.sha256(memory).hexdigest(),
        amount=amount,
        unit="GB/s",
        least=0.7,
    )


def save_parts_durably(folder: Path, features: np.ndarray, partition_rows: int) -> None:
    """Save the rows of each partition in a file of its own, durably before the next one is begun."""
    for start in range(0, len(features), partition_rows):
        save_durably(folder / f"{start}" / "features.npy", features[start : start + partition_rows])


def writing(folder: Path, features: np.ndarray, partition_rows: int) -> Iterator[Pair]:
    """Yield the pairs that write a whole matrix durably: beside one file, and beside a file for each partition."""

    def clear() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        os.sync()  # whoever syncs next would wait for what others have left to be written

    ways: dict[str, tuple[Callable[[], None], float]] = {
        "np.save, synced": (lambda: save_durably(folder / "whole" / "features.npy", features), 0.5),
        "the same by partitions": (lambda: save_parts_durably(folder, features, partition_rows), 0),
    }
    for beside, (plain, least) in ways.items():
        yield Pair(
            "writing, synced",
            beside,
            ours=lambda: write_store(folder, features, partition_rows),
            plain=plain,
            amount=features.nbytes / 1e9,
            unit="GB/s",
            before=clear,
            least=least,
        )


def listing(folder: Path, stores: int) -> Pair:
    """Return the pair that lists a cache."""
    make_many(folder, stores)

    def listed() -> list[tuple[str, str, str, int, str]]:
        cache = Cache(folder)
        found = [store for name in cache for _, store in cache[name].survey() if isinstance(store, Store)]
        if len(found) != stores:
            raise RuntimeError(f"{len(found)} of {stores} stores were found")
        return [(s.manifest.key, s.manifest_digest, s.manifest.content, s.n_bytes, s.manifest.created) for s in found]

    return Pair(
        f"listing and opening {stores:,} stores",
        "json.loads of the manifests",
        ours=listed,
        plain=lambda: [json.loads(path.read_bytes()) for path in folder.glob(f"*/*/{MANIFEST}")],
        amount=stores,
        unit="stores/s",
        limit=stores / 1000,
    )


def make_many(folder: Path, stores: int) -> None:
    """Publish one store, and as many manifests like it as are needed; listing opens nothing else."""
    first = write_store(folder, np.zeros((LISTED_ROWS, 8), np.float16), PARTITION_ROWS).manifest
    for number in range(1, stores):
        identity = {**first.identity, "number": number}
        manifest = replace(first, name=f"made{number}", identity=identity)
        dataset = f"{DATASET}-{number // STORES_PER_DATASET}"
        path = folder / store_folder(dataset, manifest.name, manifest.key) / MANIFEST
        path.parent.mkdir(parents=True)
        path.write_bytes(manifest.to_bytes())


def describe(features: np.ndarray, repeat: int) -> Iterator[str]:
    """Yield what a reader needs to know of the numbers."""
    rows, columns = features.shape
    yield machine()
    yield f"{versions('numpy', 'zarr', 'google-crc32c')}; each pair {repeat} times, in turn"
    yield f"{rows:,} x {columns:,} {features.dtype}, {features.nbytes / 1e6:.0f} MB"


def heading(partition_rows: int) -> str:
    """Return what stands above the lines of one length of chunks."""
    chunk = partition_rows * N_FEATURES * np.dtype(np.float16).itemsize / 2**20
    whose = " (the default)" if partition_rows == PARTITION_ROWS else ""
    return f"\n{partition_rows:,} rows a partition{whose}: chunks of {chunk:.2f} MiB"


def main() -> None:
    """Print the comparison."""
    parser = make_parser(__doc__)
    parser.add_argument("--rows", type=int, default=32_768)
    parser.add_argument("--partition-rows", type=int, nargs="+", default=[PARTITION_ROWS, 1024])
    parser.add_argument("--stores", type=int, default=1_000)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--folder", type=Path, default=None, help="where to write; the folder for temporary files")
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    features = rng.standard_normal((options.rows, N_FEATURES), dtype=np.float32).astype(np.float16)
    print("\n".join(describe(features, options.repeat)))
    print(f"\n{'':<32} {'ratio':>5} {'least':>5} {'most':>5} {'store':>9} {'plain':>9}")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        print(listing(Path(name) / "listed", options.stores).line(options.repeat), flush=True)
        for partition_rows in options.partition_rows:
            print(heading(partition_rows))
            folder = Path(name) / f"{partition_rows}"
            for pair in reading(folder, features, partition_rows):
                print(pair.line(options.repeat), flush=True)
            for pair in writing(folder / "write", features, partition_rows):
                print(pair.line(options.repeat), flush=True)


if __name__ == "__main__":
    main()
