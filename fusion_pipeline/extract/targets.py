"""One store that an extraction has to end with: found published, or made partition by partition."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fusion_pipeline.errors import IncompleteError, IntegrityError, printable
from fusion_pipeline.extract import producers
from fusion_pipeline.extract.loading.loader import Task
from fusion_pipeline.extract.loading.preparation import Preparation
from fusion_pipeline.extract.rows import PartitionRows
from fusion_pipeline.images.decode import DecodeBudget, Reason
from fusion_pipeline.images.listing import ImageListing
from fusion_pipeline.store import Cache, Store
from fusion_pipeline.store.care.mending import DamagedStore
from fusion_pipeline.store.care.verify import verify
from fusion_pipeline.store.identity import Recipe, canonical_json, digest, store_identity
from fusion_pipeline.store.layout import ArraySpec, GroupEncoder
from fusion_pipeline.store.making.attempt import Attempt
from fusion_pipeline.store.making.known import (
    FreshRows,
    KnownRows,
    add_published,
    add_record,
    add_unfinished,
    made_alike,
)
from fusion_pipeline.store.making.unfinished import refuse_other_recipe
from fusion_pipeline.store.paths import store_folder


class Target(ABC):
    """A store to end with.

    Parameters
    ----------
    budget : DecodeBudget
        What an image may cost.

    Attributes
    ----------
    name : str
        The store's name.
    kind : {"backbone", "index"}
        What it holds.
    published : Store or None
        The store, once it is known to be published for the images at hand.
    computed : int
        Rows that this run computed.
    won : bool
        Whether the published store is this run's.
    measured_elsewhere : mapping of str to float
        The greatest of what other machines measured of the devices that made its rows for this run.
    """

    name: str
    kind: str

    def __init__(self, budget: DecodeBudget) -> None:
        self.published: Store | None = None
        self.computed = 0
        self.won = False
        self.measured_elsewhere: Mapping[str, float] = {}
        self._has_written = False
        self._budget = budget
        self._attempt: Attempt | None = None
        self._damaged: DamagedStore | None = None
        self._distrusted: frozenset[str] = frozenset()

    @property
    @abstractmethod
    def recipe(self) -> Recipe:
        """How the store is made, whatever the images."""

    @property
    @abstractmethod
    def producer(self) -> producers.Producer:
        """Who makes its rows."""

    @property
    @abstractmethod
    def preparation(self) -> Preparation:
        """What prepares its images."""

    @abstractmethod
    def specs(self, folder: ImageListing) -> tuple[ArraySpec, ...]:
        """Return the store's arrays."""

    @abstractmethod
    def whole_arrays(self, sha256: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Return the arrays that are not one row per sample, or are known only at the end."""

    def attributes(self) -> Mapping[str, Any]:
        """Return the attributes of the store's group."""
        return {}

    def source(self) -> Mapping[str, Any]:
        """Return where what the store was made with came from: told, not part of its identity."""
        return {}

    def measured(self) -> Mapping[str, float]:
        """Return what was measured here of the device and dtype that made rows; nothing if none were made here."""
        return {}

    def made_with(self) -> Mapping[str, Any]:
        """Return what computes its rows, beside what all stores of a run share."""
        return {}

    def told(self, arrays: Mapping[str, np.ndarray]) -> Mapping[str, Any]:  # noqa: ARG002 - a backbone needs them
        """Return what is worth knowing of the rows of one partition."""
        return {}

    @property
    def is_open(self) -> bool:
        """Whether there is an attempt at the store, and nobody has published the store meanwhile."""
        return self._attempt is not None and not self._attempt.gone

    def find(self, cache: Cache, dataset: str, dataset_digest: str, *, mend: bool = False) -> bool:
        """Look whether the store is published for a version of the images, and remember it.

        Parameters
        ----------
        cache : Cache
        dataset, dataset_digest : str
            Name and version of the data set.
        mend : bool
            Whether a damaged store is to be made anew, of what is left of it.

        Raises
        ------
        IntegrityError
            If it is, files of it are missing or cut short, and it is not to be mended.
        """
        self.published = None
        folder = store_folder(dataset, self.name, digest(store_identity(self.recipe, dataset_digest)))
        if mend:
            self._damaged = DamagedStore.find(cache, folder, self._damaged)
            if self._damaged is not None:
                return False
        self.published = find_store(cache, folder, mend=mend)
        return self.published is not None

    def distrust(self, damaged: DamagedStore, others: Iterable[str]) -> None:
        """Mend a store of which more is damaged than checksums tell, with no row of those with `others`' manifests."""
        self._damaged = damaged
        self._distrusted = frozenset(others)

    def prepare(self, folder: ImageListing, partition_rows: int) -> None:
        """Build what makes the rows: whatever does not fit shows itself before the cache is touched."""
        self._encoder = GroupEncoder(self.specs(folder), len(folder), partition_rows, self.attributes())

    def begin(
        self, cache: Cache, folder: ImageListing, *, anew: bool = False, compare_when_asked: bool = False
    ) -> None:
        """Join, resume or begin an attempt at the store; `prepare` comes first.

        Parameters
        ----------
        cache : Cache
        folder : ImageListing
            The images.
        anew : bool
            Whether to begin beside an attempt that was made otherwise.
        compare_when_asked : bool
            See `Attempt.open`.

        Raises
        ------
        StaleError
            If a stopped run left an attempt that was made otherwise, unless `anew`.
        """
        if not anew:
            refuse_other_recipe(cache.backend, folder.name, self.name, self.recipe)
        self._attempt = Attempt.open(
            cache.backend,
            folder.name,
            self.name,
            self.recipe,
            self._encoder,
            listing=folder.listing,
            compare_when_asked=compare_when_asked,
        )
        if self._damaged is not None:
            self._damaged.hand_over(self._attempt, self._encoder)

    def learn(self, cache: Cache, others: Sequence[Store]) -> None:
        """Learn which rows somebody has; `begin` comes first.

        Parameters
        ----------
        cache : Cache
        others : sequence of Store
            The published stores: of those made alike, rows of the same images are taken over.
        """
        attempt = self._made_attempt
        self._known = KnownRows(name for name, spec in self._encoder.specs.items() if spec.per_sample)
        alike = made_alike(others, self.recipe)
        self._to_compute = rows_not_alike(self._encoder.rows, alike, attempt.dataset)
        for partition, record in attempt.records():
            add_record(self._known, attempt, partition, record, partition * self._encoder.partition_rows)
        for store in alike:
            own = self._damaged is not None and store.manifest_digest == self._damaged.digest
            if not own and store.manifest_digest not in self._distrusted:
                add_published(self._known, store)
        add_unfinished(self._known, cache.backend, attempt, self._encoder)

    @property
    def task(self) -> Task:
        """What it needs of the images; known once it has learnt what others have."""
        dtypes = {name: spec.dtype for name, spec in self._encoder.specs.items() if spec.per_sample}
        return Task(self.producer, dtypes, self._known.take)

    def has(self, partition: int) -> bool:
        """Return whether the attempt holds a partition, for whatever images."""
        return self._attempt is not None and self._attempt.has(partition)

    def matches(self, partition: int, sha256: Sequence[str]) -> bool:
        """Return whether the attempt holds a partition, made from these very images."""
        return self._attempt is not None and self._attempt.record(partition, sha256) is not None

    def claim(self, partition: int) -> bool:
        """Take on a partition; False if somebody else is at it, or was."""
        return self._made_attempt.claim(partition) and not self._made_attempt.has(partition)

    def wait(self, partition: int, sha256: Sequence[str]) -> bool:
        """Wait for whoever is at a partition; False if it is ours to compute after all."""
        return self._made_attempt.wait(partition, sha256)

    def others(self) -> list[str]:
        """Return who else is at work on the store, for people."""
        return [] if self._attempt is None else self._attempt.others()

    def bad_rows(self, partition: int, sha256: Sequence[str]) -> dict[int, Reason]:
        """Return the rows of a finished partition that could not be decoded."""
        record = self._attempt.record(partition, sha256) if self._attempt is not None else None
        return {} if record is None else {row: Reason(code) for row, code in record.bad.items()}

    def published_bad_rows(self) -> dict[int, Reason]:
        """Return the rows of the published store that could not be decoded; none where there is no store."""
        status = () if self.published is None else self.published.status
        return {row: Reason(int(code)) for row, code in enumerate(status) if code}

    def write(
        self,
        partition: int,
        arrays: Mapping[str, np.ndarray],
        result: PartitionRows,
        reused: Mapping[str, int],
        made: Mapping[str, Any],
    ) -> None:
        """Write a finished partition into the attempt."""
        self._has_written = True
        attempt, bad = self._made_attempt, {row: int(code) for row, code in result.bad.items()}
        told = {**self.told(arrays), **({"reused": dict(reused)} if reused else {})}
        attempt.write(partition, arrays, result.sha256, bad, {**made, **self.made_with()}, told)
        self.computed += len(result.sha256) - sum(reused.values())
        if self.is_open and (record := attempt.record(partition, result.sha256)) is not None:
            add_record(self._known, attempt, partition, record, partition * self._encoder.partition_rows)

    def keep(self, partition: int, arrays: Mapping[str, np.ndarray], result: PartitionRows) -> None:
        """Know the rows of a partition while it is written: the next one may have images of it."""
        start = partition * self._encoder.partition_rows
        self._known.add(FreshRows(arrays), partition, result.sha256, lambda offset: start + offset not in result.bad)

    def publish(self, cache: Cache, dataset_digest: str, sha256: Sequence[str], made: Mapping[str, Any]) -> None:
        """Publish the complete attempt, unless somebody published the same store first."""
        attempt = self._made_attempt
        manifest, self.won = attempt.publish(
            kind=self.kind,
            dataset_digest=dataset_digest,
            samples=sha256,
            arrays=self.whole_arrays(sha256),
            made={
                **(self._made_elsewhere() or {**made, **self.made_with()}),
                **greatest(self.measured(), self.measured_elsewhere),
                "source": self.source(),
            },
            replaces=None if self._damaged is None else self._damaged.manifest,
        )
        self._attempt = None
        dataset, _, folder = store_folder(attempt.dataset, manifest.name, manifest.key).partition("/")
        self.published = cache[dataset].open(folder)

    def discard(self) -> None:
        """Leave an attempt that turned out not to be needed."""
        if self._attempt is not None:
            self._attempt.discard()
            self._attempt = None

    def close(self) -> None:
        """Leave an unfinished attempt to a later run."""
        if self._attempt is not None:
            self._attempt.close()
            self._attempt = None

    def _made_elsewhere(self) -> Mapping[str, Any]:
        """Return with what most partitions were made, if this process made none; else nothing."""
        records = () if self._has_written else self._made_attempt.records()
        made = Counter(canonical_json(dict(record.made)) for _, record in records if record.made)
        return json.loads(made.most_common(1)[0][0]) if made else {}

    @property
    def _made_attempt(self) -> Attempt:
        if self._attempt is None:
            raise RuntimeError(f"no attempt at store '{self.name}' was begun")
        return self._attempt


def find_store(cache: Cache, folder: str, *, mend: bool = False) -> Store | None:
    """Return the store that is published in a folder of a cache, all its files there; None if none is published.

    Parameters
    ----------
    cache : Cache
    folder : str
        Relative to the cache.
    mend : bool
        Whether damage is somebody else's business.

    Raises
    ------
    IntegrityError
        If files of it are missing or cut short.
    """
    dataset, _, name = folder.partition("/")
    if dataset not in cache:
        return None
    try:
        store = cache[dataset].open(name)
    except IncompleteError:
        return None
    for damage in () if mend else verify(store, read=False):
        raise IntegrityError(
            f"Store '{folder}' of cache '{printable(cache.location)}' is damaged: '{damage.file}' is missing or "
            "cut short. 'fusion cache repair' with the same --data and --cache mends it."
        )
    return store


def rows_not_alike(rows: int, alike: Sequence[Store], dataset: str) -> int:
    """Return how many of a store's rows no store of its data set that was made alike can have.

    The choice of an engine goes by it. Of other data sets nobody knows yet whether they have images in common with it.
    """
    return max(rows - max((store.rows for store in alike if store.dataset == dataset), default=0), 0)


def greatest(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    """Return the greater of two numbers under each key that one or both have.

    Examples
    --------
    >>> greatest({"deviation": 1e-4, "batch_drift": 0.0}, {"deviation": 3e-4})
    {'batch_drift': 0.0, 'deviation': 0.0003}
    """
    return {key: max(found[key] for found in (one, other) if key in found) for key in sorted({*one, *other})}
