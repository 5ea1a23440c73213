"""From ten thousand images to a thousand million: what it takes, and what breaks first.

::

    python benchmarks/scale.py measure     # what each further image or partition costs, with real objects
    python benchmarks/scale.py plan        # a table from these costs and the assumptions, which are options
    python benchmarks/scale.py simulate    # clusters whose workers die and share a storage, event by event

``measure`` makes the project's own objects at several sizes and prints the slope beside what was measured. Memory is
what Python allocates, traced; seconds are the least of three. ``plan`` and ``simulate`` measure first. Prices are
round numbers and nobody's offer.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # also where it is not run as a script

from printing import machine, make_parser
from scale_cluster import ClusterPlan, cluster_table
from scale_costs import PAPER_FEATURES, Cost, all_costs

from fusion_pipeline.store.layout import PARTITION_ROWS

SIZES = tuple(10**power for power in range(4, 10))
STORES = 1 + len(PAPER_FEATURES)
"""Of a run with the paper's backbones: the index and five."""

PUT_LIMIT = 5e9
"""Bytes of the largest object that S3 takes in one request."""

GIB, HOUR, DAY, MONTH = 2**30, 3600.0, 86400.0, 30 * 86400.0


@dataclass(frozen=True)
class Assumptions:
    """What cannot be measured here; each is an option of the same name.

    Parameters
    ----------
    images_per_second : float
        Of one GPU, the paper's five backbones in one pass. The forward passes of timm's tables for one RTX 4090
        (Xception 3,196, Inception 6,934, ResNet-50 8,237, VGG16 3,840 images/s; VGG19 taken as 15.5/19.6 of VGG16, by
        their multiplications), one after the other.
    cpu_images_per_second : float
        Of a laptop's CPU, the same.
    cores : float
        Cores that decode beside each GPU.
    core_images_per_second : float
        Of one core, hashing, decoding and preparing for all five: what ``measure`` prints as seconds an image.
    workers : float
        GPUs of the cluster.
    bandwidth : float
        Bytes per second of the shared storage.
    photo_bytes : float
        Mean length of an image file: about that of ImageNet.
    call_seconds : float
        Seconds of a call that go by with leases, records and syncing: they depend on the storage.
    memory_gib, training_gib : float
        Of the machine that submits, and of the one that trains.
    gpu_hour, gb_month, put_per_million : float
        Prices, in any currency.
    """

    images_per_second: float = 856.0
    cpu_images_per_second: float = 4.0
    cores: float = 8.0
    core_images_per_second: float = 67.0
    workers: float = 64.0
    bandwidth: float = 1.25e9
    photo_bytes: float = 110_000.0
    call_seconds: float = 0.5
    memory_gib: float = 16.0
    training_gib: float = 64.0
    gpu_hour: float = 1.0
    gb_month: float = 0.02
    put_per_million: float = 5.0


