"""Whole arrays read chunk by chunk into their place: every chunk checked, by either sum, from the cache or a copy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import google_crc32c
import numpy as np
import pytest

from fusion_pipeline.errors import IntegrityError
from fusion_pipeline.store import Store
from fusion_pipeline.store.bulk import Check, Piece, empty_matrix, is_plain, pieces, put_piece, read_piece
from fusion_pipeline.store.layout import ArraySpec, GroupEncoder
from fusion_pipeline.store.making.attempt import Attempt
from fusion_pipeline.store.manifest import FileEntry
from fusion_pipeline.store.metadata import ArrayMetadata
from fusion_pipeline.store.storage.backend import Backend
from fusion_pipeline.store.storage.local import LocalBackend
from tests.store.made import (
    DATASET,
    FEATURES,
    RECIPE,
    VERSION,
    as_format_1_0,
    open_store,
    publish,
    publish_index,
    publish_on,
    put_manifest,
)

CHECKS: tuple[Check, ...] = ("sha256", "crc32c")
CHUNK = "features/c/1/0"
LAST = "features/c/2/0"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    publish_index(tmp_path / "cache")
    return publish(tmp_path / "cache")


def again(store: Store, copy: Backend | None = None) -> Store:
    """Return the store as somebody sees it who opens it now."""
    return Store(store.backend, store.dataset, store.folder, copy)


def change(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("check", CHECKS)
def test_every_array_is_what_zarr_reads(store: Store, check: Check) -> None:
    for found in (store, store.index):
        arrays = {name.partition("/")[0] for name in found.manifest.files if "/" in name}
        assert len(arrays) >= 5
        for name in arrays:
            values = found.read(name, check)
            expected = np.asarray(found.array(name)[...])
            assert (values.dtype, values.shape) == (expected.dtype, expected.shape)
            assert np.array_equal(values, expected)


@pytest.mark.parametrize("check", CHECKS)
def test_from_every_storage(backend: Backend, check: Check) -> None:
    published = publish_on(backend)
    assert np.array_equal(published.read("features", check), FEATURES)
    backend.write(published.file(CHUNK), bytes(published.manifest.files[CHUNK].length))
    with pytest.raises(IntegrityError, match=CHUNK):
        published.read("features", check)


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 16, 17])
@pytest.mark.parametrize("shape", [(), (3,), (2, 2, 3)])
@pytest.mark.parametrize("check", CHECKS)
def test_whatever_is_left_for_the_last_chunk(tmp_path: Path, rows: int, shape: tuple[int, ...], check: Check) -> None:
    dimensions = tuple("abcd"[: len(shape) + 1])
    encoder = GroupEncoder([ArraySpec("values", shape, "int32", dimensions)], rows, 8)
    attempt = Attempt.open(LocalBackend(tmp_path), DATASET, "alpha", RECIPE, encoder)
    values = np.arange(rows * int(np.prod(shape)), dtype=np.int32).reshape(rows, *shape)
    samples = [f"{row:064x}" for row in range(rows)]
    for number in range(encoder.partitions):
        part = slice(8 * number, 8 * number + 8)
        attempt.write(number, {"values": values[part]}, samples[part], {})
    manifest, _ = attempt.publish(kind="backbone", dataset_digest=VERSION, samples=samples, arrays={}, made={})
    assert np.array_equal(open_store(LocalBackend(tmp_path), manifest).read("values", check), values)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("file", ["features/c/0/0", CHUNK, LAST])
def test_every_byte_is_checked(store: Store, file: str, check: Check) -> None:
    """Those of the rows, of what pads the last chunk, and of the chunk's own checksum."""
    path = store.path / file
    whole = path.read_bytes()
    for position in range(len(whole)):
        change(path, position)
        with pytest.raises(IntegrityError, match=f"{file}' is missing or damaged"):
            again(store).read("features", check)
        path.write_bytes(whole)
    assert np.array_equal(again(store).read("features", check), FEATURES)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("keep", [lambda content: b"", lambda content: content[:3], lambda content: content + b"x"])
