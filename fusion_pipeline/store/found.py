"""What lies in the folders of a data set, readable or not, into the store that is meant.

A store that cannot be read stops whoever may mean that one, and nobody else. Its folder tells the name and the key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from fusion_pipeline.errors import FusionError
from fusion_pipeline.store.identity import short, slug
from fusion_pipeline.store.reader import Store

INDEX = "index"


@dataclass(frozen=True)
class Found:
    """The stores of a data set, and what is known of which are current.

    Parameters
    ----------
    stores : tuple of Store
        Those that can be read, the newest first.
    errors : mapping of str to FusionError
        Why the others cannot be read, by folder.
    index : str, optional
        Folder of the current index, where that is known.
    current : mapping of str to str
        Folders of the current stores by backbone, as far as known.
    """

    stores: tuple[Store, ...]
    errors: Mapping[str, FusionError] = field(default_factory=dict)
    index: str | None = None
    current: Mapping[str, str] = field(default_factory=dict)

    @property
    def indexes(self) -> tuple[Store, ...]:
        """The indexes that can be read, the newest first."""
        return tuple(store for store in self.stores if store.manifest.kind == INDEX)

    def find_index(self, key: str | None = None) -> Store | None:
        """Return the current index, or the one that `key` begins the key of, or is the folder of; None if none is.

        Where nothing tells which index is current, it is the newest; one that cannot be read might be that.

        Raises
        ------
        FusionError
            If it may be one that cannot be read: why.
        """
        latest = key or self.index
        if key is None:
            self.refuse(lambda folder: folder == self.index if self.index else _name_in(folder) == INDEX)
        for store in self.indexes:
            if latest is None or store.folder == latest or _hex(store.manifest.key).startswith(_hex(latest)):
                return store
        self.refuse(lambda folder: key is None or folder == key or _begins_alike(folder, key))
        return None

    def refuse_all(self, index: Store) -> None:
        """Raise why a store cannot be read, if it may be one of those to take for an index where none is named.

        Of each backbone it is the current one; which those of an earlier version are, nothing tells.
        """
        now = {slug(name): folder for name, folder in self.current.items()} if self._is_current(index) else {}
        self.refuse(lambda folder: _name_in(folder) != INDEX and now.get(_name_in(folder), folder) == folder)

    def find(self, backbone: str, index: Store) -> list[Store]:
        """Return the stores that a backbone has for the version of an index, the one to take first.

        Raises
        ------
        FusionError
            If it may be one that cannot be read: why.
        """
        stated = self.current.get(backbone) if self._is_current(index) else None
        self.refuse(lambda folder: folder in (backbone, stated))
        fitting = [store for store in self.named(backbone) if store.manifest.dataset == index.manifest.dataset]
        if not fitting or (stated is None and self._is_current(index)):
            self.refuse(lambda folder: is_folder_of(folder, backbone))
        return sorted(fitting, key=lambda store: store.folder != stated)

    def named(self, backbone: str) -> list[Store]:
        """Return the stores of a backbone, by its name or by a folder, of all versions; the newest first."""
        stores = [store for store in self.stores if store.is_backbone]
        named = [store for store in stores if backbone in (store.name, store.folder)]
        # Two names may be one folder's: who extracted first has named the store.
        return named or [store for store in stores if slug(store.name) == slug(backbone)]

    def of_version(self, index: Store) -> dict[str, Store]:
        """Return the store to take of each backbone for the version of an index, by name; of those that can be read."""
        found: dict[str, Store] = {}
        for store in self.stores:
            same = store.is_backbone and store.manifest.dataset == index.manifest.dataset
            if same and (store.name not in found or self.current.get(store.name) == store.folder):
                found[store.name] = store
        return {name: found[name] for name in sorted(found)}

    def refuse(self, may_be: Callable[[str], bool]) -> None:
        """Raise why a store cannot be read, if a folder with such a one may be what is meant."""
        for folder, error in self.errors.items():
            if may_be(folder):
                raise error

    def _is_current(self, index: Store) -> bool:
        return self.index in (None, index.folder)


def newest_first(stores: Iterable[Store]) -> tuple[Store, ...]:
    """Return stores by when they were published, and among equals by their folder."""
    return tuple(sorted(stores, key=lambda store: (store.manifest.created, store.folder), reverse=True))


def is_folder_of(folder: str, name: str) -> bool:
    """Return whether a folder may be that of a store of this name, or is called so itself.

    Examples
    --------
    >>> is_folder_of("resnet18-0123456789ab", "resnet18"), is_folder_of("resnet18-0123456789ab", "resnet")
    (True, False)
    """
    return folder == name or _name_in(folder) == slug(name)


def _name_in(folder: str) -> str:
    return folder.rpartition("-")[0]


def _begins_alike(folder: str, key: str) -> bool:
    """Return whether the store in a folder may have a key that begins so."""
    return folder.rpartition("-")[2].startswith(short(key))


def _hex(key: str) -> str:
    return key.removeprefix("sha256:")
