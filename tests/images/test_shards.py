"""Tar files: the same data set as the folder that they hold, labels beside images, and what is refused."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_pipeline.errors import FormatError, FusionError, RefusedError, UnusableDataError
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
    odd = ("\udcff", "new\nline", "esc\x1b", "e\u0301", "\u00e9")
    files = {
        **FILES,
        "cat/" + 200 * "n" + ".jpg": b"long",
        **{f"cat/{name}.jpg": name.encode(errors="ignore") for name in odd},
    }
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


def test_a_key_belongs_to_its_shard(tmp_path: Path) -> None:
    pack(tmp_path / "web" / "00.tar", {"0.jpg": b"zero", "0.cls": b"rose", "1.jpg": b"one", "1.json": b'{"label": 7}'})
    pack(tmp_path / "web" / "01.tar", {"0.png": b"other", "0.cls": b"iris", "1.png": b"", "1.json": b'{"label": 8}'})
    assert {sample: label for sample, (label, _) in contents(tmp_path / "web").items()} == {
        "0.jpg": "rose", "0.png": "iris", "1.jpg": "7", "1.png": "8",
    }  # fmt: skip


@pytest.mark.parametrize("document", ['{"label": "other"}', '{"author": "me"}', "{"])
@pytest.mark.parametrize("order", [1, -1])
def test_a_class_file_counts_before_json(tmp_path: Path, document: str, order: int) -> None:
    beside = {"0.cls": b"rose", "0.json": document.encode()}
    shard = pack(
        tmp_path / "web.tar", {"0.jpg": b"", "1.jpg": b"", "1.cls": b"iris", **dict([*beside.items()][::order])}
    )
    listing = list_images(shard)
    assert (listing.class_names, listing.labels, listing.ignored) == (("iris", "rose"), (1, 0), ())


@pytest.mark.parametrize("name", ["0.cls", "./0.cls", "0.CLS"])
def test_two_labels_of_one_image(tmp_path: Path, name: str) -> None:
    archive = pack(tmp_path / "web.tar", WEB)
    with tarfile.open(archive, "a") as opened:
        add(opened, name, b"8")
    with pytest.raises(UnusableDataError, match=r"'0.jpg' in .* has two labels beside it, '0.cls' and '0.(cls|CLS)'"):
        list_images(archive)


def test_two_images_of_one_sample(tmp_path: Path) -> None:
    """Of a picture and its mask, which share key and label, one would be a false image of the class."""
    archive = pack(tmp_path / "web.tar", {**WEB, "0.seg.png": b"mask"})
    with pytest.raises(UnusableDataError, match=r"'0.seg.png' in .* has the key of '0.jpg', but .* Leave out one"):
        list_images(archive)
    folders = {"cat/0.jpg": b"", "cat/0.seg.png": b"", "dog/1.jpg": b""}  # where a name is a name
    assert len(list_images(pack(tmp_path / "x.tar", folders))) == 3


@pytest.mark.parametrize("stray", ["cat/1.json", "cat/1.cls", "dog/3.JSON"])
@pytest.mark.parametrize("content", [b'{"author": "me"}', b'{"label": "bird"}'])
def test_a_stray_label_among_class_folders(tmp_path: Path, stray: str, content: bytes) -> None:
    files = {**FILES, stray: content}
    for name, text in files.items():
        path = tmp_path / "pets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
    folder, archive = list_image_folder(tmp_path / "pets"), list_images(pack(tmp_path / "pets.tar", files, "pets/"))
    assert (archive.listing, len(archive.ignored)) == (folder.listing, len(folder.ignored))


def test_labels_of_most_images_are_no_strays(tmp_path: Path) -> None:
    """Folders such as train and test must not become classes for want of one label."""
    files = {f"{part}/{i}{end}": b"7" for part in ("train", "test") for i in range(3) for end in (".jpg", ".cls")}
    files["test/0.cls"] = b"8"
    del files["train/2.cls"]
    with pytest.raises(UnusableDataError, match=r"'train/2.jpg' in .* has no .cls or .json beside it"):
        list_images(pack(tmp_path / "web.tar", files))


@pytest.mark.parametrize(
    "document", ["", "{", "[1]", "{}", '{"label": null}', '{"label": [1]}', r'{"label": "\ud800x"}', "[" * 100_000]
)
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
        ("cat/l.jpg", tarfile.CHRTYPE, "'cat/l.jpg' of .* is no file"),
        ("cat/l.jpg", tarfile.BLKTYPE, "'cat/l.jpg' of .* is no file"),
        ("cat/\x1b[2J\n.jpg", tarfile.SYMTYPE, r"'cat/\\x1b\[2J\\n.jpg' of .* is a link"),
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
    for _ in ("beside a shard", "alone"):
        with pytest.raises(FormatError, match="is compressed"):
            list_images(tmp_path / "some")
        (tmp_path / "some" / "00.tar").unlink(missing_ok=True)


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


def test_two_archives_in_one_file(tmp_path: Path) -> None:
    """Of which Python sees the first only; zeros behind the end are what tape drives want."""
    one, other = pack(tmp_path / "1.tar", FILES), pack(tmp_path / "2.tar", {"cat/9.jpg": b"", "dog/9.jpg": b""})
    both = tmp_path / "12.tar"
    both.write_bytes(one.read_bytes() + other.read_bytes())
    with pytest.raises(FormatError, match=r"goes on behind its end, at byte 10,240: these are two archives in one"):
        list_images(both)
    os.truncate(one, 64 << 20)
    assert len(list_images(one)) == 3
    with one.open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(FormatError, match=r"goes on behind its end, at byte 67,108,864"):
        list_images(one)


@pytest.mark.parametrize("name", ["cat/1.jpg", "./cat//1.jpg", "cat/./1.jpg"])
def test_a_name_that_occurs_twice_in_an_archive(tmp_path: Path, name: str) -> None:
    archive = pack(tmp_path / "x.tar", FILES)
    with tarfile.open(archive, "a") as opened:
        add(opened, name, b"other")
    with pytest.raises(UnusableDataError, match=r"'cat/1.jpg' occurs twice in '.*x.tar'"):
        list_images(archive)


def header(size: int, kind: bytes = tarfile.REGTYPE, field: bytes = b"") -> bytes:
    """Return a header for a member of any length, or with any field for it."""
    info = tarfile.TarInfo("cat/x.jpg")
    info.type, info.size = kind, size
    block = bytearray(info.tobuf(format=tarfile.GNU_FORMAT))
    block[124 : 124 + len(field)] = field
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(*fields: tuple[bytes, bytes]) -> bytes:
    """Return a header that overrides fields of the next one."""
    body = b""
    for keyword, value in fields:
        length = len(keyword) + len(value) + 3
        while len(b"%d %s=%s\n" % (length, keyword, value)) != length:
            length += 1
        body += b"%d %s=%s\n" % (length, keyword, value)
    return header(len(body), tarfile.XHDTYPE) + body + bytes(-len(body) % 512)


@pytest.mark.parametrize(
    "hostile",
    [
        header(1 << 60),
        header(0, field=b"\xff" * 11 + b"\0"),
        header(0, field=b"\xff" * 10 + b"\xfe\0"),
        header(0, field=b"no number"),
        header(1 << 50, tarfile.GNUTYPE_LONGNAME),
        pax((b"size", b"-512")) + header(0),
        pax((b"size", b"-1024")) + header(0),
        pax((b"size", b"1" + b"0" * 30)) + header(0),
        pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"9"))
        + header(512)
        + b"9" * 512,
        pax((b"comment", b"x")) * 3000 + header(0),
        (header(9, tarfile.GNUTYPE_LONGNAME) + b"cat/x.jpg".ljust(512, b"\0")) * 3000,
    ],
    ids=[
        "beyond",
        "-256",
        "-512",
        "no number",
        "name",
        "pax -512",
        "pax -1024",
        "pax beyond",
        "sparse",
        "deep",
        "long",
    ],
)
def test_a_hostile_header_ends_in_one_line(tmp_path: Path, hostile: bytes) -> None:
    """Some would be read for ever, some fill the memory, some end in half a dozen types of exceptions."""
    archive = pack(tmp_path / "x.tar", FILES)
    archive.write_bytes(archive.read_bytes().rstrip(b"\0").ljust(3584, b"\0") + hostile + bytes(1024))
    caught: list[FusionError] = []

    def list_it() -> None:
        try:
            list_images(archive)
        except FusionError as error:
            caught.append(error)

    reader = threading.Thread(target=list_it, daemon=True)
    reader.start()
    reader.join(timeout=20)
    assert not reader.is_alive()
    assert [error.exit_code for error in caught] in ([13], [16])
    assert str(caught[0]).isprintable()


@settings(max_examples=100, deadline=None)
@given(flips=st.lists(st.integers(0, 1 << 30), min_size=1, max_size=4))
def test_flipped_bits_raise_one_line_or_nothing(tmp_path_factory: pytest.TempPathFactory, flips: list[int]) -> None:
    archive = pack(tmp_path_factory.mktemp("flipped") / "x.tar", FILES)
    content = bytearray(archive.read_bytes()[:4608])
    for flip in flips:
        content[flip // 8 % len(content)] ^= 1 << flip % 8
    archive.write_bytes(content)
    with contextlib.suppress(FusionError):
        list_images(archive)


@pytest.mark.parametrize("name", ["01.tar", "01.tar.gz", "01.tgz"])
@pytest.mark.parametrize("follow_symlinks", [False, True])
def test_what_is_no_file_beside_shards_is_refused_and_never_blocks(
    tmp_path: Path, name: str, follow_symlinks: bool
) -> None:
    for made in ("fifo", "loop", "dangling", "device"):
        folder = pack(tmp_path / made / "00.tar", FILES).parent
        if made == "fifo":
            os.mkfifo(folder / name)
        else:
            (folder / name).symlink_to({"loop": name, "dangling": "nowhere", "device": "/dev/zero"}[made])
        caught: list[RefusedError] = []

        def list_it(folder: Path = folder, caught: list[RefusedError] = caught) -> None:
            try:
                list_images(folder, follow_symlinks=follow_symlinks)
            except RefusedError as error:
                caught.append(error)

        reader = threading.Thread(target=list_it, daemon=True)
        reader.start()
        reader.join(timeout=10)
        assert not reader.is_alive(), made
        assert len(caught) == 1, made


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
