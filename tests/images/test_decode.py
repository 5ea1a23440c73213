"""Turns sound, broken and hostile files into the reasons that decode must give for them."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import random
import socket
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fusion_pipeline.errors import UsageError
from fusion_pipeline.images import decode as decode_module
from fusion_pipeline.images.decode import DecodeBudget, RawFile, Reason, decode, decoder_identity, read_file
from tests.images.samples import bombs, encode, png, png_with, tiff

BUDGET = DecodeBudget()
ROSE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "PPM", "WEBP", "JPEG2000")
SAMPLES = {image_format: encode(ROSE, image_format) for image_format in FORMATS}
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(canary) (w) file closefile\n"


def reason_of(content: bytes, budget: DecodeBudget = BUDGET) -> Reason:
    decoded = decode(content, budget)
    assert (decoded.image is None) == (decoded.reason is not Reason.OK)
    return decoded.reason


def test_reasons_keep_their_numbers() -> None:
    assert {reason.name: reason.value for reason in Reason} == {
        "OK": 0,
        "EMPTY": 1,
        "NOT_AN_IMAGE": 2,
        "DAMAGED": 3,
        "TOO_MANY_PIXELS": 4,
        "TOO_LARGE": 5,
        "UNREADABLE": 6,
        "UNSUPPORTED": 7,
        "ELONGATED": 8,
    }
    assert len({reason.text for reason in Reason}) == len(Reason)


@pytest.mark.parametrize("image_format", FORMATS)
def test_each_format_is_read(image_format: str) -> None:
    image = decode(SAMPLES[image_format], BUDGET).image
    assert image is not None
    assert (image.mode, image.size) == ("RGB", (30, 20))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", Reason.EMPTY),
        (b"Roses are red.\n", Reason.NOT_AN_IMAGE),
        (b"BMW, a maker of cars, is no bitmap", Reason.NOT_AN_IMAGE),
        (b"\xff", Reason.NOT_AN_IMAGE),
        (HEIC, Reason.NOT_AN_IMAGE),
        (HEIC.replace(b"ftypheic", b"ftypmif1"), Reason.NOT_AN_IMAGE),
        (EPS, Reason.NOT_AN_IMAGE),
        (b"8BPS\0\1" + bytes(40), Reason.NOT_AN_IMAGE),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", Reason.NOT_AN_IMAGE),
        (b"\xc5\xd0\xd3\xc6" + bytes(26) + EPS, Reason.NOT_AN_IMAGE),
        (b"%PDF-1.7\n", Reason.NOT_AN_IMAGE),
        (encode(ROSE, "ICO"), Reason.NOT_AN_IMAGE),
        (encode(ROSE, "TGA"), Reason.NOT_AN_IMAGE),
        (b"icns" + bytes(20), Reason.NOT_AN_IMAGE),
        (b"\xff\x0a" + bytes(20), Reason.NOT_AN_IMAGE),  # JPEG XL
        (b"PF 1 1 -1.0\n" + bytes(12), Reason.NOT_AN_IMAGE),
        (b"garbage" + SAMPLES["JPEG"], Reason.NOT_AN_IMAGE),
        (SAMPLES["JPEG"][:3], Reason.DAMAGED),
        (SAMPLES["JPEG"][: len(SAMPLES["JPEG"]) // 2], Reason.DAMAGED),
        (SAMPLES["PNG"][:20], Reason.DAMAGED),
        (SAMPLES["PNG"][:-60], Reason.DAMAGED),
        (SAMPLES["WEBP"][:-9], Reason.DAMAGED),
        (SAMPLES["TIFF"][:100], Reason.DAMAGED),
        (SAMPLES["JPEG2000"][:40], Reason.DAMAGED),
    ],
)
def test_reason_for_what_is_no_image(content: bytes, reason: Reason) -> None:
    assert reason_of(content) is reason


@pytest.mark.parametrize("image_format", [*FORMATS, "progressive JPEG", "tiled JPEG2000", "AVIF"])
def test_cut_anywhere_a_file_gives_its_pixels_or_none(image_format: str) -> None:
    if image_format == "AVIF" and not decode_module._is_built_in("AVIF"):
        pytest.skip("this Pillow has no AVIF")
    options = {"progressive JPEG": {"progressive": True}, "tiled JPEG2000": {"tile_size": (16, 16)}}
    content = encode(ROSE, image_format.rsplit(maxsplit=1)[-1], **options.get(image_format, {}))
    whole = np.asarray(decode(content, BUDGET).image)
    step = max(1, len(content) // 300)
    for length in {*range(0, len(content), step), *range(min(260, len(content))), len(content) - 1}:
        decoded = decode(content[:length], BUDGET)
        if decoded.image is None:
            assert decoded.reason in {Reason.EMPTY, Reason.NOT_AN_IMAGE, Reason.DAMAGED}
        else:  # as a GIF without its last byte
            np.testing.assert_array_equal(np.asarray(decoded.image), whole)


def test_the_preview_in_a_cameras_raw_file_is_not_taken_for_the_picture() -> None:
    grey = tiff((4, 4), (8,), 1, bytes(16))
    assert reason_of(grey) is Reason.OK
    assert reason_of(b"II*\0\x10\0\0\0CR\2\0" + bytes(100)) is Reason.NOT_AN_IMAGE
    for kind, reason in ((0, Reason.OK), (1, Reason.NOT_AN_IMAGE), (2, Reason.OK)):
        page = (254, 4, 1, kind.to_bytes(4, "little"))
        assert reason_of(tiff((4, 4), (8,), 1, bytes(16), extra=page)) is reason


def test_the_name_decides_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rose.jpg"
    path.write_bytes(SAMPLES["PNG"])
    raw = read_file(path, BUDGET)
    assert raw.content is not None
    np.testing.assert_array_equal(np.asarray(decode(raw.content, BUDGET).image), np.asarray(ROSE))


def test_pixels_are_counted_to_the_last() -> None:
    assert reason_of(SAMPLES["PNG"], DecodeBudget(max_pixels=600)) is Reason.OK
    assert reason_of(SAMPLES["PNG"], DecodeBudget(max_pixels=599)) is Reason.TOO_MANY_PIXELS


def test_bytes_are_counted_to_the_last() -> None:
    length = len(SAMPLES["PNG"])
    assert reason_of(SAMPLES["PNG"], DecodeBudget(max_bytes=length)) is Reason.OK
    assert reason_of(SAMPLES["PNG"], DecodeBudget(max_bytes=length - 1)) is Reason.TOO_LARGE


@pytest.mark.parametrize(("pixels", "length"), [(0, 1), (178_956_971, 1), (1, 0)])
def test_budget_out_of_range_is_refused(pixels: int, length: int) -> None:
    with pytest.raises(UsageError, match="out of range"):
        DecodeBudget(max_pixels=pixels, max_bytes=length)


@pytest.mark.parametrize("size", [(60_000, 60_000), (10_000, 10_000)])
def test_bombs_are_refused(size: tuple[int, int]) -> None:
    assert {name: reason_of(content) for name, content in bombs(*size).items()} == dict.fromkeys(
        bombs(1, 1), Reason.TOO_MANY_PIXELS
    )


def test_bombs_are_refused_before_any_pixel_is_allocated() -> None:
    script = (
        "import resource\n"
        "import zlib\n"
        "from fusion_pipeline.images.decode import DecodeBudget, decode\n"
        "from tests.images.samples import bombs, png_with\n"
        "files = [*bombs(60_000, 60_000).values(), *bombs(10_000, 10_000).values()]\n"
        "text = b'x\\0\\0' + zlib.compress(bytes(200 << 20))\n"
        "files += [png_with(b'zTXt', text), png_with(b'iCCP', text), png_with(b'iTXt', b'x\\0\\1\\0\\0' + text[2:])]\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert not any(decode(content, DecodeBudget()).image for content in files)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 32 * 1024  # KiB; the smallest of them would need 100 MB


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
def test_compressed_text_is_read_up_to_a_megabyte(kind: bytes) -> None:
    for length, reason in ((1 << 20, Reason.OK), ((1 << 20) + 1, Reason.DAMAGED)):
        assert reason_of(png_with(kind, b"x\0\0" + zlib.compress(bytes(length)))) is reason


def test_only_the_first_of_many_frames_is_decoded() -> None:
    """A bomb of 2,000 frames of 1,000 pixels squared costs one of them."""
    frame = encode(Image.new("P", (1000, 1000)), "GIF")
    start = frame.index(b",", 13)
    content = frame[:start] + frame[start:-1] * 2000 + frame[-1:]
    started = time.perf_counter()
    assert reason_of(content) is Reason.OK
    assert time.perf_counter() - started < 2


def test_no_memory_is_no_fault_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(image: Image.Image) -> Image.Image:
        raise MemoryError

    monkeypatch.setattr(decode_module, "upright_rgb", fail)
    with pytest.raises(MemoryError):
        reason_of(SAMPLES["PNG"])


def test_a_build_of_pillow_without_a_codec_says_not_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_module, "_is_built_in", lambda image_format: image_format != "WEBP")
    assert reason_of(SAMPLES["WEBP"]) is Reason.NOT_AN_IMAGE
    assert reason_of(SAMPLES["PNG"]) is Reason.OK


@settings(max_examples=150, deadline=None)
@given(image_format=st.sampled_from(FORMATS), flips=st.lists(st.integers(0, 1 << 30), min_size=1, max_size=8))
def test_flipped_bits_never_raise(image_format: str, flips: list[int]) -> None:
    content = bytearray(SAMPLES[image_format])
    for flip in flips:
        content[flip // 8 % len(content)] ^= 1 << flip % 8
    reason_of(bytes(content), DecodeBudget(max_pixels=1_000_000))


@settings(max_examples=150, deadline=None)
@given(image_format=st.sampled_from(FORMATS), kept=st.integers(0, 60), tail=st.binary(max_size=200))
def test_random_bytes_never_raise(image_format: str, kept: int, tail: bytes) -> None:
    reason_of(SAMPLES[image_format][:kept] + tail, DecodeBudget(max_pixels=1_000_000))


def test_threads_decode_alike() -> None:
    alone = {name: np.asarray(decode(content, BUDGET).image) for name, content in SAMPLES.items()}
    names = random.Random(0).choices(FORMATS, k=200)
    with ThreadPoolExecutor(8) as pool:
        together = pool.map(lambda name: np.asarray(decode(SAMPLES[name], BUDGET).image), names)
    for name, pixels in zip(names, together, strict=True):
        np.testing.assert_array_equal(pixels, alone[name])


@pytest.mark.parametrize("length", [1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_content_and_digest_are_the_files(tmp_path: Path, length: int) -> None:
    content = random.Random(length).randbytes(length)
    path = tmp_path / "rose.jpg"
    path.write_bytes(content)
    assert read_file(path, BUDGET) == RawFile(hashlib.sha256(content).hexdigest(), content, Reason.OK)


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "rose.jpg"
    path.touch()
    assert read_file(path, BUDGET) == RawFile(hashlib.sha256().hexdigest(), b"", Reason.EMPTY)


def test_a_large_file_is_hashed_but_not_kept(tmp_path: Path) -> None:
    content = random.Random(0).randbytes(2_500_000)
    path = tmp_path / "rose.jpg"
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    assert read_file(path, DecodeBudget(max_bytes=2_499_999)) == RawFile(digest, None, Reason.TOO_LARGE)
    assert read_file(path, DecodeBudget(max_bytes=2_500_000)).content == content


@pytest.mark.parametrize("name", [b"-rose.jpg", b"ro\nse\x1b[2J.jpg", b"\xff.jpg", "e\u0301é.jpg".encode()])
def test_any_name_is_opened(tmp_path: Path, name: bytes) -> None:
    path = os.path.join(os.fsencode(tmp_path), name)
    with open(path, "wb") as file:
        file.write(b"x")
    assert read_file(path, BUDGET).content == b"x"


def test_a_file_is_opened_once_and_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rose.jpg"
    path.write_bytes(SAMPLES["JPEG"])
    opened: list[tuple[object, int]] = []

    def counted(path: Path, *arguments: int, open_file: object = os.open) -> int:
        assert callable(open_file)
        descriptor: int = open_file(path, *arguments)
        opened.append((path, descriptor))
        return descriptor

    def no_other(*arguments: object, **options: object) -> None:
        raise AssertionError(f"opened once more: {arguments}")

    monkeypatch.setattr(os, "open", counted)
    monkeypatch.setattr("builtins.open", no_other)
    raw = read_file(path, BUDGET)
    assert raw.content is not None
    assert reason_of(raw.content) is Reason.OK
    assert [path for path, _ in opened] == [path]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0][1])


def test_what_is_no_regular_file_is_unreadable_and_never_blocks(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "folder.jpg").mkdir()
    found: list[RawFile] = []

    def read_all() -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.path.relpath(tmp_path / "socket.jpg"))
            names = ("fifo.jpg", "loop.jpg", "folder.jpg", "socket.jpg", "missing.jpg", "nu\0ll.jpg")
            found.extend(read_file(tmp_path / name, BUDGET) for name in names)

    reader = threading.Thread(target=read_all, daemon=True)
    reader.start()
    reader.join(timeout=10)
    assert not reader.is_alive()
    assert found == [RawFile("", None, Reason.UNREADABLE)] * 6


def test_an_input_output_error_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int, length: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    path = tmp_path / "rose.jpg"
    path.write_bytes(b"x")
    monkeypatch.setattr(os, "read", fail)
    assert read_file(path, BUDGET) == RawFile("", None, Reason.UNREADABLE)


def test_no_permission_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, flags: int) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", refuse)
    assert read_file(tmp_path / "rose.jpg", BUDGET) == RawFile("", None, Reason.UNREADABLE)


def test_identity_names_library_and_policy() -> None:
    assert decoder_identity() == {"library": "Pillow", "major": int(PIL.__version__.split(".")[0]), "policy": "1"}


def test_png_header_alone_is_damaged() -> None:
    assert reason_of(png(4, 4, 8, 2, b"")) is Reason.DAMAGED


@pytest.mark.parametrize(
    ("size", "reason"), [((1, 100), Reason.OK), ((1, 101), Reason.ELONGATED), ((202, 2), Reason.ELONGATED)]
)
def test_a_strip_is_refused_before_it_is_resized(size: tuple[int, int], reason: Reason) -> None:
    stream = io.BytesIO()
    Image.new("RGB", size).save(stream, "PNG")
    assert decode(stream.getvalue(), DecodeBudget()).reason is reason
