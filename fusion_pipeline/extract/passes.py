"""Images and the stores to end with, into these stores published: one pass, another over what others left undone."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any, NamedTuple

from fusion_pipeline import __version__
from fusion_pipeline.errors import StaleError, UnusableDataError, printable
from fusion_pipeline.extract.backbone_target import BackboneTarget
from fusion_pipeline.extract.engines.choice import describe_device, find_device
from fusion_pipeline.extract.loading.decoders import make_decoder
from fusion_pipeline.extract.loading.loader import LOADED_AT_ONCE, ImageLoader, Job
from fusion_pipeline.extract.meter import Meter
from fusion_pipeline.extract.options import Options
from fusion_pipeline.extract.rows import PartitionRows, compute_partition
from fusion_pipeline.extract.source import find_index_of
from fusion_pipeline.extract.targets import Target
from fusion_pipeline.extract.writer import Writer
from fusion_pipeline.images.decode import Reason
from fusion_pipeline.images.listing import ImageListing
from fusion_pipeline.store import Cache, Store
from fusion_pipeline.store.making.known import readable_stores

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], object]]]
"""Given a description and a number of images, a context that yields a function to call with images done."""

_BAD_SHOWN = 20
_VERSIONS = ("torch", "torchvision", "timm", "Pillow", "numpy", "zarr")


class Crew(NamedTuple):
    """Who computes: how many machines, what decodes and what reads on all of them together, and their device."""

    machines: int
    decoders: int
    readers: int
    device: str


@dataclass(frozen=True)
class StoreResult:
    """What an extraction did for one store.

    Parameters
    ----------
    store : Store
        The published store.
    computed : int
        Rows that this run computed.
    reused : int
        Rows that were there before, in this store or in another one, or that somebody else computed meanwhile.
    overtaken : bool
        Whether another run published the store first.
    """

    store: Store
    computed: int
    reused: int
    overtaken: bool = False

    @property
    def bad(self) -> dict[str, Reason]:
        """The store's samples without an image, and why."""
        names = self.store.sample_ids
        return {names[row]: Reason(int(code)) for row, code in enumerate(self.store.status) if code}


