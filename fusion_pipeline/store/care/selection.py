"""What a user names of a cache into the published stores that are meant, each version's index among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fusion_pipeline.errors import FusionError, IncompleteError, StaleError, printable
from fusion_pipeline.store.cache import Cache, DatasetStores
from fusion_pipeline.store.found import is_folder_of
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
        raise _no_store(cache)
    return found


def name_stores(cache: Cache, dataset: str | None, names: Sequence[str]) -> list[Store]:
    """Return published stores that are named one by one, of whatever version of the images.

    Parameters
    ----------
    cache : Cache
    dataset : str or None
        Name of the only data set that is meant.
    names : sequence of str
        Of each store its backbone, for that of the current version, its folder, or both folders as ``fusion cache ls``
        shows them; ``"index"`` for the current index. One name may be that of stores of several data sets.

    Returns
    -------
    list of Store

    Raises
    ------
    IncompleteError, StaleError
        If there is no such store in any data set.
    IntegrityError, FormatError, RefusedError
        If a manifest cannot be read.
    """
    homes = [cache[name] for name in cache] if dataset is None else [cache[dataset]]
    return [store for name in names for store in _stores_called(cache, homes, name)]


def _stores_called(cache: Cache, homes: Sequence[DatasetStores], name: str) -> list[Store]:
    place, _, folder = name.partition("/")
    found: list[Store] = []
    missing: list[FusionError] = []
    if folder and (within := [home for home in homes if home.name == place]):
        return [_store_in(within[0], folder)]
    for home in homes:
        try:
            found.append(_store_called(home, name))
        except (IncompleteError, StaleError) as error:
            missing.append(error)
    if not found:
        raise _missing(cache, homes, name, missing)
    return found


def _missing(cache: Cache, homes: Sequence[DatasetStores], name: str, errors: Sequence[FusionError]) -> FusionError:
    """Return why no data set has a store: a single reason, or one of all."""
    stale = [error for error in errors if isinstance(error, StaleError)]
    if stale or len(errors) < 2:
        return [*stale, *errors, _no_store(cache)][0]
    listed = ", ".join(f"'{printable(home.name)}'" for home in homes)
    return IncompleteError(
        f"None of the data sets {listed} in cache '{printable(cache.location)}' has a store '{printable(name)}'. "
        "'fusion cache ls' shows those that there are."
    )


def _store_called(home: DatasetStores, name: str) -> Store:
    if name in home.cache.backend.entries(home.name).folders:
        return home.open(name)
    return home.index() if name == "index" else home.store(name)


def _store_in(home: DatasetStores, folder: str) -> Store:
    if folder not in home.cache.backend.entries(home.name).folders:
        raise IncompleteError(
            f"Data set '{printable(home.name)}' has no store '{printable(folder)}' in cache "
            f"'{printable(home.cache.location)}'. 'fusion cache ls' shows those that there are."
        )
    return home.open(folder)


def _current(home: DatasetStores, backbones: Sequence[str]) -> Iterator[Store]:
    published = [*home.survey()]
    if not published:  # the first extraction is at work
        return
    if not backbones:
        yield from home.current()
        return
    known = [name for name in backbones if any(_may_be_called(*found, name) for found in published)]
    if known:
        index = home.index()
        yield index
        yield from (home.store(name, index) for name in known)


def _all(home: DatasetStores, backbones: Sequence[str]) -> Iterator[Store]:
    published = home.stores()
    chosen = [store for store in published if not backbones or any(_is_called(store, name) for name in backbones)]
    versions = {store.manifest.dataset for store in chosen}
    yield from (store for store in published if not store.is_backbone and store.manifest.dataset in versions)
    yield from (store for store in chosen if store.is_backbone)


def _may_be_called(folder: str, found: Store | FusionError, name: str) -> bool:
    return _is_called(found, name) if isinstance(found, Store) else is_folder_of(folder, name)


def _is_called(store: Store, name: str) -> bool:
    return store.is_backbone and (name in (store.name, store.folder) or slug(name) == slug(store.name))


def _no_store(cache: Cache) -> IncompleteError:
    where = printable(cache.location)
    return IncompleteError(f"There is no store in '{where}'. Check the place, or run 'fusion extract' first.")


def _lacks(cache: Cache, homes: Sequence[DatasetStores], backbones: Sequence[str]) -> IncompleteError:
    known = sorted({store.name for home in homes for store in home.found().stores if store.is_backbone})
    wanted, listed = (", ".join(f"'{printable(name)}'" for name in names) for names in (backbones, known))
    return IncompleteError(
        f"'{printable(cache.location)}' has no store of backbone {wanted} (it has {listed or 'none'}). "
        "Correct --backbone."
    )
