"""Images and the stores to end with, into these stores published: one pass, another over what others left undone."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

from fusion_pipeline import __version__
from fusion_pipeline.errors import FusionError, StaleError, UnusableDataError, printable
from fusion_pipeline.extract.engine import describe_device, find_device
from fusion_pipeline.extract.options import Options
from fusion_pipeline.extract.partition import ImageLoader, Meter, PartitionRows, compute_partition
from fusion_pipeline.extract.targets import BackboneTarget, Target
from fusion_pipeline.images.decode import Reason
from fusion_pipeline.images.index import ImageFolder
from fusion_pipeline.store import Cache, Store
from fusion_pipeline.store.making.known import readable_stores

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], object]]]
"""Given a description and a number of images, a context that yields a function to call with images done."""

_BAD_SHOWN = 20
_VERSIONS = ("torch", "torchvision", "timm", "Pillow", "numpy", "zarr")


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
    folder : ImageFolder
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
        folder: ImageFolder,
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
        self._paths = [folder.absolute(row) for row in range(len(folder))]
        self._sha256: list[str] = []

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
        for target in self._targets:
            target.close()

    def _find_published(self) -> None:
        """Expect the images to be those of a published index with the same files, and its stores to be good."""
        expected = self._expected_index()
        if expected is not None:
            for target in self._targets:
                self._find(target, expected.manifest.dataset)

    def _find(self, target: Target, digest: str) -> bool:
        return target.find(self._cache, self._folder.name, digest, mend=self.options.mend)

    def _expected_index(self) -> Store | None:
        if self._folder.name not in self._cache:
            return None
        for _, index in self._cache[self._folder.name].survey():
            with suppress(FusionError):  # a damaged one is no use here; verifying names it
                if isinstance(index, Store) and not index.is_backbone and self._lists_the_same(index):
                    return index
        return None

    def _lists_the_same(self, index: Store) -> bool:
        same = (index.sample_paths, index.class_names) == (self._folder.paths, self._folder.class_names)
        return same and index.labels.tolist() == list(self._folder.labels)

    def _begin(self, targets: Sequence[Target]) -> None:
        for target in targets:
            target.prepare(self._folder, self.options.partition_rows)
        for target in targets:
            target.begin(self._cache, self._folder, anew=self.options.anew or self.options.mend)
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
        names = ", ".join(target.name for target in waiting if isinstance(target, BackboneTarget)) or "checking"
        with self._loader(names) as loader:
            for number, rows in self._partitions():
                missing = [target for target in waiting if target.is_open and not target.has(number)]
                pending = [] if bad else [target for target in missing if target.claim(number)]
                # Once an image is bad nothing more is computed, but whoever mends it wants to know of all others.
                result = self._compute(loader, rows, pending, check=bool(missing if bad else pending))
                self._sha256 += result.sha256
                if self.options.on_bad == "stop":
                    bad.update(result.bad)
                if not bad:
                    self._write(number, rows, pending, result)
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
        with self._loader(", ".join(target.name for target in targets)) as loader:
            left: dict[int, list[Target]] = {}
            for number, waiting in missing.items():
                mine = [target for target in waiting if target.is_open and target.claim(number)]
                self._recompute(loader, number, mine)
                left[number] = [target for target in waiting if target not in mine]
            for number, waiting in left.items():
                samples = self._samples(number)
                mine = [target for target in waiting if target.is_open and not target.wait(number, samples)]
                self._recompute(loader, number, mine)

    def _recompute(self, loader: ImageLoader, number: int, targets: Sequence[Target]) -> None:
        if targets:
            rows = self._rows(number)
            result = self._compute(loader, rows, targets, check=True)
            self._check_unchanged(rows, result)
            self._refuse(result.bad if self.options.on_bad == "stop" else {})
            self._write(number, rows, targets, result)

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

    def _compute(self, loader: ImageLoader, rows: slice, targets: Sequence[Target], *, check: bool) -> PartitionRows:
        return compute_partition(
            loader,
            self._paths[rows],
            rows.start,
            [target.task for target in targets],
            stop_on_bad=check and self.options.on_bad == "stop",
        )

    def _write(self, number: int, rows: slice, targets: Sequence[Target], result: PartitionRows) -> None:
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
            "batch_size": self.options.batch_size,
            **describe_device(find_device(self.options.device)),
        }

    @contextmanager
    def _loader(self, description: str) -> Iterator[ImageLoader]:
        with self._progress(description, len(self._folder)) as done:
            loader = ImageLoader(
                workers=self.options.threads,
                batch_size=self.options.batch_size,
                budget=self.options.budget,
                progress=done,
                meter=self.meter,
            )
            with loader:
                yield loader


def silent(_description: str, _images: int) -> AbstractContextManager[Callable[[int], object]]:
    """Show nothing: the `Progress` of who does not ask for one."""
    return nullcontext(lambda _images_done: None)