class Passes:
    """The passes over the images of one run, and the publication of what they gave.

    Parameters
    ----------
    folder : ImageListing
        The images.
    targets : sequence of Target
        The stores to end with.
    cache : Cache
    options : Options
    progress : callable
        Shows how far the run is.
    tell : callable
        Takes a line for people about what happens.
    """

    def __init__(
        self,
        folder: ImageListing,
        targets: Sequence[Target],
        cache: Cache,
        options: Options,
        progress: Progress,
        tell: Callable[[str], object],
    ) -> None:
        self.options = options
        self.meter = Meter()
        self._folder = folder
        self._cache = cache
        self._progress = progress
        self._tell = tell
        self._targets = list(targets)
        self._sha256: list[str] = []
        self._writer = Writer()
        self._device = find_device(options.device)
        self._readers = options.threads

    _computes_a_few = False

    @property
    def crew(self) -> Crew:
        """Who computes."""
        return Crew(1, self.options.threads, self._readers, self._device)

    def publish_all(self) -> list[StoreResult]:
        """Read all images once, compute what no store has, and publish it; the index comes first."""
        self._find_published()
        self._begin([target for target in self._targets if target.published is None])
        bad = self._first_pass()
        digest = self._folder.digest(self._sha256)
        if not bad:
            self._complete([target for target in self._targets if target.is_open])
        missing = [target for target in self._targets if not self._find(target, digest)]
        if self.options.on_bad == "stop":
            self._refuse({**self._known_bad(), **bad})
        late = [target for target in missing if not target.is_open]
        self._begin(late)
        self._complete(late)
        if self.options.on_bad == "stop":
            self._refuse(self._known_bad())
        return [self._publish(target, digest) for target in self._targets]

    def close(self) -> None:
        """Leave unfinished attempts to a later run."""
        self._writer.close()
        for target in self._targets:
            target.close()

    def _find_published(self) -> None:
        """Expect the images to be those of a published index with the same files, and its stores to be good."""
        expected = find_index_of(self._cache, self._folder)
        if expected is not None:
            for target in self._targets:
                self._find(target, expected.manifest.dataset)

    def _find(self, target: Target, digest: str) -> bool:
        return target.find(self._cache, self._folder.name, digest, mend=self.options.mend)

    def _begin(self, targets: Sequence[Target]) -> None:
        for target in targets:
            target.prepare(self._folder, self.options.partition_rows)
        for target in targets:
            target.begin(
                self._cache,
                self._folder,
                anew=self.options.anew or self.options.mend,
                compare_when_asked=self._computes_a_few,
            )
            for other in target.others():
                self._tell(f"{printable(target.name)}: sharing the work with {other}.")
        # Only now: where an attempt is a new one because somebody has just published the store, the rows are there.
        published = readable_stores(self._cache) if targets else []
        for target in targets:
            target.learn(self._cache, published)

    def _partitions(self) -> Iterator[tuple[int, slice]]:
        rows = self.options.partition_rows
        for number, start in enumerate(range(0, len(self._folder), rows)):
            yield number, slice(start, min(start + rows, len(self._folder)))

    def _first_pass(self) -> dict[int, Reason]:
        """Hash every image, and compute the partitions that nobody has or is at; return the bad rows that stop."""
        bad: dict[int, Reason] = {}
        waiting = [target for target in self._targets if target.is_open]
        pending: dict[int, list[Target]] = {}
        unchecked: list[int] = []

        def jobs() -> Iterator[Job]:
            for number, rows in self._partitions():
                missing = [target for target in waiting if target.is_open and not target.has(number)]
                pending[number] = [] if bad else [target for target in missing if target.claim(number)]
                # Once an image is bad nothing more is computed, but whoever mends it wants to know of all others.
                check = bool(missing if bad else pending[number])
                if missing and not check:
                    unchecked.append(number)
                yield self._job(number, rows, pending[number], check=check)

        names = ", ".join(target.name for target in waiting if isinstance(target, BackboneTarget)) or "checking"
        with self._loader(names, len(self._folder)) as loader:
            for job, rows, result in self._results(loader, jobs(), useless=lambda: bool(bad)):
                self._sha256 += result.sha256
                if self.options.on_bad == "stop":
                    bad.update(result.bad)
                if not bad:
                    self._write(job, rows, pending[job.number], result)
        if bad:
            bad.update(self._bad_in(unchecked))
        return bad

    def _bad_in(self, partitions: Sequence[int]) -> dict[int, Reason]:
        """Return the bad rows of partitions that somebody else is at, to name all there are."""
        if not partitions:
            return {}
        bad: dict[int, Reason] = {}
        with self._loader("checking", sum(len(self._samples(number)) for number in partitions)) as loader:
            jobs = (self._job(number, self._rows(number), [], check=True) for number in partitions)
            for _, _, result in self._results(loader, jobs):
                bad.update(result.bad)
        return bad

    def _complete(self, targets: Sequence[Target]) -> None:
        """Compute what is still missing for the images as they were hashed: others may be at it, or may have died."""
        if not targets:
            return
        missing = {
            number: [target for target in targets if not target.matches(number, self._sha256[rows])]
            for number, rows in self._partitions()
        }
        if not any(missing.values()):
            return
        names = ", ".join(target.name for target in targets)
        with self._loader(names, sum(len(self._samples(number)) for number in missing if missing[number])) as loader:
            self._recompute(loader, missing, lambda target, number: target.claim(number))
            for number, waiting in missing.items():
                # One by one: who waits must not hold what others wait for.
                self._recompute(loader, {number: waiting}, lambda target, at: not target.wait(at, self._samples(at)))

    def _recompute(
        self, loader: ImageLoader, missing: dict[int, list[Target]], is_ours: Callable[[Target, int], bool]
    ) -> None:
        """Compute the missing partitions that are ours, and take them off the list."""
        mine: dict[int, list[Target]] = {}

        def jobs() -> Iterator[Job]:
            for number, waiting in missing.items():
                mine[number] = [target for target in waiting if target.is_open and is_ours(target, number)]
                missing[number] = [target for target in waiting if target not in mine[number]]
                if mine[number]:
                    yield self._job(number, self._rows(number), mine[number], check=True)

        for job, rows, result in self._results(loader, jobs()):
            self._check_unchanged(rows, result)
            self._refuse(result.bad if self.options.on_bad == "stop" else {})
            self._write(job, rows, mine[job.number], result)

    def _job(self, number: int, rows: slice, targets: Sequence[Target], *, check: bool) -> Job:
        started = time.perf_counter()
        tasks = [target.task for target in targets]  # builds their networks, the first time
        self.meter.duration -= time.perf_counter() - started
        places = [self._folder.place(row) for row in range(rows.start, rows.stop)]
        return Job(number, places, tasks, check and self.options.on_bad == "stop")

    def _results(
        self, loader: ImageLoader, jobs: Iterator[Job], useless: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[Job, slice, PartitionRows]]:
        for job, batches in loader.partitions(jobs):
            rows = self._rows(job.number)
            stop = self.options.on_bad == "stop"
            yield (
                job,
                rows,
                compute_partition(self.meter, job, batches, rows.start, stop_on_bad=stop, hash_only=useless()),
            )

    def _rows(self, number: int) -> slice:
        start = number * self.options.partition_rows
        return slice(start, min(start + self.options.partition_rows, len(self._folder)))

    def _samples(self, number: int) -> list[str]:
        return self._sha256[self._rows(number)]

    def _known_bad(self) -> dict[int, Reason]:
        """Return the bad rows of the stores that were found, and of the partitions that were."""
        bad = {row: why for target in self._targets for row, why in target.published_bad_rows().items()}
        for target in self._targets:
            if target.is_open:
                for number, _ in self._partitions():
                    bad.update(target.bad_rows(number, self._samples(number)))
        return bad

    def _write(self, job: Job, rows: slice, targets: Sequence[Target], result: PartitionRows) -> None:
        """Begin to write a partition, once the one before it is written."""
        for target, arrays in zip(targets, result.arrays, strict=True):
            target.keep(job.number, arrays, result)
        self._writer.begin(lambda: self._write_now(job.number, rows, targets, result))

    def _write_now(self, number: int, rows: slice, targets: Sequence[Target], result: PartitionRows) -> None:
        started = time.perf_counter()
        for target, arrays, reused in zip(targets, result.arrays, result.reused, strict=True):
            target.write(number, arrays, result, reused, self._made)
        self.meter.book("write", started, rows.stop - rows.start)

    def _check_unchanged(self, rows: slice, result: PartitionRows) -> None:
        for row, before, now in zip(range(rows.start, rows.stop), self._sha256[rows], result.sha256, strict=True):
            if before != now:
                raise StaleError(
                    f"Image '{printable(self._folder.paths[row])}' changed while it was read. "
                    "Run the same command again once nobody writes to the folder."
                )

    def _refuse(self, bad: Mapping[int, Reason]) -> None:
        if not bad:
            return
        lines = [f"  {printable(self._folder.paths[row])}: {reason.text}" for row, reason in sorted(bad.items())]
        more = [f"  and {len(lines) - _BAD_SHOWN} more"] if len(lines) > _BAD_SHOWN else []
        larger = " allow more with --max-megapixels," if Reason.TOO_MANY_PIXELS in bad.values() else ""
        raise UnusableDataError(
            f"{len(lines)} of {len(self._folder):,} images cannot be used. Mend or remove them,{larger} or run again "
            "with --on-bad skip to keep their rows as NaN:\n" + "\n".join([*lines[:_BAD_SHOWN], *more])
        )

    def _publish(self, target: Target, digest: str) -> StoreResult:
        if target.published is None:
            target.publish(self._cache, digest, self._sha256, self._made)
            overtaken = not target.won
        else:
            overtaken = target.computed > 0
            target.discard()
        if target.published is None:
            raise RuntimeError(f"store '{target.name}' was not published")
        return StoreResult(target.published, target.computed, len(self._folder) - target.computed, overtaken)

    @cached_property
    def _made(self) -> dict[str, Any]:
        versions = {name: version(name) for name in _VERSIONS}
        versions |= {"fusion-pipeline": __version__, "python": platform.python_version()}
        return {
            "versions": versions,
            **describe_device(self._device),
        }

    @contextmanager
    def _loader(self, description: str, images: int) -> Iterator[ImageLoader]:
        """Yield what loads images; what is still being written when it is left was written."""
        options = self.options
        with self._progress(description, images) as done:
            loader = ImageLoader(
                workers=options.threads,
                batch_size=options.batch_size or LOADED_AT_ONCE,
                budget=options.budget,
                decoder=make_decoder(
                    options, self._device, [target.preparation for target in self._targets if target.is_open]
                ),
                progress=done,
                meter=self.meter,
                by_turns=self._device == "cpu",
            )
            self._readers = max(self._readers, loader.threads)
            with loader:
                started = time.perf_counter()
                yield loader
                self._writer.wait()
                self.meter.duration += time.perf_counter() - started


def silent(_description: str, _images: int) -> AbstractContextManager[Callable[[int], object]]:
    """Show nothing: the `Progress` of who does not ask for one."""
    return nullcontext(lambda _images_done: None)
