"""Arrays of a store into the bytes of its Zarr v3 files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np
import zarr
from zarr.codecs import Crc32cCodec
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

FEATURES = "features"
PROBABILITIES = "imagenet_probabilities"
STATUS = "status"
HEAD_WEIGHT = "head_weight"
HEAD_BIAS = "head_bias"
PATH_BYTES = "sample_path_bytes"
PATH_OFFSETS = "sample_path_offsets"
SHA256 = "sha256"
LABELS = "label"
SPLITS = "split"
GROUPS = "group"
THUMBNAILS = "thumbnails_{size}"

NOT_PER_SAMPLE = frozenset({HEAD_WEIGHT, HEAD_BIAS, PATH_BYTES, PATH_OFFSETS})
"""The arrays whose first dimension is not the samples."""

CLASS_NAMES = "class_names"
"""Attribute of the group of an index store: the class names in the order of their labels."""

COLUMN_NAMES = {SPLITS: "split_names", GROUPS: "group_names"}
"""For each array that an index may have beside the labels, the attribute with the texts that its numbers stand for."""

# 512 rows of 1024 float16 features are 1 MiB and of 4096 are 4 MiB. Of 2048 they are 2 MiB, which `benchmarks/store.py`
# reads faster than 1 MiB and about as fast as 4; a killed run on a CPU (4 images/s) loses two minutes of work at most.
PARTITION_ROWS = 512

_WHOLE_CHUNK_BYTES = 4 << 20

CRC_BYTES = 4
"""Length of the CRC-32C that ends each chunk file."""


@dataclass(frozen=True)
class ArraySpec:
    """One array of a store.

    Parameters
    ----------
    name : str
        Name of the array in its group.
    item_shape : tuple of int
        Shape of one row; for an array that is written as a whole (``rows`` given), of one item.
    dtype : str
        NumPy name of the dtype.
    dimensions : tuple of str
        Names of all dimensions, the first one included: what xarray shows.
    fill_value : float
        What a missing chunk would read as. NaN for features, so that no reader mistakes nothing for zeros.
    rows : int or None
        Length of the first dimension of an array that does not have one row per sample.
    """

    name: str
    item_shape: tuple[int, ...]
    dtype: str
    dimensions: tuple[str, ...]
    fill_value: float = 0
    rows: int | None = None

    @property
    def per_sample(self) -> bool:
        """Whether the array has one row per sample and is written partition by partition."""
        return self.rows is None

    @property
    def item_bytes(self) -> int:
        """Length of one row, or item, in bytes."""
        return math.prod(self.item_shape) * np.dtype(self.dtype).itemsize

    def shape(self, samples: int) -> tuple[int, ...]:
        """Return the shape that the array has in a store of some samples.

        Examples
        --------
        >>> ArraySpec("features", (2048,), "float16", ("sample", "feature")).shape(1360)
        (1360, 2048)
        """
        return samples if self.rows is None else self.rows, *self.item_shape


def backbone_arrays(n_features: int, n_classes: int, dtype: str, *, head: bool) -> tuple[ArraySpec, ...]:
    """Return the arrays of a backbone store.

    Parameters
    ----------
    n_features : int
        Length of the feature vector.
    n_classes : int
        Number of classes of the network's own head; 0 for a network without one.
    dtype : {"float16", "float32"}
        How features and probabilities are stored.
    head : bool
        Whether ``softmax(head_weight @ features + head_bias)`` gives the probabilities, so that the head is stored.

    Returns
    -------
    tuple of ArraySpec

    Examples
    --------
    >>> [spec.name for spec in backbone_arrays(2048, 1000, "float16", head=False)]
    ['features', 'status', 'imagenet_probabilities']
    """
    specs = [
        ArraySpec(FEATURES, (n_features,), dtype, ("sample", "feature"), float("nan")),
        ArraySpec(STATUS, (), "uint8", ("sample",)),
    ]
    if n_classes:
        specs.append(ArraySpec(PROBABILITIES, (n_classes,), dtype, ("sample", "imagenet_class"), float("nan")))
    if head:
        specs.append(ArraySpec(HEAD_WEIGHT, (n_features,), "float32", ("imagenet_class", "feature"), rows=n_classes))
        specs.append(ArraySpec(HEAD_BIAS, (), "float32", ("imagenet_class",), rows=n_classes))
    return tuple(specs)


def index_arrays(
    samples: int, path_bytes: int, thumbnail_sizes: Iterable[int], columns: Iterable[str] = ()
) -> tuple[ArraySpec, ...]:
    """Return the arrays of an index store.

    Parameters
    ----------
    samples : int
        Number of samples.
    path_bytes : int
        Total length in bytes of all sample paths.
    thumbnail_sizes : iterable of int
        Sides of the square thumbnails in pixels.
    columns : iterable of str
        Which of ``split`` and ``group`` there are.

    Returns
    -------
    tuple of ArraySpec
    """
    wanted = frozenset(columns)
    thumbnails = (
        ArraySpec(THUMBNAILS.format(size=size), (size, size, 3), "uint8", ("sample", f"y_{size}", f"x_{size}", "rgb"))
        for size in thumbnail_sizes
    )
    return (
        ArraySpec(STATUS, (), "uint8", ("sample",)),
        *thumbnails,
        ArraySpec(PATH_BYTES, (), "uint8", ("path_byte",), rows=path_bytes),
        ArraySpec(PATH_OFFSETS, (), "int64", ("path_offset",), rows=samples + 1),
        ArraySpec(SHA256, (32,), "uint8", ("sample", "sha256_byte"), rows=samples),
        ArraySpec(LABELS, (), "int32", ("sample",), rows=samples),
        *(ArraySpec(name, (), "int32", ("sample",), rows=samples) for name in COLUMN_NAMES if name in wanted),
    )


class GroupEncoder:
    """The files of a Zarr v3 group, encoded in memory: the metadata by Zarr itself, the chunks as its codecs would.

    The writer can so hash and store every file durably, on any storage, without reading it back. Safe for threads.

    Parameters
    ----------
    specs : iterable of ArraySpec
        The arrays.
    rows : int
        Number of samples.
    partition_rows : int
        Rows of a chunk, and of the partition that one task writes: no chunk ever has two writers.
    attributes : mapping, optional
        JSON attributes of the group.

    Examples
    --------
    >>> encoder = GroupEncoder(backbone_arrays(8, 0, "float16", head=False), rows=5, partition_rows=4)
    >>> sorted(encoder.metadata())
    ['features/zarr.json', 'status/zarr.json', 'zarr.json']
    >>> sorted(encoder.partition(1, {"features": np.zeros((1, 8), "float16"), "status": np.zeros(1, "uint8")}))
    ['features/c/1/0', 'status/c/1']
    """

    def __init__(
        self,
        specs: Iterable[ArraySpec],
        rows: int,
        partition_rows: int = PARTITION_ROWS,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        self.specs = {spec.name: spec for spec in specs}
        self.rows = rows
        self.partition_rows = partition_rows
        self._files: dict[str, Buffer] = {}
        self._group = zarr.create_group(MemoryStore(self._files), attributes=dict(attributes or {}))
        for spec in self.specs.values():
            self._create(spec)

    @property
    def partitions(self) -> int:
        """Number of partitions."""
        return -(-self.rows // self.partition_rows)

    def metadata(self) -> dict[str, bytes]:
        """Return the group's and the arrays' ``zarr.json`` by relative path."""
        return {key: value.to_bytes() for key, value in self._files.items()}

    def partition(self, number: int, arrays: Mapping[str, np.ndarray]) -> dict[str, bytes]:
        """Encode the rows of one partition.

        Parameters
        ----------
        number : int
            Which partition.
        arrays : mapping of str to ndarray
            Its rows for every array that has one row per sample.

        Returns
        -------
        dict of str to bytes
            The chunk files by relative path.
        """
        expected = {name for name, spec in self.specs.items() if spec.per_sample}
        if set(arrays) != expected:
            raise ValueError(f"a partition needs the arrays {sorted(expected)}, got {sorted(arrays)}")
        start = number * self.partition_rows
        stop = min(start + self.partition_rows, self.rows)
        files: dict[str, bytes] = {}
        for name, values in arrays.items():
            files.update(self._encode(name, slice(start, stop), values))
        return files

    def partition_files(self, number: int) -> set[str]:
        """Return the relative paths of the chunk files that one partition has.

        Examples
        --------
        >>> encoder = GroupEncoder(backbone_arrays(8, 0, "float16", head=False), rows=5, partition_rows=4)
        >>> sorted(encoder.partition_files(1))
        ['features/c/1/0', 'status/c/1']
        """
        return {
            "/".join([name, "c", str(number), *("0" for _ in spec.item_shape)])
            for name, spec in self.specs.items()
            if spec.per_sample
        }

    def rows_of(self, name: str, number: int, content: bytes) -> np.ndarray:
        """Decode the chunk of one partition: its rows, read-only, without the padding of the last one.

        Examples
        --------
        >>> encoder = GroupEncoder(backbone_arrays(2, 0, "float16", head=False), rows=5, partition_rows=4)
        >>> rows = {"features": np.ones((1, 2), "float16"), "status": np.zeros(1, "uint8")}
        >>> encoder.rows_of("features", 1, encoder.partition(1, rows)["features/c/1/0"])
        array([[1., 1.]], dtype=float16)
        """
        spec = self.specs[name]
        values = np.frombuffer(content[:-CRC_BYTES], np.dtype(spec.dtype).newbyteorder("<"))
        rows = min(self.partition_rows, self.rows - number * self.partition_rows)
        return values.reshape(self.partition_rows, *spec.item_shape)[:rows]

    def whole(self, name: str, values: np.ndarray) -> dict[str, bytes]:
        """Encode an array that does not have one row per sample; return its chunk files by relative path."""
        return self._encode(name, slice(0, self.specs[name].rows), values)

    def stored_bytes(self, name: str) -> int:
        """Return the length of all chunk files of an array: the last one has the full shape too.

        Examples
        --------
        >>> encoder = GroupEncoder(backbone_arrays(8, 0, "float16", head=False), rows=5, partition_rows=4)
        >>> encoder.stored_bytes("features") == 2 * (4 * 8 * 2 + CRC_BYTES)
        True
        """
        spec = self.specs[name]
        chunk_rows = self._chunk_rows(spec)
        return -(-spec.shape(self.rows)[0] // chunk_rows) * (chunk_rows * spec.item_bytes + CRC_BYTES)

    def _create(self, spec: ArraySpec) -> None:
        self._group.create_array(
            spec.name,
            shape=spec.shape(self.rows),
            chunks=(self._chunk_rows(spec), *spec.item_shape),
            dtype=spec.dtype,
            # Deep features barely compress (ratio 1.15 for a third of the speed); a checksum finds what raw bytes hide.
            compressors=[Crc32cCodec()],
            filters=None,
            fill_value=spec.fill_value,
            dimension_names=spec.dimensions,
        )

    def _chunk_rows(self, spec: ArraySpec) -> int:
        if spec.rows is None:
            return self.partition_rows
        return max(1, min(spec.rows, _WHOLE_CHUNK_BYTES // spec.item_bytes))

    def _encode(self, name: str, rows: slice, values: np.ndarray) -> dict[str, bytes]:
        spec = self.specs[name]
        if values.shape != (rows.stop - rows.start, *spec.item_shape):
            raise ValueError(f"array '{name}' cannot take values of shape {values.shape}")
        step, zeros = self._chunk_rows(spec), ["0"] * len(spec.item_shape)
        return {
            "/".join([name, "c", str((rows.start + start) // step), *zeros]): _chunk(
                spec, values[start : start + step], step
            )
            for start in range(0, len(values), step)
        }


def _chunk(spec: ArraySpec, values: np.ndarray, rows: int) -> bytes:
    """Return a chunk file as Zarr's codecs `bytes` and `crc32c` would write it, at the speed of copying."""
    body = np.ascontiguousarray(values, np.dtype(spec.dtype).newbyteorder("<"))
    if len(body) < rows:  # the last chunk has the full shape too
        padding = np.full((rows - len(body), *spec.item_shape), spec.fill_value, body.dtype)
        body = np.concatenate([body, padding])
    flat = body.reshape(-1).view(np.uint8)
    return b"".join([flat.data, google_crc32c.value(flat).to_bytes(CRC_BYTES, "little")])
