"""Rows 11 to 16 and 28 of the faults, as people meet them: bad images, odd names, links and dying processes."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fusion_pipeline.extract.loading.decoders import ProcessDecoder, Timed
from fusion_pipeline.store import Cache
from tests.builders import Tiny, write_pictures, write_settings
from tests.commands.made import failure, fusion
from tests.images.samples import bombs, encode, tiff

ROSE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8))
SOUND = {kind: encode(ROSE, kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF")}
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"

NO_IMAGE = "not an image in a format that is read"
DAMAGED = "damaged, cut short or of an unknown kind"
TOO_MANY = "more pixels than the decode budget allows"
BAD = {
    "empty.jpg": (b"", "empty file"),
    "text.jpg": (b"Roses are red.\n", NO_IMAGE),
    "eps.jpg": (EPS, NO_IMAGE),
    "pdf.jpg": (b"%PDF-1.7\n", NO_IMAGE),
    "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", NO_IMAGE),
    "phone.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64), NO_IMAGE),
    "icon.ico": (encode(ROSE, "ICO"), NO_IMAGE),
    "camera.nef": (tiff((4, 4), (8,), 1, bytes(16), extra=(254, 4, 1, b"\1\0\0\0")), NO_IMAGE),
    **{f"half {kind}.jpg": (content[: len(content) // 2], DAMAGED) for kind, content in SOUND.items()},
    "head.jpg": (SOUND["JPEG"][:40], DAMAGED),
    "60k.png": (bombs(60_000, 60_000)["PNG"], TOO_MANY),
    "100 MP.png": (bombs(10_000, 10_000)["JPEG"], TOO_MANY),
    "strip.png": (encode(Image.new("L", (20_000, 1)), "PNG"), "more than 100 times as long as wide"),
    "infinite.tif": (
        encode(Image.fromarray(np.array([[1, np.inf]], dtype=np.float32)), "TIFF"),
        "pixel values with no agreed colour (float out of range, NaN)",
    ),
}
REASONS = {f"rose/{name}": reason for name, (_, reason) in BAD.items()}


@pytest.fixture
def here(tmp_path: Path, tiny_resnet: Tiny, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configured folder: three classes of two pictures, one backbone, no cache yet."""
    write_settings(tmp_path, write_pictures(tmp_path / "flowers", per_class=2), [tiny_resnet])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pack(folder: Path) -> Path:
    archive = folder.with_suffix(".tar")
    with tarfile.open(archive, "w") as opened:
        opened.add(folder, folder.name)
    return archive


def write_table(folder: Path) -> Path:
    table = folder / "flowers.csv"
    rows = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path != table)
    table.write_bytes(b"path,label\n" + b"".join(b'"%s",%s\n' % (bytes(row), bytes(row.parent)) for row in rows))
    return table