def test_other_lengths_are_damage(store: Store, check: Check, keep: Callable[[bytes], bytes]) -> None:
    path = store.path / CHUNK
    path.write_bytes(keep(path.read_bytes()))
    with pytest.raises(IntegrityError, match=CHUNK):
        store.read("features", check)


@pytest.mark.parametrize("check", CHECKS)
def test_a_missing_chunk_is_damage(store: Store, check: Check) -> None:
    (store.path / CHUNK).unlink()
    with pytest.raises(IntegrityError, match=CHUNK):
        store.read("features", check)


@pytest.mark.parametrize("check", CHECKS)
def test_swapped_chunks_are_damage(store: Store, check: Check) -> None:
    """Each is whole in itself, its own checksum included."""
    one, two = store.path / "features/c/0/0", store.path / CHUNK
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    with pytest.raises(IntegrityError, match=r"features/c/[01]/0"):
        store.read("features", check)


def test_without_a_crc_the_sha256_is_compared(store: Store) -> None:
    older = as_format_1_0(store)
    assert older.manifest.files[CHUNK].crc32c is None
    assert np.array_equal(older.read("features", "crc32c"), FEATURES)
    change(older.path / CHUNK, 0)
    with pytest.raises(IntegrityError, match=CHUNK):
        older.read("features", "crc32c")


@pytest.mark.parametrize("check", CHECKS)
def test_the_sum_that_was_asked_for_is_compared(store: Store, check: Check) -> None:
    entry = store.manifest.files[CHUNK]
    wrong = replace(entry, sha256="0" * 64) if check == "sha256" else replace(entry, crc32c="0" * 8)
    forged = put_manifest(store, replace(store.manifest, files={**store.manifest.files, CHUNK: wrong}))
    with pytest.raises(IntegrityError, match=CHUNK):
        forged.read("features", check)
    (other,) = set(CHECKS) - {check}
    assert np.array_equal(forged.read("features", other), FEATURES)


