"""Turns the rows of the conversion table into golden pixels, each worked out by hand."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from fusion_pipeline.images.colour import to_rgb, upright_rgb
from fusion_pipeline.images.decode import DecodeBudget, Reason, decode
from tests.images.samples import encode, exif_block, jpeg_with_broken_exif, png, striped, tiff

RED, BLUE, WHITE, BLACK = (255, 0, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def grey(*values: int) -> list[tuple[int, int, int]]:
    return [(value, value, value) for value in values]


def first_row(content: bytes) -> list[tuple[int, ...]]:
    decoded = decode(content, DecodeBudget())
    assert decoded.reason is Reason.OK
    assert decoded.image is not None
    assert decoded.image.mode == "RGB"
    return [tuple(pixel) for pixel in np.asarray(decoded.image)[0].tolist()]


def palette_image(*indices: int, **info: Any) -> Image.Image:
    image = striped(*indices, mode="P")
    image.putpalette([*RED, *BLUE, 10, 20, 30])
    image.info.update(info)
    return image


def float_tiff(*values: float) -> bytes:
    return encode(Image.fromarray(np.array([values], dtype=np.float32)), "TIFF")


def test_one_bit() -> None:
    assert first_row(encode(striped(0, 255, mode="1"), "PNG")) == grey(0, 255)


@pytest.mark.parametrize("image_format", ["PNG", "BMP", "TIFF", "PPM", "JPEG2000"])
def test_grey(image_format: str) -> None:
    assert first_row(encode(striped(0, 7, 255, mode="L"), image_format)) == grey(0, 7, 255)


@pytest.mark.parametrize("image_format", ["PNG", "BMP", "TIFF", "PPM", "JPEG2000", "DIB"])
def test_rgb(image_format: str) -> None:
    assert first_row(encode(striped(RED, (1, 2, 3)), image_format)) == [RED, (1, 2, 3)]


def test_webp() -> None:
    assert first_row(encode(striped(RED, (1, 2, 3)), "WEBP", lossless=True)) == [RED, (1, 2, 3)]


@pytest.mark.skipif(
    "avif" not in features.modules or not features.check_module("avif"), reason="this Pillow has no AVIF"
)
def test_avif() -> None:
    content = encode(Image.new("RGB", (16, 16), (200, 100, 50)), "AVIF", quality=100, subsampling="4:4:4")
    np.testing.assert_allclose(first_row(content), [(200, 100, 50)] * 16, atol=3)


def test_palette() -> None:
    assert first_row(encode(palette_image(0, 1, 2), "PNG")) == [RED, BLUE, (10, 20, 30)]


# Over white a value c with opacity a becomes (c a + 255 (255 - a)) / 255: 0 at 51 gives 204, 100 at 128 gives 177.2.
def test_grey_with_alpha_is_laid_over_white() -> None:
    image = striped((0, 51), (100, 128), (9, 255), (9, 0), mode="LA")
    assert first_row(encode(image, "PNG")) == grey(204, 177, 9, 255)


@pytest.mark.parametrize(("image_format", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
def test_rgba_is_laid_over_white(image_format: str, options: dict[str, Any]) -> None:
    image = striped((0, 100, 255, 51), (1, 2, 3, 255), (1, 2, 3, 0), mode="RGBA")
    assert first_row(encode(image, image_format, **options)) == [(204, 224, 255), (1, 2, 3), WHITE]


def test_palette_with_alpha_is_laid_over_white() -> None:
    content = encode(palette_image(0, 1, 2), "PNG", transparency=bytes([255, 0, 51]))
    assert first_row(content) == [RED, WHITE, (206, 208, 210)]


def test_palette_with_one_transparent_colour() -> None:
    assert first_row(encode(palette_image(0, 1, 2), "GIF", transparency=1)) == [RED, WHITE, (10, 20, 30)]


def test_palette_and_alpha_channel() -> None:
    image = palette_image(0, 1).convert("PA")
    image.putalpha(striped(255, 51, mode="L"))
    np.testing.assert_array_equal(np.asarray(to_rgb(image))[0], [RED, (204, 204, 255)])


def test_colour_key_is_laid_over_white() -> None:
    rgb = png(2, 1, 8, 2, bytes([0, 1, 2, 3, 4, 5, 6]), struct.pack(">3H", 1, 2, 3))
    assert first_row(rgb) == [WHITE, (4, 5, 6)]
    assert first_row(png(2, 1, 8, 0, bytes([0, 7, 8]), struct.pack(">H", 7))) == grey(255, 8)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette_of_any_depth_with_alpha(bits: int) -> None:
    image = palette_image(0, 1)
    assert first_row(encode(image, "PNG", bits=bits, transparency=bytes([51, 255]))) == [(255, 204, 204), BLUE]
    assert first_row(encode(image, "PNG", bits=bits, transparency=1)) == [RED, WHITE]


def test_colour_key_of_a_1_bit_png() -> None:
    assert first_row(png(2, 1, 1, 0, b"\0\x40", struct.pack(">H", 0))) == grey(255, 255)
    assert first_row(png(2, 1, 1, 0, b"\0\x40", struct.pack(">H", 1))) == grey(0, 255)


@pytest.mark.parametrize(("bits", "levels"), [(2, (0, 85, 170, 255)), (4, (0, 17, 34, 51))])
def test_colour_key_of_a_2_or_4_bit_png_is_ignored(bits: int, levels: tuple[int, ...]) -> None:
    row = b"\0" + (b"\x1b" if bits == 2 else b"\x01\x23")
    for key in range(4):
        assert first_row(png(4, 1, bits, 0, row, struct.pack(">H", key))) == grey(*levels)


# Premultiplied, 50 at 128 stands for 50 * 255 / 128 = 99, which is 177 over white; 25 for 49, which is 152.
def test_premultiplied_alpha_is_laid_over_white() -> None:
    rgba = bytes([50, 25, 0, 128])
    assert first_row(tiff((1, 1), (8,) * 4, 2, rgba, alpha=1)) == [(177, 152, 127)]
    assert first_row(tiff((1, 1), (8,) * 4, 2, rgba, alpha=2)) == [(152, 140, 127)]
    assert first_row(tiff((1, 1), (8,) * 2, 1, bytes([50, 128]), alpha=1)) == grey(177)
    assert first_row(tiff((1, 1), (8,) * 2, 1, bytes([100, 128]), alpha=2)) == grey(177)


@pytest.mark.parametrize("image_format", ["JPEG2000", "PNG"])
def test_alpha_of_animations_and_of_jpeg2000(image_format: str) -> None:
    options = {"save_all": True, "append_images": [Image.new("RGBA", (4, 4), BLUE)]} if image_format == "PNG" else {}
    content = encode(Image.new("RGBA", (4, 4), (0, 100, 255, 51)), image_format, **options)
    assert first_row(content) == [(204, 224, 255)] * 4


# With nk = 255 - K, Pillow's conversion is nk - C nk / 255: C = K = 51 gives 204 - 40.8.
def test_cmyk() -> None:
    image = striped((0, 0, 0, 0), (0, 0, 0, 255), (255, 0, 51, 0), (51, 0, 255, 51), mode="CMYK")
    assert first_row(encode(image, "TIFF")) == [WHITE, BLACK, (0, 255, 204), (163, 204, 0)]


def test_cmyk_jpeg_is_not_inverted() -> None:
    content = encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100)
    np.testing.assert_allclose(first_row(content), [RED] * 8, atol=3)


def adobe_marker(jpeg: bytes) -> slice:
    start = jpeg.index(b"\xff\xee")
    return slice(start, start + 2 + int.from_bytes(jpeg[start + 2 : start + 4], "big"))


def test_cmyk_jpeg_without_adobes_marker_is_read_alike() -> None:
    content = encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100)
    marker = adobe_marker(content)
    np.testing.assert_allclose(first_row(content[: marker.start] + content[marker.stop :]), [RED] * 8, atol=3)


# The file holds 255, 0, 0, 255. As YCCK: 255 + 1.402 * -128 = 76, 255 - 0.344 * -128 - 0.714 * -128 > 255 and
# 255 + 1.772 * -128 = 28 are, inverted twice, C, M, Y; K is 0. Hence 255 - 76, 255 - 255, 255 - 28.
def test_ycck_jpeg() -> None:
    content = bytearray(encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100))
    content[adobe_marker(content).stop - 1] = 2  # the colour transform
    np.testing.assert_allclose(first_row(bytes(content)), [(179, 0, 227)] * 8, atol=3)


def test_lab_is_converted() -> None:
    lab = first_row(encode(striped((0, 128, 128), (255, 128, 128), mode="LAB"), "TIFF"))
    np.testing.assert_allclose(lab, [BLACK, WHITE], atol=2)  # as far as 8 bits carry through Lab


def test_hsv_and_ycbcr_are_converted() -> None:
    assert to_rgb(Image.new("YCbCr", (1, 1), (9, 128, 128))).getpixel((0, 0)) == (9, 9, 9)
    assert to_rgb(Image.new("HSV", (1, 1), (0, 255, 255))).getpixel((0, 0)) == RED


SIXTEEN_BIT = (0x0000, 0x00FF, 0x1234, 0xFFFF)


def test_16_bit_grey_png_keeps_the_high_byte() -> None:
    assert first_row(png(4, 1, 16, 0, b"\0" + struct.pack(">4H", *SIXTEEN_BIT))) == grey(0, 0, 0x12, 255)


def test_16_bit_grey_ppm_keeps_the_high_byte() -> None:
    assert first_row(b"P5 4 1 65535 " + struct.pack(">4H", *SIXTEEN_BIT)) == grey(0, 0, 0x12, 255)


@pytest.mark.parametrize(("mode", "layout"), [("I;16", "<4H"), ("I;16B", ">4H")])
def test_16_bit_grey_tiff_keeps_the_high_byte(mode: str, layout: str) -> None:
    image = Image.frombytes(mode, (4, 1), struct.pack(layout, *SIXTEEN_BIT))
    assert first_row(encode(image, "TIFF")) == grey(0, 0, 0x12, 255)


def test_32_bit_grey_is_clipped_to_16_bits() -> None:
    image = Image.fromarray(np.array([[-5, 0x1234, 70_000]], dtype=np.int32))
    assert first_row(encode(image, "TIFF")) == grey(0, 0x12, 255)


def test_16_bit_rgb_keeps_the_high_bytes() -> None:
    row = b"\0" + struct.pack(">3H", 0x1234, 0xFFFF, 0x00FF)
    assert first_row(png(1, 1, 16, 2, row)) == [(0x12, 0xFF, 0x00)]


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_tiff_keeps_the_high_bytes(order: str) -> None:
    rgb = struct.pack(order + "3H", 0x1234, 0xFFFF, 0x00FF)
    assert first_row(tiff((1, 1), (16,) * 3, 2, rgb, order=order)) == [(0x12, 0xFF, 0x00)]
    rgba = struct.pack(order + "4H", 0x1234, 0xFFFF, 0x00FF, 0x80FF)  # 18 and 0 at 128 over white: 136 and 127
    assert first_row(tiff((1, 1), (16,) * 4, 2, rgba, alpha=2, order=order)) == [(136, 255, 127)]
    cmyk = struct.pack(order + "4H", 0, 0xFFFF, 0xFFFF, 0)
    assert first_row(tiff((1, 1), (16,) * 4, 5, cmyk, order=order)) == [RED]


def test_grey_tiff_of_other_depths() -> None:
    signed = struct.pack("<3i", -5, 0x1234, 2_000_000_000)
    assert first_row(tiff((3, 1), (32,), 1, signed, sample_format=2)) == grey(0, 0x12, 255)
    unsigned = struct.pack("<3I", 5, 0x1234, 3_000_000_000)  # more than a signed number holds
    assert first_row(tiff((3, 1), (32,), 1, unsigned)) == grey(0, 0x12, 255)
    assert first_row(tiff((3, 1), (16,), 1, struct.pack("<3h", -5, 0x1234, 0x7FFF), sample_format=2)) == grey(
        0, 0x12, 0x7F
    )
    assert first_row(tiff((2, 1), (12,), 1, b"\x12\x3f\xff")) == grey(0x12, 255)
    assert first_row(tiff((4, 1), (2,), 1, b"\x1b")) == grey(0, 85, 170, 255)


def test_grey_tiff_in_which_0_is_white() -> None:
    assert first_row(tiff((2, 1), (1,), 0, b"\x40")) == grey(255, 0)
    assert first_row(tiff((2, 1), (8,), 0, bytes([0, 200]))) == grey(255, 55)
    assert first_row(tiff((3, 1), (16,), 0, struct.pack("<3H", 0, 0xFF00, 0xFFFF))) == grey(255, 0, 0)


def test_16_bit_jpeg2000_keeps_the_high_byte() -> None:
    assert first_row(encode(Image.new("I;16", (4, 4), 0x1234), "JPEG2000")) == grey(0x12) * 4


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"P1 3 1\n0 1 0\n", grey(255, 0, 255)),
        (b"P4 3 1\n\x40", grey(255, 0, 255)),
        (b"P2 3 1 100 0 20 100 ", grey(0, 51, 255)),
        (b"P3 1 1 100 0 20 100 ", [(0, 51, 255)]),
        (b"P5 3 1 1023 " + struct.pack(">3H", 0, 512, 1023), grey(0, 128, 255)),
        (b"P6 1 1 65535 " + struct.pack(">3H", 0x1212, 0xFFFF, 0), [(0x12, 0xFF, 0)]),
        (b"Pf 2 1 -1.0\n" + struct.pack("<2f", 0.2, 1), grey(51, 255)),
        (b"Pf 2 1 1.0\n" + struct.pack(">2f", 0.2, 1), grey(51, 255)),
        (b"Pf 1 2 -1.0\n" + struct.pack("<2f", 0, 1), grey(255)),  # from the bottom up
    ],
)
def test_portable_maps(content: bytes, expected: list[tuple[int, ...]]) -> None:
    assert first_row(content) == expected


@pytest.mark.parametrize("order", ["<", ">"])
def test_what_pillow_has_no_mode_for_is_refused(order: str) -> None:
    floats = struct.pack(order + "3f", 0.1, 0.2, 0.3)
    content = tiff((1, 1), (32,) * 3, 2, floats, sample_format=3, order=order)
    assert decode(content, DecodeBudget()).reason is Reason.DAMAGED


@pytest.mark.parametrize("key", [(0x1234, 0x5678, 0x9ABC), (0x12, 0x56, 0x9A), (0x34, 0x78, 0xBC)])
def test_16_bit_colour_key_is_ignored(key: tuple[int, int, int]) -> None:
    row = b"\0" + struct.pack(">3H", 0x1234, 0x5678, 0x9ABC)
    assert first_row(png(1, 1, 16, 2, row, struct.pack(">3H", *key))) == [(0x12, 0x56, 0x9A)]
    assert first_row(png(1, 1, 16, 0, row[:3], struct.pack(">H", key[0]))) == grey(0x12)


def test_16_bit_alpha_is_laid_over_white() -> None:
    assert first_row(png(1, 1, 16, 4, b"\0" + struct.pack(">2H", 0x00FF, 0x33FF))) == grey(204)


def test_float_within_one_is_stretched() -> None:
    assert first_row(float_tiff(0, 0.5, 0.1, 1)) == grey(0, 128, 26, 255)  # 127.5 rounds to even, 25.5 in float32 too


def test_float_within_255_is_rounded() -> None:
    assert first_row(float_tiff(0, 1.4, 100.5, 255)) == grey(0, 1, 100, 255)


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -0.01, 255.5])
def test_other_floats_are_refused(odd: float) -> None:
    decoded = decode(float_tiff(0.5, odd), DecodeBudget())
    assert decoded.image is None
    assert decoded.reason is Reason.UNSUPPORTED


# Each letter is a pixel of its own colour. What lies in the file is written out from the EXIF definition: row 0 and
# column 0 of the file are, for orientation 6, the right side and the top of the picture.
UPRIGHT = ("ABC", "DEF")
STORED = {
    1: ("ABC", "DEF"),
    2: ("CBA", "FED"),
    3: ("FED", "CBA"),
    4: ("DEF", "ABC"),
    5: ("AD", "BE", "CF"),
    6: ("CF", "BE", "AD"),
    7: ("FC", "EB", "DA"),
    8: ("DA", "EB", "FC"),
}
COLOURS = {"A": RED, "B": BLUE, "C": WHITE, "D": BLACK, "E": (0, 255, 0), "F": (90, 90, 90)}


def picture(letters: tuple[str, ...], block: int = 1) -> np.ndarray[Any, np.dtype[np.uint8]]:
    pixels = np.array([[COLOURS[letter] for letter in row] for row in letters], dtype=np.uint8)
    return pixels.repeat(block, axis=0).repeat(block, axis=1)


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("image_format", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
def test_orientation(image_format: str, options: dict[str, Any], orientation: int) -> None:
    stored = Image.fromarray(picture(STORED[orientation]))
    decoded = decode(encode(stored, image_format, exif=exif(orientation), **options), DecodeBudget())
    np.testing.assert_array_equal(np.asarray(decoded.image), picture(UPRIGHT))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_a_jpeg(orientation: int) -> None:
    stored = Image.fromarray(picture(STORED[orientation], block=16))
    content = encode(stored, "JPEG", exif=exif(orientation), quality=100, subsampling=0)
    decoded = decode(content, DecodeBudget())
    np.testing.assert_allclose(np.asarray(decoded.image, dtype=float), picture(UPRIGHT, block=16), atol=4)


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_orientation_out_of_range_counts_as_upright(orientation: int) -> None:
    content = encode(Image.fromarray(picture(UPRIGHT)), "PNG", exif=exif(orientation))
    np.testing.assert_array_equal(np.asarray(decode(content, DecodeBudget()).image), picture(UPRIGHT))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("pages", [1, 2])
def test_orientation_of_a_tiff(pages: int, compression: str, orientation: int) -> None:
    others = {"save_all": True, "append_images": [Image.new("RGB", (9, 9))]} if pages > 1 else {}
    stored = Image.fromarray(picture(STORED[orientation]))
    content = encode(stored, "TIFF", exif=exif(orientation), compression=compression, **others)
    np.testing.assert_array_equal(np.asarray(decode(content, DecodeBudget()).image), picture(UPRIGHT))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "MPO"])
def test_orientation_of_the_first_of_many(image_format: str, orientation: int) -> None:
    stored = Image.fromarray(picture(STORED[orientation], block=16))
    options: dict[str, Any] = {"quality": 100, "subsampling": 0} if image_format == "MPO" else {"lossless": True}
    others = [Image.new("RGB", stored.size)]
    content = encode(stored, image_format, exif=exif(orientation), save_all=True, append_images=others, **options)
    decoded = decode(content, DecodeBudget())
    np.testing.assert_allclose(np.asarray(decoded.image, dtype=float), picture(UPRIGHT, block=16), atol=4)


@pytest.mark.parametrize(
    "block",
    [
        exif_block(2, 4, b"abc\0"),
        exif_block(3, 0, bytes(4)),
        exif_block(7, 1, b"\6\0\0\0"),
        exif_block(11, 1, struct.pack("<f", float("nan"))),
        exif_block(5, 1, struct.pack("<I", 26), struct.pack("<II", 6, 0)),
        b"Exif\0\0MM\0*" + b"\xff" * 30,
        b"Exif\0\0",
    ],
    ids=["text", "none", "undefined", "NaN", "6 over 0", "no directory", "nothing"],
)
@pytest.mark.parametrize(("image_format", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_an_orientation_that_is_no_number_counts_as_upright(
    image_format: str, options: dict[str, Any], block: bytes
) -> None:
    content = encode(Image.fromarray(picture(UPRIGHT)), image_format, exif=block, **options)
    np.testing.assert_array_equal(np.asarray(decode(content, DecodeBudget()).image), picture(UPRIGHT))


@pytest.mark.parametrize("orientation", [(2, 4, b"abc\0"), (3, 1, b"\x09\0\0\0"), (3, 1, bytes(4))])
def test_such_an_orientation_of_a_tiff(orientation: tuple[int, int, bytes]) -> None:
    pixels = picture(UPRIGHT).tobytes()
    content = tiff((3, 2), (8,) * 3, 2, pixels, extra=(0x0112, *orientation))
    np.testing.assert_array_equal(np.asarray(decode(content, DecodeBudget()).image), picture(UPRIGHT))


def test_a_damaged_exif_folder_in_a_tiff_costs_no_pixels() -> None:
    for offset in (8, 0x7FFFFFFF):  # the folder that it is in itself, and far behind the end
        content = tiff((2, 1), (8,), 1, bytes([7, 9]), extra=(34_665, 4, 1, struct.pack("<I", offset)))
        assert first_row(content) == grey(7, 9)


def test_orientation_in_xmp_counts_without_exif() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    content = encode(Image.fromarray(picture(STORED[6], block=16)), "JPEG", xmp=xmp, quality=100, subsampling=0)
    decoded = np.asarray(decode(content, DecodeBudget()).image, dtype=float)
    np.testing.assert_allclose(decoded, picture(UPRIGHT, block=16), atol=4)


def test_orientation_is_not_left_for_a_second_reader() -> None:
    image = decode(encode(Image.fromarray(picture(STORED[6])), "PNG", exif=exif(6)), DecodeBudget()).image
    assert image is not None
    assert not image.info
    np.testing.assert_array_equal(np.asarray(upright_rgb(image)), picture(UPRIGHT))


def test_damaged_exif_costs_no_pixels() -> None:
    np.testing.assert_allclose(first_row(jpeg_with_broken_exif()), [(200, 100, 50)] * 16, atol=3)


def test_a_damaged_profile_and_garbage_at_the_end_cost_no_pixels() -> None:
    plain = Image.new("RGB", (16, 16), (200, 100, 50))
    content = encode(plain, "JPEG", quality=95, icc_profile=b"no profile" * 20)
    for odd in (content, content + b"garbage" * 1000, content + content):
        np.testing.assert_allclose(first_row(odd), [(200, 100, 50)] * 16, atol=3)


@pytest.mark.parametrize(
    ("image_format", "options"),
    [("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})],
)
def test_first_frame_of_many(image_format: str, options: dict[str, Any]) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, BLUE)]
    content = encode(frames[0], image_format, save_all=True, append_images=frames[1:], **options)
    assert first_row(content) == [RED] * 4


def test_first_frame_of_an_apng_is_what_other_readers_show() -> None:
    """A still picture before the animation is no frame of it."""
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, BLUE, BLACK)]
    content = encode(frames[0], "PNG", save_all=True, default_image=True, append_images=frames[1:])
    assert first_row(content) == [RED] * 4


def test_first_picture_of_an_mpo() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, BLUE)]
    content = encode(frames[0], "MPO", save_all=True, append_images=frames[1:], quality=100)
    np.testing.assert_allclose(first_row(content), [RED] * 16, atol=3)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000"])
def test_a_single_pixel(image_format: str) -> None:
    assert len(first_row(encode(Image.new("RGB", (1, 1), WHITE), image_format))) == 1