@dataclass(frozen=True)
class Plan:
    """What images cost, by slopes and assumptions.

    Parameters
    ----------
    costs : mapping of str to Cost
        By title.
    assumed : Assumptions
    partition_rows : int
    """

    costs: Mapping[str, Cost]
    assumed: Assumptions
    partition_rows: int = PARTITION_ROWS

    @property
    def index_bytes(self) -> float:
        """Of an image, in the index."""
        return sum(cost.slope for title, cost in self.costs.items() if title.startswith("index: "))

    @property
    def backbone_bytes(self) -> float:
        """Of an image, in the stores of all five backbones."""
        arrays = (title for n in PAPER_FEATURES for title in self.costs if title.startswith(f"{n} features: "))
        return sum(self.costs[title].slope for title in arrays)

    @property
    def moved_bytes(self) -> float:
        """Of an image, through the storage: read once, and its rows written."""
        return self.assumed.photo_bytes + self.index_bytes + self.backbone_bytes

    @property
    def gpu_rate(self) -> float:
        """Images per second of one GPU with its cores: the lower of computing and decoding."""
        return min(self.assumed.images_per_second, self.assumed.cores * self.assumed.core_images_per_second)

    @property
    def cluster_rate(self) -> float:
        """Images per second of all workers: no more than the storage moves, and the submitting process takes in."""
        return min(self.assumed.workers * self.gpu_rate, self.storage_rate, self.calls_rate)

    @property
    def storage_rate(self) -> float:
        """Images per second that the storage moves."""
        return self.assumed.bandwidth / self.moved_bytes

    @property
    def calls_rate(self) -> float:
        """Images per second whose calls the scheduler and the submitting process get through."""
        return self.partition_rows / self._slope("a call through the scheduler")

    @property
    def files(self) -> float:
        """Of a partition, in all stores."""
        return STORES * self._slope("files of a backbone")

    @property
    def puts(self) -> float:
        """Requests of a partition: each file written and copied to its place, a record and a lease for each store."""
        return 2 * self.files + 2 * STORES

    @property
    def run_memory(self) -> float:
        """Bytes of an image in the process that runs or submits: listing, hashes, and the records of all stores."""
        known = self._slope("records and known rows of one store")
        return self._slope("listing") + self._slope("sha256 of a run") + STORES * known

    @property
    def training_memory(self) -> float:
        """Bytes of an image while the expert of the widest backbone is fitted."""
        return max(PAPER_FEATURES) * (2 + self._slope("fitting an expert"))

    def partitions(self, images: float) -> float:
        """Return the number of partitions."""
        return math.ceil(images / self.partition_rows)

    def of_partitions(self, title: str, images: float) -> float:
        """Return a cost that grows with partitions."""
        return self._slope(title) * self.partitions(images)

    def limits(self) -> dict[str, float]:
        """Return from how many images on each thing breaks, the first one first."""
        rows = self.partition_rows
        found = {
            f"training: {self.assumed.training_gib:.0f} GiB of memory for one backbone": self.assumed.training_gib
            * GIB
            / self.training_memory,
            f"submitting: {self.assumed.memory_gib:.0f} GiB of memory": self.assumed.memory_gib * GIB / self.run_memory,
            "workers: 4 GiB of memory for the listing": 4 * GIB / self._slope("kept by each worker"),
            "manifest: 10 s to open a store": 10 * rows / self._slope("opening (or listing) a store"),
            "manifest: 5 GB in one request": PUT_LIMIT * rows / self._slope("manifest of a backbone"),
            "resuming: an hour to compare what is finished": HOUR
            * self.assumed.bandwidth
            / (self.index_bytes + self.backbone_bytes),
            "laptop: a month of computing": MONTH * self.assumed.cpu_images_per_second,
            "one GPU: a month of computing": MONTH * self.gpu_rate,
            f"{self.assumed.workers:.0f} GPUs: a month of computing": MONTH * self.cluster_rate,
        }
        return dict(sorted(found.items(), key=lambda item: item[1]))

    def _slope(self, title: str) -> float:
        return next(cost.slope for known, cost in self.costs.items() if known.startswith(title))


def plan_table(plan: Plan) -> Iterator[str]:
    """Yield the table: a line for each quantity, a column for each number of images."""
    assumed = plan.assumed
    lines: dict[str, Callable[[float], str]] = {
        "photographs": lambda n: size(n * assumed.photo_bytes),
        "index": lambda n: size(n * plan.index_bytes),
        "five backbones": lambda n: size(n * plan.backbone_bytes),
        "partitions": lambda n: number(plan.partitions(n)),
        "files": lambda n: number(plan.files * plan.partitions(n)),
        "one manifest": lambda n: size(plan.of_partitions("manifest of a backbone", n)),
        "opening one store": lambda n: duration(plan.of_partitions("opening (or listing) a store", n)),
        "memory to open it": lambda n: size(plan.of_partitions("memory while it is opened", n)),
        "laptop's CPU": lambda n: duration(n / assumed.cpu_images_per_second),
        "one GPU": lambda n: duration(n / plan.gpu_rate),
        f"{assumed.workers:.0f} GPUs": lambda n: duration(n / plan.cluster_rate),
        "cost of one GPU": lambda n: f"{n / plan.gpu_rate / HOUR * assumed.gpu_hour:,.2f}",
        "cost of a month": lambda n: f"{n * (plan.index_bytes + plan.backbone_bytes) / 1e9 * assumed.gb_month:,.2f}",
        "cost of requests": lambda n: f"{plan.puts * plan.partitions(n) / 1e6 * assumed.put_per_million:,.2f}",
        "memory of the run": lambda n: size(n * plan.run_memory),
        "sent to each worker": lambda n: size(n * plan._slope("sent to each worker")),
        "memory to train": lambda n: size(n * plan.training_memory),
    }
    yield " | ".join([f"{'images':<20}", *(f"{images:>13,}" for images in SIZES)])
    yield "-|-".join(["-" * 20, *("-" * 13 for _ in SIZES)])
    for title, value in lines.items():
        yield " | ".join([f"{title:<20}", *(f"{value(images):>13}" for images in SIZES)])


def breaking(plan: Plan) -> Iterator[str]:
    """Yield what breaks, the first first, and what limits a cluster whatever the number of images."""
    for title, images in plan.limits().items():
        yield f"{images:>16,.0f} images  {title}"
    rate = plan.gpu_rate
    yield f"{plan.storage_rate / rate:>16,.1f} GPUs    storage: {size(plan.assumed.bandwidth)}/s for all of them"
    forward, cores = plan.assumed.images_per_second, plan.assumed.core_images_per_second
    yield f"{forward / cores:>16,.1f} cores   decoding: beside each GPU, lest it waits for them"
    yield f"{plan.calls_rate / rate:>16,.1f} GPUs    submitting: calls of {plan.partition_rows:,} images each"


