"""Damaged stores and the images that they were made of, into the same stores whole again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from fusion_pipeline.errors import FormatError, FusionError, IncompleteError, IntegrityError, StaleError, printable
from fusion_pipeline.extract.backbone_target import BackboneTarget
from fusion_pipeline.extract.engines.choice import find_device
from fusion_pipeline.extract.index_target import IndexTarget
from fusion_pipeline.extract.networks.backbones import Backbone
from fusion_pipeline.extract.options import Options
from fusion_pipeline.extract.passes import Progress, StoreResult, silent
from fusion_pipeline.extract.plan import ENGINES
from fusion_pipeline.extract.run import mend
from fusion_pipeline.extract.source import hash_images
from fusion_pipeline.extract.targets import Target
from fusion_pipeline.images.decode import DecodeBudget
from fusion_pipeline.images.listing import ImageListing
from fusion_pipeline.store import Cache, Store
from fusion_pipeline.store.care.mending import DamagedStore, restore_manifests
from fusion_pipeline.store.care.semantic import ROWS, verify_all, verify_semantic
from fusion_pipeline.store.care.verify import NEWER, Report
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
    had_wrong_rows : bool
        Whether its files were whole, and rows of it wrong.
    """

    before: Store
    result: StoreResult
    had_wrong_rows: bool = False

    @property
    def is_identical(self) -> bool:
        """Whether every byte is what was first published."""
        return self.before.manifest.content == self.result.store.manifest.content


@dataclass(frozen=True)
class Unrepaired:
    """One store that is damaged still.

    Parameters
    ----------
    dataset, folder : str
        Where it is; the folder is empty for what belongs to the data set as a whole.
    error : FusionError
        Why it could not be repaired.
    """

    dataset: str
    folder: str
    error: FusionError


@dataclass(frozen=True)
class Repair:
    """What a repair did.

    Parameters
    ----------
    restored : tuple of str
        Manifests and lists that were restored from a second copy: paths relative to the cache.
    stores : tuple of Repaired
        The stores that were computed anew in part.
    failures : tuple of Unrepaired
        The others that are damaged.
    looked_at : int
        Number of all stores that were read.
    """

    restored: tuple[str, ...] = ()
    stores: tuple[Repaired, ...] = ()
    failures: tuple[Unrepaired, ...] = ()
    looked_at: int = 0


def repair(
    folder: ImageListing | None,
    cache: Cache,
    find_backbone: Callable[[str], Backbone | None],
    options: Options,
    progress: Progress = silent,
    tell: Callable[[str], object] = lambda _line: None,
    *,
    dataset: str | None = None,
    semantic: bool = False,
) -> Repair:
    """Make damaged stores whole again, computing only the partitions that are damaged.

    On the kind of machine that made a store, and with the same versions, its bytes become what they were.

    Parameters
    ----------
    folder : ImageListing or None
        The images of one data set. Of others only what needs no images is repaired.
    cache : Cache
    find_backbone : callable
        A backbone's name into its record, or None if nothing at hand knows it.
    options : Options
        Device and workers; the rest is as the store says.
    progress, tell
        As `fusion_pipeline.extract.run.extract` has them.
    dataset : str, optional
        The only data set to look at.
    semantic : bool
        Whether to look for wrong rows too, as `fusion_pipeline.store.care.semantic.verify_all` does.

    Returns
    -------
    Repair
        With the reasons why stores could not be repaired: their images are not at hand, or others by now.
    """
    names = [name for name in cache if dataset in (None, name)]
    restored = tuple(path for name in names for path in restore_manifests(cache[name]))
    reports = [report for name in names for report in verify_all(cache[name], semantic=semantic)]
    wrong = frozenset(report.store.manifest_digest for report in reports if report.store and _wrong_rows(report))
    workshop = _Workshop(folder, cache, find_backbone, options, progress, tell, wrong, semantic)
    stores: list[Repaired] = []
    failures: list[Unrepaired] = []
    # The indexes come first: they say whose rows the others hold.
    damaged = [report for report in reports if report.damage]
    for report in sorted(damaged, key=lambda report: report.store is not None and report.store.is_backbone):
        try:
            stores.append(workshop.mend(report))
        except FusionError as error:
            failures.append(Unrepaired(report.dataset, report.folder, error))
    return Repair(restored, tuple(stores), tuple(failures), len(reports))