class Counting(LocalBackend):
    """A folder that counts what is read from it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads: list[str] = []

    def read(self, path: str, at_most: int | None = None) -> bytes | None:
        self.reads.append(path)
        return super().read(path, at_most)

    def read_into(self, path: str, buffers: object) -> int | None:
        self.reads.append(path)
        return super().read_into(path, buffers)  # type: ignore[arg-type]


@pytest.fixture
def remote(store: Store) -> Counting:
    """The cache of the store, as if it were far away."""
    return Counting(Path(store.backend.location))


@pytest.fixture
def copy(tmp_path: Path) -> LocalBackend:
    return LocalBackend(tmp_path / "copy")


def open_remote(remote: Counting, store: Store, copy: LocalBackend) -> Store:
    found = Store(remote, store.dataset, store.folder, copy)
    remote.reads.clear()
    return found


@pytest.mark.parametrize("check", CHECKS)
def test_every_file_is_fetched_once(remote: Counting, store: Store, copy: LocalBackend, check: Check) -> None:
    chunks = [store.file(f"features/c/{number}/0") for number in range(3)]
    metadata = [store.file(name) for name in ("zarr.json", "features/zarr.json")]
    for expected in ([*chunks, *metadata], []):
        found = open_remote(remote, store, copy)
        assert np.array_equal(found.read("features", check), FEATURES)
        assert np.array_equal(found.read("features", check), FEATURES)
        assert np.array_equal(found.features[:], FEATURES)
        assert sorted(remote.reads) == sorted(expected)
    assert copy.read(store.file(CHUNK)) == (store.path / CHUNK).read_bytes()


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("damage", ["flip", "cut", "grown", "gone"])
def test_a_damaged_copy_is_fetched_again(
    remote: Counting, store: Store, copy: LocalBackend, check: Check, damage: str
) -> None:
    open_remote(remote, store, copy).read("features", check)
    path = copy.path(store.file(CHUNK))
    match damage:
        case "flip":
            change(path, 0)
        case "cut":
            path.write_bytes(b"1")
        case "grown":
            path.write_bytes(path.read_bytes() + b"1")
        case "gone":
            path.unlink()
    found = open_remote(remote, store, copy)
    assert np.array_equal(found.read("features", check), FEATURES)
    assert remote.reads == [store.file(CHUNK)]
    assert path.read_bytes() == (store.path / CHUNK).read_bytes()


@pytest.mark.parametrize("check", CHECKS)
def test_a_good_copy_needs_no_good_cache(remote: Counting, store: Store, copy: LocalBackend, check: Check) -> None:
    found = open_remote(remote, store, copy)
    found.fetch("features")
    change(store.path / CHUNK, 0)
    assert np.array_equal(found.read("features", check), FEATURES)


@pytest.mark.parametrize("check", CHECKS)
def test_damage_is_never_copied(remote: Counting, store: Store, copy: LocalBackend, check: Check) -> None:
    change(store.path / CHUNK, 0)
    with pytest.raises(IntegrityError, match=CHUNK):
        open_remote(remote, store, copy).read("features", check)
    assert copy.read(store.file(CHUNK)) is None


def test_what_is_fetched_beforehand_is_not_fetched_again(remote: Counting, store: Store, copy: LocalBackend) -> None:
    found = open_remote(remote, store, copy)
    found.fetch("features", "status")
    assert len(remote.reads) == len(set(remote.reads)) == 1 + 2 + 3 + 3
    remote.reads.clear()
    found.fetch("features")
    assert np.array_equal(found.read("features"), FEATURES)
    assert found.status.tolist() == [0] * 5
    assert remote.reads == []


def test_without_a_place_for_copies_nothing_is_fetched(remote: Counting, store: Store) -> None:
    Store(remote, store.dataset, store.folder).fetch("features")
    assert [path for path in remote.reads if "features" in path] == []


METADATA = ArrayMetadata("values", (5, 3), (2, 3), "float16")


def test_the_matrix_begins_at_a_cache_line() -> None:
    for rows in (1, 5, 1000):
        matrix = empty_matrix(replace(METADATA, shape=(rows, 3)))
        assert (matrix.shape, str(matrix.dtype), matrix.flags.c_contiguous) == ((rows, 3), "float16", True)
        assert matrix.ctypes.data % 64 == 0
        matrix[:] = 1


def test_pieces_fill_all_rows_in_order() -> None:
    files = {f"values/c/{number}/0": FileEntry.of(b"%d" % number) for number in range(3)}
    assert pieces(METADATA, files) == [
        Piece("values/c/0/0", files["values/c/0/0"], slice(0, 2)),
        Piece("values/c/1/0", files["values/c/1/0"], slice(2, 4)),
        Piece("values/c/2/0", files["values/c/2/0"], slice(4, 5)),
    ]


def test_a_piece_touches_its_own_rows_only(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path)
    body = np.arange(6, dtype=np.float16).tobytes()
    content = body + google_crc32c.value(body).to_bytes(4, "little")
    backend.write("chunk", content)
    piece = Piece("chunk", FileEntry.of(content), slice(4, 5))
    for fill in (
        lambda out: read_piece(backend, "chunk", piece, out, "crc32c"),
        lambda out: put_piece(content, piece, out),
    ):
        out = np.full((6, 3), 9, np.float16)
        assert fill(out) in (True, None)
        assert out[4].tolist() == [0, 1, 2]
        assert (np.delete(out, 4, axis=0) == 9).all()


@pytest.mark.parametrize(
    ("shape", "chunks", "plain"),
    [((5, 3), (2, 3), True), ((5,), (2,), True), ((5, 3), (2, 2), False), ((), (), False)],
)
def test_chunks_of_whole_rows_are_plain(shape: tuple[int, ...], chunks: tuple[int, ...], plain: bool) -> None:
    assert is_plain(ArrayMetadata("values", shape, chunks, "float16")) == plain