def clusters(plan: Plan, bandwidths: Sequence[float]) -> Iterator[tuple[str, Iterator[str]]]:
    """Yield the tables of simulated clusters: partition sizes, numbers of workers, and widths of the storage."""
    finished = plan.index_bytes + plan.backbone_bytes
    usual = ClusterPlan(
        images=10**6,
        partition_rows=plan.partition_rows,
        workers=64,
        rate=plan.gpu_rate,
        bytes_per_image=plan.moved_bytes,
        overhead=plan._slope("a call through the scheduler") + plan.assumed.call_seconds,
        between_failures=DAY,
    )
    for bandwidth in bandwidths:
        some = [
            replace(usual, workers=workers, partition_rows=rows, bandwidth=bandwidth)
            for workers in (8, 64)
            for rows in (128, 512, 2048, 8192)
        ]
        yield f"a million images, storage of {size(bandwidth)}/s", cluster_table(some)
    many = replace(usual, images=10**8, bandwidth=bandwidths[-1], read_rate=1e9)
    cases = {
        "workers that die once a day": many,
        "the same, if who comes back compared what is finished, 1 GB/s": replace(many, checked_bytes=finished),
        "workers that die once an hour": replace(many, between_failures=HOUR),
        "the same, if who comes back compared": replace(many, between_failures=HOUR, checked_bytes=finished),
    }
    for title, case in cases.items():
        heading = f"a hundred million images, storage of {size(case.bandwidth)}/s, {title}"
        yield heading, cluster_table(replace(case, partition_rows=rows) for rows in (512, 2048, 8192, 32768))


def size(n_bytes: float) -> str:
    """Return a number of bytes for people.

    Examples
    --------
    >>> size(0), size(1500), size(2.5e12)
    ('0 B', '1.5 kB', '2.5 TB')
    """
    power = min(5, int(math.log(n_bytes, 1000))) if n_bytes >= 1000 else 0
    return f"{n_bytes / 1000**power:.3g} {['B', 'kB', 'MB', 'GB', 'TB', 'PB'][power]}"


def duration(seconds: float) -> str:
    """Return a time for people.

    Examples
    --------
    >>> duration(0.25), duration(90), duration(7200), duration(86400 * 30)
    ('0.25 s', '90 s', '2 h', '30 d')
    """
    for unit, length in (("d", 2 * DAY), ("h", 2 * HOUR), ("min", 120.0)):
        if seconds >= length or (unit == "h" and seconds == 2 * HOUR):
            return f"{seconds / {'d': DAY, 'h': HOUR, 'min': 60.0}[unit]:,.3g} {unit}"
    return f"{seconds:.3g} s"


def number(value: float) -> str:
    """Return a count for people."""
    return f"{value:,.0f}"


def measured(sizes: Sequence[int], show: Callable[[str], object]) -> dict[str, Cost]:
    """Measure all costs, show them, and return them by title."""
    found: dict[str, Cost] = {}
    for heading, costs in all_costs(sizes):
        show(f"\n{heading}")
        for cost in costs:
            show(f"  {cost.line()}")
            found[cost.title] = cost
    return found


def main() -> None:
    """Print the parts that are asked for."""
    parser = make_parser(__doc__)
    parser.add_argument("parts", choices=["measure", "plan", "simulate"], nargs="+", metavar="measure|plan|simulate")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[10_000, 30_000, 100_000], help="images to measure with"
    )
    parser.add_argument("--partition-rows", type=int, default=PARTITION_ROWS)
    for field in fields(Assumptions):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=float, default=field.default)
    options = parser.parse_args()
    assumed = Assumptions(**{field.name: getattr(options, field.name) for field in fields(Assumptions)})
    print(machine(), flush=True)
    costs = measured(options.sizes, show if "measure" in options.parts else lambda _line: None)
    plan = Plan(costs, assumed, options.partition_rows)
    if options.parts != ["measure"]:
        print(", ".join(f"{field.name} {getattr(assumed, field.name):g}" for field in fields(assumed)))
        print(f"one GPU with its cores: {plan.gpu_rate:,.0f} images/s; {size(plan.moved_bytes)} moved for each image")
    if "plan" in options.parts:
        print("", *plan_table(plan), "\nwhat breaks first", *breaking(plan), sep="\n")
    if "simulate" in options.parts:
        for heading, lines in clusters(plan, [assumed.bandwidth, 10 * assumed.bandwidth]):
            print(f"\n{heading}", *lines, sep="\n", flush=True)


def show(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


if __name__ == "__main__":
    main()