@dataclass(frozen=True)
class _Workshop:
    """What stores are repaired with; see `repair`."""

    folder: ImageListing | None
    cache: Cache
    find_backbone: Callable[[str], Backbone | None]
    options: Options
    progress: Progress
    tell: Callable[[str], object]
    wrong: frozenset[str]
    semantic: bool

    def mend(self, report: Report) -> Repaired:
        """Make a store whole again."""
        before, folder = self._repairable(report)
        made_with = _as_made(before, self.options)
        target = _target(before, folder, self.find_backbone, made_with)
        wrong = _wrong_rows(report)
        if wrong:
            target.distrust(DamagedStore(before.manifest_bytes, before, wrong), self.wrong)
        self.tell(f"{printable(before.name)}: {len(report.damage):,} {'partitions' if wrong else 'files'} damaged.")
        result = mend(folder, target, self.cache, made_with, self.progress, self.tell)
        if self.semantic and any(verify_semantic(result.store)):
            raise IntegrityError(_still_wrong(result.store, computed=bool(wrong)))
        return Repaired(before, result, bool(wrong))

    @cached_property
    def _digest(self) -> str:
        """The digest of the images: they are hashed once, and only where something needs them."""
        self.tell("Hashing the images ...")
        return self.folder.digest(hash_images(self.folder)) if self.folder is not None else ""

    def _repairable(self, report: Report) -> tuple[Store, ImageListing]:
        """Return a store that can be repaired, and its images."""
        where = f"Store '{printable(report.dataset)}/{printable(report.folder)}'"
        if any(item.kind == NEWER for item in report.damage):
            raise FormatError(report.reason)
        if report.store is None:
            raise IncompleteError(
                f"{where} has lost both copies of its manifest. Remove its folder, then run 'fusion extract' again."
            )
        if self.folder is None or self.folder.name != report.dataset:
            raise IncompleteError(
                f"{where} is damaged; repairing it needs the images of '{printable(report.dataset)}'. Give their "
                "folder with --data."
            )
        if report.store.manifest.dataset != self._digest:
            raise StaleError(
                f"{where} was made of other images than '{printable(str(self.folder.root))}' holds now. Repair it "
                "with those images; or, if nobody needs it any more, remove its folder and run 'fusion cache repair' "
                "again, which takes it off the list of current stores."
            )
        return report.store, self.folder


def _wrong_rows(report: Report) -> frozenset[str]:
    """Return the chunks of features whose rows are wrong though every checksum is right."""
    return frozenset(item.file for item in report.damage if item.kind == ROWS)


def _still_wrong(store: Store, *, computed: bool) -> str:
    where = f"'{printable(store.dataset)}/{printable(store.folder)}'"
    if computed:
        return (
            f"The probabilities of store {where} do not follow from its features even when both are computed anew. "
            "Do not train on it; extract the backbone with other weights, or leave it out."
        )
    return f"The files of store {where} are whole now, and rows of it wrong. 'fusion cache repair --semantic' goes on."


def _as_made(store: Store, options: Options) -> Options:
    """Return the options that gave the store its bytes."""
    identity, made = store.identity, store.manifest.made
    budget, engine = identity.get("budget"), made.get("engine", "eager")  # the only one, before stores told it
    return replace(
        options,
        dtype=str(identity.get("dtype", options.dtype)),
        partition_rows=store.manifest.partition_rows,
        batch_size=0,  # as the store tells, on such a device
        engine=engine if engine in ENGINES else "auto",
        precision=str(identity.get("precision", options.precision)).removeprefix("autocast "),
        on_bad="skip",  # a store that has bad rows was published with them
        budget=DecodeBudget(**budget) if isinstance(budget, dict) else DecodeBudget(),
    )


def _target(
    store: Store, folder: ImageListing, find_backbone: Callable[[str], Backbone | None], options: Options
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
        plan = options.plan(find_device(options.device))
        target = BackboneTarget(record, options.dtype, plan, options.budget)
    changed: Sequence[str] = differences(recipe_of(store.identity), dict(target.recipe))
    if changed:
        raise StaleError(
            f"Store '{printable(store.dataset)}/{printable(store.folder)}' was made otherwise than it would be now: "
            f"{printable('; '.join(changed))}. Repair it with what it was made with, or extract anew."
        )
    return target
