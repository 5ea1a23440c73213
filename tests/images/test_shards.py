"""Tar files: the same data set as the folder that they hold, labels beside images, and what is refused."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from fusion_pipeline.errors import FormatError, RefusedError, UnusableDataError
from fusion_pipeline.images.decode import DecodeBudget, read_file
from fusion_pipeline.images.index import list_image_folder
from fusion_pipeline.images.inputs import list_images

FILES = {"cat/1.jpg": b"one", "cat/deep/2.png": b"two", "dog/3.jpg": b"", "dog/notes.txt": b"x"}
WEB = {"0.jpg": b"zero", "0.cls": b"7\n", "a/1.b.png": b"one", "a/1.json": b'{"label": "rose"}', "readme": b""}


def pack(file: Path, files: dict[str, bytes], prefix: str = "", tar_format: int = tarfile.PAX_FORMAT) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w", format=tar_format, encoding="utf-8", errors="surrogateescape") as archive:
        for name, content in files.items():
            add(archive, prefix + name, content)
    return file


def add(archive: tarfile.TarFile, name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(content), "x" if kind in b"12" else ""
    archive.addfile(info, io.BytesIO(content))


def contents(place: Path) -> dict[str, tuple[str, bytes | None]]:
    listing = list_images(place)
    return {
        sample: (listing.class_names[listing.labels[row]], read_file(listing.place(row), DecodeBudget()).content)
        for row, sample in enumerate(listing.sample_ids)
    }


@pytest.mark.parametrize("tar_format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("prefix", ["", "./", "pets/", "./pets/"])
def test_an_archive_of_a_folder_is_the_same_data_set(tmp_path: Path, prefix: str, tar_format: int) -> None:
    files = {**FILES, "cat/" + 200 * "n" + ".jpg": b"long", "cat/\udcff.jpg": b"bytes"}
    for name, content in files.items():
        path = tmp_path / "pets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    archive = pack(tmp_path / "pets.tar", {**files, "cat/._1.jpg": b"", "__MACOSX/cat/1.jpg": b""}, prefix, tar_format)
    listing, folder = list_images(archive), list_image_folder(tmp_path / "pets")
    assert (listing.name, listing.listing) == (folder.name, folder.listing)
    assert contents(archive) == contents(tmp_path / "pets")


def test_shards_of_a_folder(tmp_path: Path) -> None:
    pack(tmp_path / "pets" / "00.tar", dict(list(FILES.items())[:2]))
    pack(tmp_path / "pets" / "01.tar", dict(list(FILES.items())[2:]))
    (tmp_path / "pets" / "README.md").write_text("")
    assert contents(tmp_path / "pets") == contents(pack(tmp_path / "pets.tar", FILES))
    pack(tmp_path / "pets" / "02.tar", {"cat/1.jpg": b"other"})
    with pytest.raises(UnusableDataError, match=r"'cat/1.jpg' occurs twice in '.*00.tar' and '.*02.tar'"):
        list_images(tmp_path / "pets")


def test_labels_beside_the_images(tmp_path: Path) -> None:
    shard = pack(tmp_path / "web.tar", WEB)
    assert contents(shard) == {"0.jpg": ("7", b"zero"), "a/1.b.png": ("rose", b"one")}
    assert list_images(shard).ignored == (b"readme",)


@pytest.mark.parametrize("document", ["", "{", "[1]", "{}", '{"label": null}', '{"label": [1]}', "[" * 100_000])
def test_no_label_beside_an_image(tmp_path: Path, document: str) -> None:
    with pytest.raises(UnusableDataError, match=r"'a/1.json' in .* has not a \"label\""):
        list_images(pack(tmp_path / "web.tar", {**WEB, "a/1.json": document.encode()}))


def test_faults_of_labels(tmp_path: Path) -> None:
    with pytest.raises(UnusableDataError, match=r"'0.cls' in .* has not a label in it"):
        list_images(pack(tmp_path / "web.tar", {**WEB, "0.cls": b" \n"}))
    with pytest.raises(UnusableDataError, match=r"Image 'x.jpg' in .* has no .cls or .json beside it"):
        list_images(pack(tmp_path / "web.tar", {**WEB, "x.jpg": b""}))
    with pytest.raises(UnusableDataError, match=r"Image 'x.jpg' in .* has no label"):
        list_images(pack(tmp_path / "web.tar", {**FILES, "x.jpg": b""}))
    with pytest.raises(UnusableDataError, match="single class, 'cat'"):
        list_images(pack(tmp_path / "web.tar", {"cat/1.jpg": b"", "cat/2.jpg": b""}))


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("cat/l.jpg", tarfile.SYMTYPE, "'cat/l.jpg' of .* is a link"),
        ("cat/l.jpg", tarfile.LNKTYPE, "'cat/l.jpg' of .* is a link"),
        ("cat/l.jpg", tarfile.FIFOTYPE, "'cat/l.jpg' of .* is no file"),
        ("cat/../../l.jpg", tarfile.REGTYPE, "leads out of the archive"),
        ("/etc/l.jpg", tarfile.REGTYPE, "leads out of the archive"),
    ],
)
def test_members_that_are_refused(tmp_path: Path, name: str, kind: bytes, message: str) -> None:
    archive = pack(tmp_path / "x.tar", FILES)
    with tarfile.open(archive, "a") as opened:
        add(opened, name, kind=kind)
    with pytest.raises(RefusedError, match=message):
        list_images(archive)


def test_a_sparse_member_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        info = tarfile.TarInfo("cat/1.jpg")
        info.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": "9", "GNU.sparse.major": "0"}
        archive.addfile(info)
    with pytest.raises(RefusedError, match="is a sparse file"):
        list_images(tmp_path / "x.tar")


@pytest.mark.parametrize("mode", ["gz", "bz2", "xz"])
def test_compressed_archives_are_refused(tmp_path: Path, mode: str) -> None:
    for name in (f"x.tar.{mode}", "x.tar"):
        with tarfile.open(tmp_path / name, f"w:{mode}") as archive:  # type: ignore[call-overload]
            add(archive, "cat/1.jpg")
        with pytest.raises(FormatError, match=r"is compressed \(.*\), .* Unpack it first: \w+ <"):
            list_images(tmp_path / name)
    pack(tmp_path / "some" / "00.tar", FILES)
    os.rename(tmp_path / f"x.tar.{mode}", tmp_path / "some" / f"01.tar.{mode}")
    with pytest.raises(FormatError, match="is compressed"):
        list_images(tmp_path / "some")


@pytest.mark.parametrize("length", [0, 100, 512, 700, 1000, 1536, 3000])
def test_an_archive_that_is_cut_short_or_damaged(tmp_path: Path, length: int) -> None:
    archive = pack(tmp_path / "x.tar", {f"{'ab'[i % 2]}/{i}.jpg": 600 * b"x" for i in range(4)})
    whole = archive.read_bytes()
    archive.write_bytes(whole[:length])
    with pytest.raises(FormatError, match=r"is no tar file|damaged or cut short at byte"):
        list_images(archive)
    archive.write_bytes(whole[:1536] + b"\1" * 300 + whole[1836:])  # the second header
    with pytest.raises(FormatError, match="damaged or cut short at byte 1,536"):
        list_images(archive)


def test_links_to_shards(tmp_path: Path) -> None:
    pack(tmp_path / "elsewhere.tar", FILES)
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets" / "00.tar").symlink_to(tmp_path / "elsewhere.tar")
    with pytest.raises(RefusedError, match=r"00.tar' is a symbolic link"):
        list_images(tmp_path / "pets")
    assert len(list_images(tmp_path / "pets", follow_symlinks=True)) == 3
    (tmp_path / "pets" / "00.tar").unlink()
    os.mkfifo(tmp_path / "pets" / "00.tar")
    with pytest.raises(RefusedError, match=r"00.tar' is no file"):
        list_images(tmp_path / "pets")
