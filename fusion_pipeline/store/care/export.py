"""Published stores into files that need none of our code: NumPy arrays beside a table, or Parquet."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fusion_pipeline.errors import IncompleteError, StorageError, UsageError, printable
from fusion_pipeline.store import layout
from fusion_pipeline.store.identity import slug
from fusion_pipeline.store.reader import Store
from fusion_pipeline.store.storage.backend import partial_name
from fusion_pipeline.store.storage.durable import sync_folder
from fusion_pipeline.store.storage.places import is_remote

Format = Literal["npy", "parquet"]

DESCRIPTION = "export.json"
"""File of an export that names the manifests of what was exported."""

_NAMES = "%XX is a byte that is no printable UTF-8, or a %; Python's urllib.parse.unquote_to_bytes gives the true bytes"
_MATRICES = (layout.FEATURES, layout.PROBABILITIES)


def export(stores: Sequence[Store], target: str | Path, file_format: Format) -> dict[str, Path]:
    """Write the stores of backbones as files for other programs.

    Memory holds a few partitions at a time and the chunk of the index that they lie in, however large a store is. Every
    byte is checked on its way.

    Parameters
    ----------
    stores : sequence of Store
    target : str or Path
        The folder to make; it appears as a whole or not at all.
    file_format : {"npy", "parquet"}
        For each store a folder of ``.npy`` files and a ``samples.csv``, or one Parquet file.

    Returns
    -------
    dict of str to Path
        Where each store went, by its backbone's name.

    Raises
    ------
    UsageError
        If something is at `target` already, or it is no folder; if a store is not a backbone's, or two have one name.
    IncompleteError
        If a store's index is missing, or the library that writes Parquet.
    IntegrityError
        If a file of a store is not what was published.
    StorageError
        If the target cannot be written.
    """
    named = _by_name(stores)
    folder = _new_folder(target)
    write = _write_npy if file_format == "npy" else _parquet_writer()
    with _appearing_whole(folder) as unfinished:
        written = {name: write(store, unfinished / name).name for name, store in named.items()}
        described = {name: describe(store) for name, store in named.items()}
        content = {"format": file_format, "names": _NAMES, "stores": described}
        (unfinished / DESCRIPTION).write_text(json.dumps(content, indent=2), encoding="utf-8")
    return {name: folder / file for name, file in written.items()}


def describe(store: Store) -> dict[str, Any]:
    """Return what an export says of the origin of a store: the digests of its manifest and of its index's."""
    return {
        "dataset": store.dataset,
        "folder": store.folder,
        "key": store.manifest.key,
        "manifest": store.manifest_digest,
        "content": store.manifest.content,
        "index_manifest": store.index.manifest_digest,
        "rows": store.rows,
        "class_names": _class_names(store),
    }


def written_name(name: bytes) -> str:
    """Return a file's or class's name as text from which its bytes can be had back.

    Examples
    --------
    >>> from urllib.parse import unquote_to_bytes
    >>> written_name("é".encode() + b" 100%"), written_name(bytes([255, 10]))
    ('é 100%25', '%FF%0A')
    >>> unquote_to_bytes(written_name(bytes(range(256)))) == bytes(range(256))
    True
    """
    return "".join(
        character
        if character.isprintable() and character != "%"
        else "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogateescape"))
        for character in name.decode("utf-8", "surrogateescape")
    )


def _by_name(stores: Sequence[Store]) -> dict[str, Store]:
    found: dict[str, Store] = {}
    for store in stores:
        name = slug(store.name)
        if not store.is_backbone:
            raise UsageError(f"Store '{printable(store.folder)}' has no features to export. Name a backbone.")
        if name in found:
            raise UsageError(f"Two of the stores are called '{name}'. Export each of them into a folder of its own.")
        found[name] = store
    return found


def _new_folder(target: str | Path) -> Path:
    if is_remote(target):
        raise UsageError(f"'{printable(str(target))}' is no folder. Export into one, and copy that.")
    folder = Path(target).expanduser().absolute()
    if os.path.lexists(folder):
        raise UsageError(f"There is something at '{printable(str(folder))}' already. Choose another folder.")
    return folder


