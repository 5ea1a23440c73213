"""Compare stage one with a plain loop over the same photographs, and with the ceilings of the machine.

Run it on an idle machine, with the images of a folder of class folders or with made-up ones::

    python benchmarks/extract.py --images flowers17
    python benchmarks/extract.py --images flowers17 --device cuda --precision float16 --number 1360
    python benchmarks/extract.py --part memory

The plain loop is what most would write: timm's eager model and transform in a ``DataLoader`` with as many workers as
there are processors, in batches of 32, which also hashes every file and makes both thumbnails, as an extraction does.
Weights are random: they take as long as others. Both sides are run in turn; compile time, with nothing compiled before,
is printed beside the speed, and counted in the line of 5,000 images. The parts: ``speed`` against the plain loop;
``batches``, forward passes by batch size; ``pass``, one pass over several backbones against their forward passes;
``memory``, the peak with few images and with many; ``ceilings``, an extraction against what decoding and computing do
alone (on a processor they share it, and neither is reached).
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from extract_work import Work, first, make_images, path_of, plain_loop
from PIL import Image
from printing import machine, make_parser, print_parts, reached, verdict, versions

from fusion_pipeline.extract.engines.choice import choose_engine
from fusion_pipeline.extract.loading.decoders import make_decoder
from fusion_pipeline.extract.loading.loader import ImageLoader, Job, Task
from fusion_pipeline.extract.loading.preparation import NetworkInput, Preparation, Prepared
from fusion_pipeline.extract.meter import Meter
from fusion_pipeline.extract.networks.backbones import PAPER, Backbone, Preprocessing
from fusion_pipeline.extract.networks.network import Network, build_network, find_preprocessing
from fusion_pipeline.extract.options import Options
from fusion_pipeline.extract.plan import Plan
from fusion_pipeline.extract.run import Extraction
from fusion_pipeline.images.index import list_image_folder

LONG_RUN = 5_000
"""Images from which on compile time counts."""

TARGETS = {"xception": 2.2, "resnet50": 2.0}
ONE_PASS, MEMORY, OF_LIMIT = 1.05, 1.10, 0.9
SMALL = "timm:test_resnet"


def speed(work: Work, name: str) -> Iterator[str]:
    """Yield how much faster an extraction is than a plain loop, by engine."""
    rates: dict[str, list[float]] = {engine: [] for engine in ["plain", *work.engines]}
    build: dict[str, float] = {}
    for _ in range(work.repeat):
        rates["plain"].append(plain_loop(work, name))
        for engine in work.engines:
            result = work.extract([name], engine=engine)
            computing = work_seconds(result)
            rates[engine].append(len(work.images) / computing)
            build[engine] = max(build.get(engine, 0.0), result.seconds - computing)
    plain = statistics.median(rates["plain"])
    yield f"{name:<12} plain loop {plain:>7.2f} images/s"
    for engine in work.engines:
        ratio = statistics.median(ours / theirs for ours, theirs in zip(rates[engine], rates["plain"], strict=True))
        rate = statistics.median(rates[engine])
        long = LONG_RUN / plain / (LONG_RUN / rate + build[engine])
        wanted = TARGETS.get(name) if engine == "compiled" else None  # of the CPU
        yield (
            f"{name:<12} {engine:<10} {rate:>7.2f} images/s  {ratio:.2f} times the plain loop; "
            f"with {build[engine]:.0f} s to build it, {long:.2f} times over {LONG_RUN:,} images  "
            f"{at_least(long, wanted)}"
        )
    differ = f"{_difference(work, name):.1e} of the greatest"
    yield f"{name:<12} {work.engines[-1]} outputs differ from the eager ones on the CPU by {differ} ({work.precision})"


def work_seconds(result: Extraction) -> float:
    """Return the seconds of an extraction without those in which its networks were built."""
    return result.verdict.seconds


def one_pass(work: Work, names: Sequence[str]) -> Iterator[str]:
    """Yield how much longer one pass over several backbones takes than their forward passes."""
    for engine in work.engines:
        result = work.extract(names, engine=engine)
        forward = result.verdict.stages["forward"].seconds
        alone = len(work.images) / _forward_rate(work, names, engine)
        ratio = work_seconds(result) / alone
        yield (
            f"{engine}: {len(names)} backbones in one pass over {len(work.images):,} images {work_seconds(result):.1f} "
            f"s, their forward passes alone {alone:.1f} s, ratio {ratio:.3f}; at most {ONE_PASS}: "
            f"{reached(ratio <= ONE_PASS)}"
        )
        yield f"{engine}: in the pass itself they took {forward:.1f} s, ratio {work_seconds(result) / forward:.3f}"
        yield f"{engine}: opened {result.opens:,} files for {len(work.images):,} images"


def batches(work: Work, names: Sequence[str], sizes: Sequence[int]) -> Iterator[str]:
    """Yield how fast the forward passes of each network are, by engine and batch size."""
    for name in names:
        for engine in work.engines:
            rates = {size: _forward_rate(work, [name], engine, size) for size in sizes}
            listed = ", ".join(f"{rate:,.2f} in batches of {size}" for size, rate in rates.items())
            yield f"{name:<12} {engine:<10} images/s: {listed}"


def memory(work: Work, few: int, many: int) -> Iterator[str]:
    """Yield the peak memory with few images and with many, each in a process of its own."""
    peaks = {}
    for number in (few, many):
        command = [sys.executable, __file__, "--part", "peak", "--made", str(number), "--device", work.device]
        command += ["--scratch", str(work.scratch)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks[number] = int(done.stdout.split()[-1])
        yield f"{number:>7,} images: {peaks[number] / 1024:,.0f} MiB at most"
    ratio = peaks[many] / peaks[few]
    yield f"{ratio:.3f} times as much; at most {MEMORY}: {reached(ratio <= MEMORY)}"


def peak(work: Work) -> Iterator[str]:
    """Yield the peak memory of this process after an extraction of a small backbone, in KiB."""
    work.extract([SMALL], engine="eager")
    yield str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def ceilings(work: Work, names: Sequence[str]) -> Iterator[str]:
    """Yield how near an extraction comes to the lower of what decoding and computing do alone."""
    for chosen in (names[:1], names):
        found = work.extract(chosen).verdict
        alone = {"decode": _decode_rate(work, chosen), "forward": _forward_rate(work, chosen)}
        share = len(work.images) / found.seconds / min(alone.values())
        limits = ", ".join(f"{what} {rate:,.1f}" for what, rate in alone.items())
        wanted = OF_LIMIT if work.device != "cpu" else None
        yield (
            f"{_backbones(chosen)}: {len(work.images) / found.seconds:,.1f} images/s; alone: {limits}; "
            f"{share:.2f} of the lower  {at_least(share, wanted)}"
        )
        yield f"{_backbones(chosen)}: {found.text}"


def _decode_rate(work: Work, names: Sequence[str]) -> float:
    """Return images per second of an extraction whose networks have nothing to do."""
    options = Options(device=work.device)
    preparations = [NetworkInput.of(find_preprocessing(work.backbone(name))) for name in names]
    tasks = [Task(_Idle(preparation), {}) for preparation in preparations]
    loader = ImageLoader(
        workers=options.threads,
        batch_size=32,
        budget=options.budget,
        decoder=make_decoder(options, work.device, preparations),
        progress=lambda _images: None,
        meter=Meter(),
    )
    paths = [work.images.place(row) for row in range(len(work.images))]
    with loader:
        for _, batches in loader.partitions([Job(0, paths[:32], tasks)]):  # starts the processes
            list(batches)
        started = time.perf_counter()
        for _, batches in loader.partitions([Job(0, paths, tasks)]):
            for _ in batches:
                pass
        return len(paths) / (time.perf_counter() - started)


def _forward_rate(work: Work, names: Sequence[str], engine_name: str = "auto", batch_size: int = 0) -> float:
    """Return images per second of the networks, one after the other, on images that lie in memory."""
    seconds = 0.0
    for name in names:
        record = work.backbone(name)
        preprocessing = find_preprocessing(record)
        network = _network(record, preprocessing)
        plan = Plan(work.device, engine=engine_name, precision=work.precision, batch_size=batch_size)
        engine = choose_engine(name, network, preprocessing, plan, images=len(work.images))
        size = preprocessing.input_size
        batch = np.random.default_rng(0).integers(0, 256, (engine.batch_size, 3, size, size), dtype=np.uint8)
        engine.forward(batch)
        started, times = time.perf_counter(), 0
        waiting: list[Callable[[], Any]] = []
        while time.perf_counter() - started < 3.0:
            waiting.append(engine.launch(batch))
            times += 1
            if len(waiting) > 1:
                waiting.pop(0)()
        for outputs in waiting:
            outputs()
        seconds += (time.perf_counter() - started) / times / len(batch)
    return 1 / seconds


class _Idle:
    """A producer of nothing."""

    name, batch_size = "nothing", 0

    def __init__(self, preparation: NetworkInput) -> None:
        self.preparation: Preparation = preparation
        self.seconds: dict[str, float] = {}

    def launch(self, _batch: Prepared) -> Callable[[], dict[str, np.ndarray]]:
        return dict


def _difference(work: Work, name: str) -> float:
    record = work.backbone(name)
    preprocessing = find_preprocessing(record)
    prepare = NetworkInput.of(preprocessing)
    images = []
    for row in range(min(8, len(work.images))):
        with Image.open(path_of(work.images.place(row))) as file:
            images.append(prepare(file.convert("RGB"))[0])
    batch = np.stack(images)
    plans = [Plan("cpu", "eager"), Plan(work.device, work.engines[-1], work.precision, len(batch))]
    plain, ours = (
        choose_engine(name, _network(record, preprocessing), preprocessing, plan).forward(batch)[0] for plan in plans
    )
    return float(np.abs(ours - plain).max() / np.abs(plain).max())


def _network(record: Backbone, preprocessing: Preprocessing) -> Network:
    return build_network(record, Path(str(record.weights)), preprocessing.input_size)


def at_least(ratio: float, wanted: float | None) -> str:
    """Return the verdict; nothing where no target is set."""
    return "" if wanted is None else verdict(ratio >= wanted, f"at least {wanted}")


def _backbones(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} backbones"


def main() -> None:
    """Print the comparison."""
    parser = make_parser(__doc__)
    parser.add_argument("--images", type=Path, help="a folder of class folders; made-up pictures without it")
    parser.add_argument("--number", type=int, default=256, help="how many of them")
    parser.add_argument("--made", type=int, default=256, help="how many to make up")
    parser.add_argument("--few", type=int, default=1_000)
    parser.add_argument("--many", type=int, default=10_000)
    parser.add_argument(
        "--part", choices=["all", "speed", "batches", "pass", "memory", "ceilings", "peak"], default="all"
    )
    parser.add_argument("--backbones", nargs="+", default=list(TARGETS))
    parser.add_argument("--together", nargs="+", default=list(PAPER), help="the backbones of one pass")
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--engines", nargs="+", help="those to compare; eager and compiled on a CPU, auto on a GPU")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--scratch", type=Path, default=None)
    options = parser.parse_args()
    if options.part != "peak" and options.device != "cpu" and not torch.cuda.is_available():
        parser.error(f"there is no device {options.device} on this machine")
    with tempfile.TemporaryDirectory(dir=options.scratch) as name:
        folder = options.images or make_images(Path(name) / "made", options.made)
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(name) / "compiled")
        images = first(list_image_folder(folder), options.number if options.images else options.made)
        engines = options.engines or (["eager", "compiled"] if options.device == "cpu" else ["auto"])
        work = Work(images, Path(name), options.device, options.precision, options.repeat, engines)
        if options.part == "peak":
            print(*peak(work))
            return
        print(*describe(work), sep="\n", flush=True)
        parts = {
            "speed": lambda: (line for backbone in options.backbones for line in speed(work, backbone)),
            "batches": lambda: batches(work, options.backbones, options.batch_sizes),
            "pass": lambda: one_pass(work, options.together),
            "memory": lambda: memory(work, options.few, options.many),
            "ceilings": lambda: ceilings(work, options.together),
        }
        print_parts(options.part, parts)


def describe(work: Work) -> Iterator[str]:
    """Yield what a reader needs to know of the numbers."""
    yield machine()
    yield f"{versions('torch', 'timm', 'Pillow')}; {work.device}, {work.precision}; {work.repeat} times, in turn"
    yield f"{len(work.images):,} images of {work.images.name}"


if __name__ == "__main__":
    main()
