"""A published store into arrays, every byte of which is checked before it is used."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from fusion_pipeline.errors import (
    FormatError,
    FusionError,
    IncompleteError,
    IntegrityError,
    RefusedError,
    UsageError,
    printable,
)
from fusion_pipeline.store import layout
from fusion_pipeline.store.bulk import Check, is_plain
from fusion_pipeline.store.checked import CheckedFiles
from fusion_pipeline.store.identity import digest_bytes, short
from fusion_pipeline.store.manifest import Manifest
from fusion_pipeline.store.metadata import ArrayMetadata
from fusion_pipeline.store.paths import ATTEMPTS, MANIFEST, group_folder
from fusion_pipeline.store.storage.backend import Backend
from fusion_pipeline.store.storage.places import open_backend


@dataclass(frozen=True)
class StoreRef:
    """Names one published store; small enough to travel with every task.

    Parameters
    ----------
    cache : str
        Location of the cache.
    dataset : str
        Name of the data set.
    folder : str
        Folder of the store in the data set's.
    manifest : str
        Digest of its manifest: what a task reads is what its sender saw.
    copy : str
        Where copies of what is read are kept; empty for nowhere.
    """

    cache: str
    dataset: str
    folder: str
    manifest: str
    copy: str = ""


class Store:
    """One published store: a backbone's features, or a data set's index.

    Arrays are read through a check of their sha256 against the manifest, chunk by chunk.

    Parameters
    ----------
    backend : Backend
        The cache.
    dataset, folder : str
        The data set and the store's folder in it.
    copy : Backend, optional
        Where copies of what is read are kept.

    Attributes
    ----------
    manifest : Manifest
        What was published.
    manifest_bytes : bytes
        The file itself.
    manifest_digest : str
        Digest of it.
    """

    def __init__(self, backend: Backend, dataset: str, folder: str, copy: Backend | None = None) -> None:
        path = f"{dataset}/{folder}/{MANIFEST}"
        content = backend.read(path)
        if content is None:
            raise IncompleteError(f"No store is published at '{printable(backend.where(path))}'.")
        self.backend = backend
        self.copy = copy
        self.dataset = dataset
        self.folder = folder
        self.manifest = Manifest.from_bytes(content, backend.where(path))
        if not folder.endswith(f"-{short(self.manifest.key)}"):
            raise IntegrityError(
                f"Manifest '{printable(backend.where(path))}' is that of another store. 'fusion cache repair' mends it."
            )
        self.manifest_bytes = content
        self.manifest_digest = digest_bytes(content)

    @classmethod
    def open(cls, ref: StoreRef) -> Store:
        """Return the store that `ref` names.

        Raises
        ------
        IntegrityError
            If its manifest is not the one that `ref` was made from.
        """
        copy = open_backend(ref.copy) if ref.copy else None
        store = cls(open_backend(ref.cache), ref.dataset, ref.folder, copy)
        if store.manifest_digest != ref.manifest:
            raise IntegrityError(
                f"Store '{ref.dataset}/{ref.folder}' changed while it was in use: its manifest is "
                f"{store.manifest_digest}, expected {ref.manifest}. Run the same command again."
            )
        return store

    @property
    def ref(self) -> StoreRef:
        """What a task needs to open this store."""
        copy = "" if self.copy is None else str(self.copy)
        return StoreRef(str(self.backend), self.dataset, self.folder, self.manifest_digest, copy)

    @property
    def name(self) -> str:
        """Name of the backbone, or ``"index"``."""
        return self.manifest.name

    @property
    def rows(self) -> int:
        """Number of samples."""
        return self.manifest.rows

    @property
    def identity(self) -> dict[str, Any]:
        """What the store was made from."""
        return dict(self.manifest.identity)

    @property
    def is_backbone(self) -> bool:
        """Whether the store holds a backbone's features."""
        return self.manifest.kind == "backbone"

    @property
    def location(self) -> str:
        """Folder or URL of the Zarr group, for any other reader: ``zarr.open_group(store.location)``."""
        return self.backend.where(self._attempt)

    @property
    def path(self) -> Path:
        """Folder of the Zarr group.

        Raises
        ------
        UsageError
            If the cache lies in no folder.
        """
        if not self.backend.is_local:
            raise UsageError(f"Store '{printable(self.location)}' lies in no folder. 'fusion cache pull' makes a copy.")
        return Path(self.location)

    @property
    def n_bytes(self) -> int:
        """Length of all its files in bytes."""
        return sum(entry.length for entry in self.manifest.files.values())

    @property
    def array_names(self) -> tuple[str, ...]:
        """Names of its arrays, sorted."""
        ending = "/zarr.json"
        return tuple(sorted(file.removesuffix(ending) for file in self.manifest.files if file.endswith(ending)))

    @cached_property
    def group(self) -> zarr.Group:
        """The Zarr group, read through the integrity check."""
        # Metadata that is consolidated in the group's own file would bypass the check of each array's.
        return zarr.open_group(self._files, mode="r", use_consolidated=False)

    def array(self, name: str) -> zarr.Array[Any]:
        """Return one array.

        Raises
        ------
        IncompleteError
            If this store has no such array.
        IntegrityError
            Now or on reading, if stored bytes are not what was published.
        RefusedError
            If it states a shape, a dtype or a codec that it cannot have.
        """
        if f"{name}/zarr.json" not in self.manifest.files:
            raise IncompleteError(f"Store '{self.folder}' has no array '{printable(name)}'.")
        self._check(name)
        array = self.group[name]
        if not isinstance(array, zarr.Array):
            raise FormatError(f"'{printable(name)}' of store '{self.folder}' is not an array.")
        return array

    @property
    def features(self) -> zarr.Array[Any]:
        """Penultimate features, (n_samples, n_features)."""
        return self.array(layout.FEATURES)

    @property
    def probabilities(self) -> zarr.Array[Any]:
        """ImageNet softmax, (n_samples, n_imagenet_classes)."""
        return self.array(layout.PROBABILITIES)

    def read(self, name: str, check: Check = "sha256") -> np.ndarray:
        """Return a whole array, every chunk of it checked, at nearly the speed of a plain file.

        Parameters
        ----------
        name : str
            The array.
        check : {"sha256", "crc32c"}
            Which sums of the manifest the chunks are compared with. CRC-32C finds accidents as well, and is quicker.

        Returns
        -------
        ndarray

        Raises
        ------
        IncompleteError, IntegrityError, RefusedError
            As `array`.
        """
        array = self.array(name)
        metadata = self._metadata(name)
        return self._files.read(metadata, check) if is_plain(metadata) else np.asarray(array[...])

    @cached_property
    def status(self) -> np.ndarray:
        """Reason code of each row, (n_samples,) uint8; 0 is a good row."""
        return self.read(layout.STATUS)

    @cached_property
    def index(self) -> Store:
        """The index store of the same version of the images."""
        if not self.is_backbone:
            return self
        folders = self.backend.entries(self.dataset).folders
        called_so = [folder for folder in folders if folder.startswith("index-")]  # as a rule it is one of these
        errors: list[FusionError] = []
        for some in (called_so, [folder for folder in folders if folder not in (*called_so, ATTEMPTS)]):
            if same := list(self._indexes_in(some, errors)):  # several, where another decoder made the thumbnails
                return max(same, key=lambda store: (store.manifest.created, store.folder))
        if errors:
            raise errors[0]
        raise IncompleteError(
            f"Store '{self.folder}' has no index in cache '{printable(str(self.backend))}'. "
            f"Run 'fusion extract --backbone {printable(self.name)}' again to make it."
        )

    def _indexes_in(self, folders: Iterable[str], errors: list[FusionError]) -> Iterator[Store]:
        """Yield the indexes of the same version that are in some folders; add why others cannot be read to errors."""
        for folder in folders:
            try:
                store = Store(self.backend, self.dataset, folder, self.copy)
            except IncompleteError:
                continue
            except FusionError as error:
                errors.append(error)
                continue
            if not store.is_backbone and store.manifest.dataset == self.manifest.dataset:
                yield store

    @cached_property
    def labels(self) -> np.ndarray:
        """Label of each row, (n_samples,) int64."""
        return self.index.read(layout.LABELS).astype(np.int64)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Class names, in the order of the labels."""
        return self.index._names(layout.CLASS_NAMES)

    @cached_property
    def splits(self) -> tuple[str, ...] | None:
        """Named part of the data that each row belongs to, such as ``"train"``; None if the images came without."""
        return self.index._column(layout.SPLITS)

    @cached_property
    def groups(self) -> tuple[str, ...] | None:
        """What each row must not be separated from, such as a person's name; None if the images came without."""
        return self.index._column(layout.GROUPS)

    @cached_property
    def sample_paths(self) -> tuple[bytes, ...]:
        """Path of each sample relative to the data set's folder, as bytes."""
        content = self.index.read(layout.PATH_BYTES).tobytes()
        ends = self.index.read(layout.PATH_OFFSETS).tolist()
        return tuple(content[start:end] for start, end in pairwise(ends))

    @cached_property
    def sample_ids(self) -> tuple[str, ...]:
        """Path of each sample as text (undecodable bytes as surrogates, as `os.fsdecode` gives them)."""
        return tuple(os.fsdecode(path) for path in self.sample_paths)

    @cached_property
    def sample_sha256(self) -> tuple[str, ...]:
        """sha256 of each sample's image file, hexadecimal; empty for a file that could not be read."""
        hashes = self.index.read(layout.SHA256)
        return tuple(bytes(row).hex() if row.any() else "" for row in hashes)

    def thumbnails(self, size: int) -> zarr.Array[Any]:
        """Return the thumbnails, (n_samples, size, size, 3) uint8."""
        return self.index.array(layout.THUMBNAILS.format(size=size))

    def file(self, name: str) -> str:
        """Return the path of one of its files, relative to the cache."""
        return f"{self._attempt}/{name}"

    def content(self, name: str) -> bytes:
        """Return the content of one of its files; IntegrityError if that is not what was published."""
        return self._files.content(name)

    def fetch(self, *names: str) -> None:
        """Fetch arrays into the place for copies, if there is one: many who then read them need not all fetch them.

        Raises
        ------
        IncompleteError, IntegrityError, RefusedError
            As `array`.
        """
        for name in names if self.copy is not None else ():
            self.array(name)
            self._files.fetch(file for file in self.manifest.files if file.startswith(f"{name}/"))

    def _column(self, name: str) -> tuple[str, ...] | None:
        """Return the texts that the numbers of an optional array stand for."""
        if f"{name}/zarr.json" not in self.manifest.files:
            return None
        names, positions = self._names(layout.COLUMN_NAMES[name]), self.read(name)
        if positions.size and not 0 <= positions.min() <= positions.max() < len(names):
            raise FormatError(f"Array '{name}' of store '{self.folder}' has numbers without a name.")
        return tuple(names[position] for position in positions.tolist())

    def _names(self, attribute: str) -> tuple[str, ...]:
        names = self.group.attrs.get(attribute)
        if not isinstance(names, list):
            raise FormatError(f"Store '{self.folder}' has no list of {attribute.replace('_', ' ')}.")
        return tuple(str(name) for name in names)

    def _check(self, name: str) -> None:
        """Refuse an array before anything is allocated for it."""
        metadata, where = self._metadata(name), f"{self.folder}/{name}"
        metadata.check(self.manifest.files, where)
        if name not in layout.NOT_PER_SAMPLE and metadata.shape[:1] != (self.rows,):
            raise RefusedError(
                f"Array '{printable(where)}' has the shape {metadata.shape}, but its store has {self.rows:,} rows. "
                "Do not trust the store."
            )
        self._files.check_lengths(metadata)

    def _metadata(self, name: str) -> ArrayMetadata:
        key = f"{name}/zarr.json"
        return ArrayMetadata.parse(name, self._files.content(key), f"{self.location}/{key}")

    @cached_property
    def _files(self) -> CheckedFiles:
        return CheckedFiles(self.backend, self._attempt, self.manifest, self.copy)

    @property
    def _attempt(self) -> str:
        return group_folder(f"{self.dataset}/{self.folder}", self.manifest.attempt)

    def __repr__(self) -> str:
        return f"<Store {self.dataset}/{self.folder}: {self.rows:,} rows>"