@contextmanager
def _appearing_whole(folder: Path) -> Iterator[Path]:
    """Yield a folder beside the target that takes its place at the end, or vanishes."""
    unfinished = folder.with_name(partial_name(folder.name))
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        for path in (unfinished, *unfinished.rglob("*")):
            sync_folder(path) if path.is_dir() else _sync_file(path)
        unfinished.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        where = printable(str(folder))
        raise StorageError(
            f"'{where}' cannot be written: {error.strerror or error}. Make room there, or choose another folder."
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _write_npy(store: Store, folder: Path) -> Path:
    """Write a store as a folder of arrays and a table of its samples."""
    folder.mkdir()
    for name in _matrices(store):
        array = store.array(name)
        _write_array(folder / f"{name}.npy", array.shape, np.dtype(array.dtype), _blocks(store, name))
    _write_array(folder / f"{layout.STATUS}.npy", (store.rows,), np.dtype(np.uint8), _blocks(store, layout.STATUS))
    labels = _Rows(store.index.array(layout.LABELS))
    blocks = (labels.between(rows.start, rows.stop) for rows in _partitions(store))
    _write_array(folder / f"{layout.LABELS}.npy", (store.rows,), np.dtype(np.int64), blocks)
    samples = _Samples(store)
    with (folder / "samples.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["row", "path", "sha256", "label", "class_name", *samples.columns])
        for rows in _partitions(store):
            table.writerows((row, *sample) for row, sample in enumerate(samples.between(rows), rows.start))
    return folder


def _write_array(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], blocks: Iterable[np.ndarray]) -> None:
    """Write an array block by block: unlike a mapped file, a full disk is then an error and no signal."""
    written = dtype.newbyteorder("<")
    header = {"descr": np.lib.format.dtype_to_descr(written), "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(np.ascontiguousarray(block, written).data)


def _parquet_writer() -> Callable[[Store, Path], Path]:
    try:
        import pyarrow.parquet  # noqa: F401, PLC0415 - few need it, and it takes long to load
    except ImportError:
        raise IncompleteError("Parquet needs pyarrow: run pip install 'fusion-pipeline[parquet]'.") from None
    return _write_parquet


def _write_parquet(store: Store, path: Path) -> Path:
    """Write a store as one Parquet file with a row group for each partition."""
    import pyarrow  # noqa: PLC0415
    from pyarrow.parquet import ParquetWriter  # noqa: PLC0415

    file, schema = path.with_name(f"{path.name}.parquet"), _schema(store)
    matrices = [_blocks(store, name) for name in (layout.STATUS, *_matrices(store))]
    samples = _Samples(store)
    # Features hardly compress and never repeat, so that a dictionary of them is lost work.
    options = {"compression": "NONE", "use_dictionary": ["class_name", *samples.columns]}
    with ParquetWriter(file, schema, **options) as writer:
        for rows, (status, *blocks) in zip(_partitions(store), zip(*matrices, strict=True), strict=True):
            paths, sums, *others = zip(*samples.between(rows), strict=True)
            columns = [paths, [sha256 or None for sha256 in sums], *others, status]
            lists = [pyarrow.FixedSizeListArray.from_arrays(block.reshape(-1), block.shape[1]) for block in blocks]
            arrays = [pyarrow.array(column, field.type) for column, field in zip(columns, schema, strict=False)]
            writer.write_table(pyarrow.Table.from_arrays([*arrays, *lists], schema=schema))
    return file


def _schema(store: Store) -> Any:
    import pyarrow  # noqa: PLC0415

    text, described = pyarrow.string(), {"names": _NAMES, **describe(store)}
    fields = {"sample_path": text, "sha256": text, "label": pyarrow.int32(), "class_name": text}
    fields |= dict.fromkeys(_Samples(store).columns, text)
    fields["status"] = pyarrow.uint8()
    for name in _matrices(store):
        array = store.array(name)
        fields[name] = pyarrow.list_(pyarrow.from_numpy_dtype(array.dtype), array.shape[1])
    return pyarrow.schema(list(fields.items()), metadata={"fusion": json.dumps(described)})


def _matrices(store: Store) -> list[str]:
    return [name for name in _MATRICES if f"{name}/zarr.json" in store.manifest.files]


def _partitions(store: Store) -> list[slice]:
    rows = store.manifest.partition_rows
    return [slice(start, min(start + rows, store.rows)) for start in range(0, store.rows, rows)]


def _blocks(store: Store, name: str) -> Iterator[np.ndarray]:
    """Yield the rows of an array partition by partition, some of them read ahead where that is worth while."""
    array, parts, at_once = store.array(name), _partitions(store), store.backend.concurrency
    for first in range(0, len(parts), at_once):
        yield from store.backend.map(lambda rows: np.asarray(array[rows]), parts[first : first + at_once])


class _Rows:
    """The rows of an array from front to back: each chunk is read once, and let go when its rows are over."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self._held: np.ndarray = np.asarray(array[:0])
        self._start = 0

    def between(self, start: int, stop: int) -> np.ndarray:
        """Return some rows, which follow upon those of the last call, or overlap them."""
        parts, end = [self._held[start - self._start :]], self._start + len(self._held)
        step, last = self._array.chunks[0], self._array.shape[0]
        firsts = range(end, min(stop, last), step)
        parts.extend(np.asarray(self._array[first : min(first + step, last)]) for first in firsts)
        self._held, self._start = np.concatenate(parts) if len(parts) > 1 else parts[0], start
        return self._held[: stop - start]


class _Samples:
    """What the index says of each sample, from front to back; `columns` are those that not every index has."""

    def __init__(self, store: Store) -> None:
        self._classes = _class_names(store)
        names = (layout.PATH_BYTES, layout.PATH_OFFSETS, layout.SHA256, layout.LABELS)
        self._bytes, self._offsets, self._sums, self._labels = (_Rows(store.index.array(name)) for name in names)
        columns = {layout.SPLITS: store.splits, layout.GROUPS: store.groups}
        self.columns = {name: found for name, found in columns.items() if found is not None}

    def between(self, rows: slice) -> Iterator[tuple[Any, ...]]:
        """Yield path, sha256 (empty for a file that could not be read), label, class name and columns of samples."""
        ends = self._offsets.between(rows.start, rows.stop + 1).tolist()
        content = self._bytes.between(ends[0], ends[-1]).tobytes()
        sums, labels = (column.between(rows.start, rows.stop) for column in (self._sums, self._labels))
        found = zip(pairwise(ends), sums, labels.tolist(), range(rows.start, rows.stop), strict=True)
        for (start, end), sha256, label, row in found:
            path = written_name(content[start - ends[0] : end - ends[0]])
            others = (_written_text(texts[row]) for texts in self.columns.values())
            yield path, sha256.tobytes().hex() if sha256.any() else "", label, self._classes[label], *others


def _class_names(store: Store) -> list[str]:
    return [_written_text(name) for name in store.class_names]


def _written_text(text: str) -> str:
    return written_name(text.encode("utf-8", "surrogateescape"))
