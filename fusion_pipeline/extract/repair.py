"""Damaged stores and the images that they were made of, into the same stores whole again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fusion_pipeline.errors import FormatError, FusionError, IncompleteError, StaleError, printable
from fusion_pipeline.extract.backbones import Backbone
from fusion_pipeline.extract.engine import find_device
from fusion_pipeline.extract.options import Options
from fusion_pipeline.extract.passes import Progress, StoreResult, silent
from fusion_pipeline.extract.run import mend
from fusion_pipeline.extract.source import hash_images
from fusion_pipeline.extract.targets import BackboneTarget, IndexTarget, Target
from fusion_pipeline.images.decode import DecodeBudget
from fusion_pipeline.images.index import ImageFolder
from fusion_pipeline.store import Cache, DatasetStores, Store
from fusion_pipeline.store.care.mending import restore_manifests
from fusion_pipeline.store.care.verify import Report, verify_dataset
from fusion_pipeline.store.identity import differences, recipe_of


@dataclass(frozen=True)
class Repaired:
    """One store that is whole again.

    Parameters
    ----------
    before : Store
        As it was, damaged.
    result : StoreResult
        As it is published now.
    """

    before: Store
    result: StoreResult

    @property
    def is_identical(self) -> bool:
        """Whether every byte is what was first published."""
        return self.before.manifest.content == self.result.store.manifest.content


@dataclass(frozen=True)
class Repair:
    """What a repair did.

    Parameters
    ----------
    restored : tuple of str
        Manifests and lists that were restored from a second copy: paths relative to the cache.
    stores : tuple of Repaired
        The stores that were computed anew in part.
    failures : tuple of FusionError
        Why others could not be.
    """

    restored: tuple[str, ...] = ()
    stores: tuple[Repaired, ...] = ()
    failures: tuple[FusionError, ...] = field(default=())


def damaged_stores(stores: DatasetStores) -> list[Report]:
    """Read every store of a data set; return the reports on those with damage that only computing mends.

    The index comes first: it says whose rows the others hold.
    """
    found = [report for report in verify_dataset(stores) if report.damage]
    return sorted(found, key=lambda report: report.store is not None and report.store.is_backbone)


def restore(cache: Cache, dataset: str | None = None) -> tuple[str, ...]:
    """Restore what needs no images: manifests from their second copies, the copies, the list of current stores.

    Parameters
    ----------
    cache : Cache
    dataset : str, optional
        Only this data set.

    Returns
    -------
    tuple of str
        What was restored.
    """
    return tuple(path for name in cache if dataset in (None, name) for path in restore_manifests(cache[name]))


def repair(
    folder: ImageFolder,
    cache: Cache,
    find_backbone: Callable[[str], Backbone | None],
    options: Options,
    progress: Progress = silent,
    tell: Callable[[str], object] = lambda _line: None,
) -> Repair:
    """Make the damaged stores of a data set whole again, computing only the partitions that are damaged.

    On the kind of machine that made a store, and with the same versions, its bytes become what they were.

    Parameters
    ----------
    folder : ImageFolder
        The images.
    cache : Cache
    find_backbone : callable
        A backbone's name into its record, or None if nothing at hand knows it.
    options : Options
        Device and workers; the rest is as the store says.
    progress, tell
        As `fusion_pipeline.extract.run.extract` has them.

    Returns
    -------
    Repair
        With the reasons why stores could not be repaired: their images are others by now, or their weights are.
    """
    restored = restore(cache, folder.name)
    reports = damaged_stores(cache[folder.name])
    if not reports:
        return Repair(restored)
    tell("Hashing the images ...")
    digest = folder.digest(hash_images(folder))
    stores: list[Repaired] = []
    failures: list[FusionError] = []
    for report in reports:
        try:
            before = _repairable(report, folder, digest)
            made_with = _as_made(before, options)
            target = _target(before, folder, find_backbone, made_with)
            tell(f"{printable(before.name)}: {len(report.damage):,} damaged files.")
            stores.append(Repaired(before, mend(folder, target, cache, made_with, progress, tell)))
        except FusionError as error:
            failures.append(error)
    return Repair(restored, tuple(stores), tuple(failures))


def _repairable(report: Report, folder: ImageFolder, digest: str) -> Store:
    where = f"Store '{printable(report.dataset)}/{printable(report.folder)}'"
    if any(item.kind == "newer" for item in report.damage):
        raise FormatError(report.reason)
    if report.store is None:
        raise IncompleteError(
            f"{where} has lost both copies of its manifest. Remove its folder, then run 'fusion extract' again."
        )
    if report.store.manifest.dataset != digest:
        raise StaleError(
            f"{where} was made of other images than '{printable(str(folder.root))}' holds now. Repair it with those "
            "images, or remove its folder if nobody needs it any more."
        )
    return report.store


def _as_made(store: Store, options: Options) -> Options:
    """Return the options that gave the store its bytes."""
    identity, made = store.identity, store.manifest.made
    budget = identity.get("budget")
    return replace(
        options,
        dtype=str(identity.get("dtype", options.dtype)),
        partition_rows=store.manifest.partition_rows,
        batch_size=_whole(made.get("batch_size"), options.batch_size),
        on_bad="skip",  # a store that has bad rows was published with them
        budget=DecodeBudget(**budget) if isinstance(budget, dict) else DecodeBudget(),
    )


def _whole(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) and value > 0 else otherwise


def _target(
    store: Store, folder: ImageFolder, find_backbone: Callable[[str], Backbone | None], options: Options
) -> Target:
    """Return what makes the store's rows; refuse what would make others."""
    if not store.is_backbone:
        target: Target = IndexTarget(folder, options.budget)
    else:
        record = find_backbone(store.name)
        if record is None:
            raise IncompleteError(
                f"Nothing here knows backbone '{printable(store.name)}'. Add a [backbone.{printable(store.name)}] "
                "table to fusion.toml as it was when the store was made."
            )
        target = BackboneTarget(record, options.dtype, find_device(options.device), options.budget)
    changed: Sequence[str] = differences(recipe_of(store.identity), dict(target.recipe))
    if changed:
        raise StaleError(
            f"Store '{printable(store.dataset)}/{printable(store.folder)}' was made otherwise than it would be now: "
            f"{printable('; '.join(changed))}. Repair it with what it was made with, or extract anew."
        )
    return target
