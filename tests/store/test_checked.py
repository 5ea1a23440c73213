"""Files of a published store as Zarr asks for them: whole or in ranges, and never unchecked."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype

from fusion_pipeline.errors import IntegrityError
from fusion_pipeline.store import Store
from fusion_pipeline.store.checked import CheckedFiles
from fusion_pipeline.store.storage.local import LocalBackend
from tests.store.made import publish, root_of

FILE = "features/zarr.json"
REQUESTS = {
    RangeByteRequest(2, 7): slice(2, 7),
    OffsetByteRequest(5): slice(5, None),
    SuffixByteRequest(4): slice(-4, None),
    None: slice(None),
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return publish(tmp_path)


@pytest.fixture
def files(store: Store) -> CheckedFiles:
    return CheckedFiles(store.backend, str(store.path.relative_to(root_of(store))), store.manifest)


def read(files: CheckedFiles, name: str, request: ByteRequest | None) -> bytes | None:
    found = asyncio.run(files.get(name, byte_range=request))
    return None if found is None else found.to_bytes()


@pytest.mark.parametrize("request_", REQUESTS, ids=str)
def test_ranges_of_a_file(store: Store, files: CheckedFiles, request_: ByteRequest | None) -> None:
    whole = (store.path / FILE).read_bytes()
    assert read(files, FILE, request_) == whole[REQUESTS[request_]]


def test_several_ranges_at_once(store: Store, files: CheckedFiles) -> None:
    whole = (store.path / FILE).read_bytes()
    asked = [(FILE, RangeByteRequest(0, 3)), ("nothing", None), (FILE, SuffixByteRequest(1))]
    found = asyncio.run(files.get_partial_values(default_buffer_prototype(), asked))
    assert [None if part is None else part.to_bytes() for part in found] == [whole[:3], None, whole[-1:]]


def test_a_good_range_of_a_damaged_file_is_refused(store: Store, files: CheckedFiles) -> None:
    content = (store.path / FILE).read_bytes()
    (store.path / FILE).write_bytes(content[:-1] + b"x")
    with pytest.raises(IntegrityError, match=FILE):
        read(files, FILE, RangeByteRequest(0, 3))


def test_what_the_manifest_does_not_name_is_not_there(store: Store, files: CheckedFiles) -> None:
    (store.path / "stranger").write_bytes(b"1")
    assert read(files, "stranger", None) is None
    assert not asyncio.run(files.exists("stranger"))
    assert asyncio.run(files.exists(FILE))


@pytest.mark.parametrize("copied", [None, b"", b"damaged", b"{}"])
def test_a_copy_is_checked_like_the_cache(store: Store, tmp_path: Path, copied: bytes | None) -> None:
    copy = LocalBackend(tmp_path / "copy")
    prefix = str(store.path.relative_to(root_of(store)))
    whole = (store.path / FILE).read_bytes()
    if copied is not None:
        copy.write(f"{prefix}/{FILE}", copied.ljust(len(whole), b" ") if copied == b"{}" else copied)
    files = CheckedFiles(store.backend, prefix, store.manifest, copy)
    assert read(files, FILE, None) == whole
    assert copy.read(f"{prefix}/{FILE}") == whole
    (store.path / FILE).unlink()
    assert read(files, FILE, RangeByteRequest(2, 7)) == whole[2:7]
