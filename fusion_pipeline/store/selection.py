"""What a user names of a cache into the published stores that are meant, each version's index among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fusion_pipeline.errors import IncompleteError, printable
from fusion_pipeline.store.cache import Cache, DatasetStores
from fusion_pipeline.store.identity import slug
from fusion_pipeline.store.reader import Store


def select_stores(
    cache: Cache, dataset: str | None = None, backbones: Sequence[str] = (), *, all_versions: bool = False
) -> list[Store]:
    """Return published stores, an index before the stores of its version.

    Parameters
    ----------
    cache : Cache
    dataset : str, optional
        Name of the only data set that is meant.
    backbones : sequence of str
        The only backbones that are meant, by name or by their store's folder; the index is meant as well.
    all_versions : bool
        Whether the stores of earlier versions of the images are meant too, and all of several stores of one backbone.

    Returns
    -------
    list of Store

    Raises
    ------
    IncompleteError
        If there is no such data set or backbone, or no store at all.
    StaleError
        If a backbone has stores of other versions of the images only.
    IntegrityError, FormatError, RefusedError
        If a manifest cannot be read.
    """
    homes = [cache[name] for name in cache] if dataset is None else [cache[dataset]]
    pick = _all if all_versions else _current
    found = [store for home in homes for store in pick(home, backbones)]
    lacking = [backbone for backbone in backbones if not any(_is_called(store, backbone) for store in found)]
    if lacking:
        raise _lacks(cache, homes, lacking)
    if not found:
        where = printable(cache.location)
        raise IncompleteError(f"There is no store in '{where}'. Check the place, or run 'fusion extract' first.")
    return found


def _current(home: DatasetStores, backbones: Sequence[str]) -> Iterator[Store]:
    published = home.stores()
    if not published:  # the first extraction is at work
        return
    if not backbones:
        yield from home.current()
        return
    index = home.index()
    known = [name for name in backbones if any(_is_called(store, name) for store in published)]
    if known:
        yield index
        yield from (home.store(name, index) for name in known)


def _all(home: DatasetStores, backbones: Sequence[str]) -> Iterator[Store]:
    published = home.stores()
    chosen = [store for store in published if not backbones or any(_is_called(store, name) for name in backbones)]
    versions = {store.manifest.dataset for store in chosen}
    yield from (store for store in published if not store.is_backbone and store.manifest.dataset in versions)
    yield from (store for store in chosen if store.is_backbone)


def _is_called(store: Store, name: str) -> bool:
    return store.is_backbone and (name in (store.name, store.folder) or slug(name) == slug(store.name))


def _lacks(cache: Cache, homes: Sequence[DatasetStores], backbones: Sequence[str]) -> IncompleteError:
    known = sorted({store.name for home in homes for store in home.stores() if store.is_backbone})
    wanted, listed = (", ".join(f"'{printable(name)}'" for name in names) for names in (backbones, known))
    return IncompleteError(
        f"'{printable(cache.location)}' has no store of backbone {wanted} (it has {listed or 'none'}). "
        "Correct --backbone."
    )