@pytest.fixture
def bad(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All bad images among the roses, and a Ghostscript that tells when it is started."""
    for name, (content, _) in BAD.items():
        (here / "flowers" / "rose" / name).write_bytes(content)
    ghostscript = here / "bin" / "gs"
    ghostscript.parent.mkdir()
    ghostscript.write_text(f"#!/bin/sh\ntouch {here}/canary\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ghostscript.parent}:{os.environ['PATH']}")
    assert shutil.which("gs") == str(ghostscript)
    return here


@pytest.mark.parametrize("where", ["threads", "processes"])
def test_all_bad_images_are_listed_or_skipped(bad: Path, where: str) -> None:
    arguments = ("extract", "--decode-in", where)
    stopped = fusion(*arguments)
    assert stopped.code == 17
    assert f"Error: {len(BAD)} of {6 + len(BAD)} images cannot be used. Mend or remove them" in stopped.errors
    listed = dict(line.strip().split(": ", 1) for line in stopped.errors.splitlines() if line.startswith("  "))
    assert listed == REASONS
    assert Cache(bad / "cache")["flowers"].stores() == ()
    for place, rows in ((bad / "flowers", 6 + len(BAD)), (pack(bad / "flowers"), 0), (write_table(bad / "flowers"), 0)):
        skipped = fusion(*arguments, "--data", str(place), "--on-bad", "skip", "--json")
        assert skipped.code == 3
        (store,) = skipped.document["stores"]
        assert {item["sample"]: item["reason"] for item in store["bad"]} == REASONS
        assert store["computed"] == rows, "the same images in a tar file or a table are the same data set"
    features = Cache(bad / "cache")["flowers"]["small_resnet"].features[:]
    assert np.isnan(features).all(axis=1).sum() == len(BAD)
    assert np.isfinite(features).all(axis=1).sum() == 6
    assert fusion(*arguments, "--data", str(pack(bad / "flowers"))).code == 17
    assert not (bad / "canary").exists()
    assert fusion("cache", "verify").code == 0


def test_a_class_without_a_usable_image_is_named(here: Path) -> None:
    for picture in (here / "flowers" / "rose").iterdir():
        picture.write_bytes(b"")
    write_pictures(here / "flowers", per_class=4, classes=("iris", "tulip"))
    assert fusion("extract", "--on-bad", "skip").code == 3
    line = failure(17, "train", "--executor", "loop", "--gate", "average", "--folds", "2")
    assert "Class 'rose' has 0 usable images, but 2 folds need at least 4" in line


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda data: (data / "lily").mkdir(), "Class 'lily' in .* has no images; at least 1 is needed"),
        (lambda data: [shutil.rmtree(data / name) for name in ("iris", "rose")], "single class, 'tulip'. At least 2"),
    ],
    ids=["empty", "single"],
)
def test_classes_that_are_none(here: Path, made: Callable[[Path], object], message: str) -> None:
    made(here / "flowers")
    assert re.search(message, failure(17, "extract"))


def test_a_class_with_one_image_is_named_with_the_minimum(here: Path) -> None:
    write_pictures(here / "flowers", per_class=4)
    write_pictures(here / "flowers", per_class=1, classes=("lily",), seed=1)
    assert fusion("extract").code == 0
    assert "Class 'lily' has 1 usable image, but 2 folds need at least 4" in failure(17, "train", "--folds", "2")


ODD_NAMES = ("esc\x1b[2J.png", "new\nline.png", "byte\udcff.png", "-dash.png", "nfd e\u0301.png", "nfc \u00e9.png")


@pytest.mark.parametrize("pack_it", [lambda folder: folder, pack, write_table], ids=["folder", "tar", "table"])
def test_odd_names_round_trip_and_are_escaped(here: Path, pack_it: Callable[[Path], Path]) -> None:
    for name in ODD_NAMES:
        (here / "flowers" / "rose" / name).write_bytes(b"")
    place = str(pack_it(here / "flowers"))
    for arguments in (("extract",), ("extract", "--on-bad", "skip")):
        outcome = fusion(*arguments, "--data", place)
        shown = outcome.output + outcome.errors
        assert outcome.code in (17, 3)
        assert [part for part in ("\x1b", "\udcff", "new\nline") if part in shown] == []
        for name in ("esc\\x1b[2J.png", "new\\nline.png", "byte\\xff.png", "-dash.png", "e\u0301.png", "\u00e9.png"):
            assert f"{name}: empty file" in shown
    (store,) = fusion("extract", "--on-bad", "skip", "--data", place, "--json").document["stores"]
    assert {item["sample"] for item in store["bad"]} == {f"rose/{name}" for name in ODD_NAMES}


def test_links_and_what_is_no_file_end_at_once(here: Path) -> None:
    data = here / "flowers"
    shards = here / "shards"
    shards.mkdir()
    pack(data).rename(shards / "0.tar")
    os.mkfifo(shards / "1.tar.gz")
    assert "1.tar.gz' is no file" in failure(16, "extract", "--data", "shards")
    (here / "away").symlink_to(data / "rose")
    table = here / "flowers.csv"
    table.write_text("path,label\nflowers/iris/000.png,iris\naway/000.png,rose\n")
    assert "lies behind a symbolic link. Give --follow-symlinks" in failure(16, "extract", "--data", str(table))
    assert fusion("extract", "--data", str(table), "--follow-symlinks").code == 0
    (data / "loop").symlink_to("loop")
    assert "'loop' in" in failure(16, "extract")
    assert "leads nowhere" in failure(17, "extract", "--follow-symlinks")
    (data / "loop").unlink()
    os.mkfifo(data / "rose" / "fifo.jpg")
    assert "is a FIFO" in failure(16, "extract")


def test_a_decoding_process_that_dies(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(here / "flowers", per_class=4)
    true = ProcessDecoder.__call__

    def killing(self: ProcessDecoder, *arguments: object) -> Timed:
        timed = true(self, *arguments)  # type: ignore[arg-type]
        for worker in list(self._pool._processes):
            os.kill(worker, signal.SIGKILL)
        return timed

    processes = ("extract", "--decode-in", "processes")
    with monkeypatch.context() as patch:
        patch.setattr(ProcessDecoder, "__call__", killing)
        died = fusion(*processes, "--json")
    assert (died.code, died.document["error"]["exit_code"]) == (18, 18)
    assert died.errors.splitlines()[-1] == f"Error: {died.document['error']['message']}"
    assert "nothing that was written is lost" in died.errors
    assert Cache(here / "cache")["flowers"].stores() == ()
    assert fusion(*processes).code == 0
    assert fusion("cache", "verify").code == 0


def test_a_container_without_shared_memory(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    line = failure(18, "extract", "--decode-in", "processes")
    assert "Use --decode-in threads or fewer --workers, or give the container more" in line
    assert fusion("extract", "--decode-in", "threads").code == 0
