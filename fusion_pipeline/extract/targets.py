"""One store that an extraction has to end with: found published, or made partition by partition."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from fusion_pipeline.errors import IncompleteError, IntegrityError, printable
from fusion_pipeline.extract import producers
from fusion_pipeline.extract.backbones import Backbone
from fusion_pipeline.extract.engine import EagerEngine
from fusion_pipeline.extract.network import Network, build_network, find_preprocessing, with_trained_arguments
from fusion_pipeline.extract.partition import PartitionRows
from fusion_pipeline.extract.weights import file_sha256, locate_weights
from fusion_pipeline.images.decode import DecodeBudget, Reason
from fusion_pipeline.images.index import ImageFolder
from fusion_pipeline.images.thumbnails import THUMBNAIL_SIZES
from fusion_pipeline.store import Cache, Store
from fusion_pipeline.store.identity import Recipe, digest, store_identity
from fusion_pipeline.store.layout import CLASS_NAMES, ArraySpec, GroupEncoder, index_arrays
from fusion_pipeline.store.verify import verify
from fusion_pipeline.store.writer import Attempt, store_folder


class Target(ABC):
    """A store to end with.

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
    """

    name: str
    kind: str

    def __init__(self, budget: DecodeBudget) -> None:
        self.published: Store | None = None
        self.computed = 0
        self._budget = budget
        self._attempt: Attempt | None = None

    @property
    @abstractmethod
    def recipe(self) -> Recipe:
        """How the store is made, whatever the images."""

    @property
    @abstractmethod
    def producer(self) -> producers.Producer:
        """Who makes its rows."""

    @abstractmethod
    def specs(self, folder: ImageFolder) -> tuple[ArraySpec, ...]:
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

    @cached_property
    def dtypes(self) -> Mapping[str, str]:
        """The dtype of each array that the producer makes; known once the attempt has begun."""
        return {name: spec.dtype for name, spec in self._encoder.specs.items()}

    @property
    def begun(self) -> bool:
        """Whether there is an attempt at the store."""
        return self._attempt is not None

    def find(self, cache: Cache, dataset: str, dataset_digest: str) -> bool:
        """Look whether the store is published for a version of the images, and remember it.

        Raises
        ------
        IntegrityError
            If it is, and files of it are missing or cut short.
        """
        try:
            self.published = self.open(cache, dataset, dataset_digest)
        except IncompleteError:
            self.published = None
            return False
        for damage in verify(self.published, read=False):
            raise IntegrityError(
                f"Store '{dataset}/{self.published.folder}' of cache '{printable(cache.location)}' is damaged: "
                f"'{damage.file}' is missing or cut short. Remove the store's folder, then run the same command again."
            )
        return True

    def prepare(self, folder: ImageFolder, partition_rows: int) -> None:
        """Build what makes the rows: whatever does not fit shows itself before the cache is touched."""
        self._encoder = GroupEncoder(self.specs(folder), len(folder), partition_rows, self.attributes())

    def begin(self, cache: Cache, folder: ImageFolder) -> None:
        """Resume or begin an attempt at the store; `prepare` comes first."""
        self._attempt = Attempt.open(cache.backend, folder.name, self.name, self.recipe, self._encoder)

    def has(self, partition: int) -> bool:
        """Return whether the attempt holds a partition."""
        return self._attempt is not None and self._attempt.record(partition) is not None

    def matches(self, partition: int, sha256: Sequence[str]) -> bool:
        """Return whether the attempt holds a partition, made from these very images."""
        record = self._attempt.record(partition) if self._attempt is not None else None
        return record is not None and record.samples == tuple(sha256)

    def bad_rows(self, partition: int) -> dict[int, Reason]:
        """Return the rows of a finished partition that could not be decoded."""
        record = self._attempt.record(partition) if self._attempt is not None else None
        return {} if record is None else {row: Reason(code) for row, code in record.bad.items()}

    def published_bad_rows(self) -> dict[int, Reason]:
        """Return the rows of the published store that could not be decoded; none where there is no store."""
        status = () if self.published is None else self.published.status
        return {row: Reason(int(code)) for row, code in enumerate(status) if code}

    def write(
        self, partition: int, arrays: Mapping[str, np.ndarray], result: PartitionRows, made: Mapping[str, Any]
    ) -> None:
        """Write a computed partition into the attempt."""
        bad = {row: int(code) for row, code in result.bad.items()}
        self._made_attempt.write(partition, arrays, result.sha256, bad, made)
        self.computed += len(result.sha256)

    def publish(self, dataset_digest: str, sha256: Sequence[str], made: Mapping[str, Any]) -> None:
        """Publish the complete attempt, unless somebody published the same store first."""
        self._made_attempt.publish(
            kind=self.kind,
            dataset_digest=dataset_digest,
            arrays=self.whole_arrays(sha256),
            made={**made, "source": self.source()},
        )
        self._attempt = None

    def discard(self) -> None:
        """Remove an attempt that turned out not to be needed."""
        if self._attempt is not None:
            self._attempt.discard()
            self._attempt = None
            self.computed = 0

    def open(self, cache: Cache, dataset: str, dataset_digest: str) -> Store:
        """Return the published store; IncompleteError if there is none."""
        key = digest(store_identity(self.recipe, dataset_digest))
        return Store(cache.backend, dataset, store_folder(dataset, self.name, key).removeprefix(f"{dataset}/"))

    def close(self) -> None:
        """Leave an unfinished attempt to a later run."""
        if self._attempt is not None:
            self._attempt.close()
            self._attempt = None

    @property
    def _made_attempt(self) -> Attempt:
        if self._attempt is None:
            raise RuntimeError(f"no attempt at store '{self.name}' was begun")
        return self._attempt


class IndexTarget(Target):
    """The index store of a data set: who each row is, and its thumbnails.

    Parameters
    ----------
    folder : ImageFolder
        The images.
    budget : DecodeBudget
        What an image may cost.
    """

    name = "index"
    kind = "index"

    def __init__(self, folder: ImageFolder, budget: DecodeBudget) -> None:
        super().__init__(budget)
        self._folder = folder
        self._producer = producers.ThumbnailProducer()

    @property
    def recipe(self) -> Recipe:
        """How the index is made, whatever the images."""
        return producers.index_recipe(self._budget)

    @property
    def producer(self) -> producers.Producer:
        """Who makes its thumbnails."""
        return self._producer

    def specs(self, folder: ImageFolder) -> tuple[ArraySpec, ...]:
        """Return the arrays of an index."""
        return index_arrays(len(folder), sum(map(len, folder.paths)), THUMBNAIL_SIZES)

    def attributes(self) -> Mapping[str, Any]:
        """Return the class names."""
        return {CLASS_NAMES: list(self._folder.class_names)}

    def whole_arrays(self, sha256: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Return paths, labels and the files' sha256."""
        return producers.path_arrays(self._folder.paths, sha256, self._folder.labels)


class BackboneTarget(Target):
    """The store of one backbone.

    Parameters
    ----------
    backbone : Backbone
        The network.
    dtype : {"float16", "float32"}
        How features are stored.
    device : str
        Where it runs.
    budget : DecodeBudget
        What an image may cost.
    """

    kind = "backbone"

    def __init__(self, backbone: Backbone, dtype: str, device: str, budget: DecodeBudget) -> None:
        super().__init__(budget)
        self.name = backbone.name
        self._dtype = dtype
        self._device = device
        # In this order: who misspells a model must not be asked for its weights.
        self._preprocessing = find_preprocessing(backbone)
        self._backbone = with_trained_arguments(backbone)
        self._weights = locate_weights(backbone)
        self._weights_sha256 = file_sha256(self._weights)

    @property
    def recipe(self) -> Recipe:
        """How the features are made, whatever the images."""
        return producers.backbone_recipe(
            self._backbone, self._preprocessing, self._weights_sha256, self._dtype, self._budget
        )

    @cached_property
    def producer(self) -> producers.Producer:
        """Who makes its rows; the network is built when it is first needed."""
        engine = EagerEngine(self._network, self._preprocessing, self._device)
        return producers.BackboneProducer(self.name, self._preprocessing, engine)

    def specs(self, folder: ImageFolder) -> tuple[ArraySpec, ...]:  # noqa: ARG002 - an index needs it
        """Return the arrays of the backbone."""
        return producers.backbone_specs(self._network, self._dtype)

    def whole_arrays(self, sha256: Sequence[str]) -> Mapping[str, np.ndarray]:  # noqa: ARG002 - an index needs it
        """Return the network's head."""
        return producers.head_arrays(self._network)

    def source(self) -> Mapping[str, Any]:
        """Return the model and where its weights were."""
        backbone = self._backbone
        packaged = backbone.weights is None or backbone.weights.startswith("package:")
        weights = backbone.weights if packaged else str(self._weights.absolute())
        return {"model": backbone.model, "weights": weights, "in_order": backbone.in_order}

    @cached_property
    def _network(self) -> Network:
        return build_network(self._backbone, self._weights, self._preprocessing.input_size, self._weights_sha256)
