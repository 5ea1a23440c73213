"""Turns pixels and header fields into small image files, some of them broken on purpose."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image


def encode(image: Image.Image, image_format: str, **options: Any) -> bytes:
    """Return `image` as a file of `image_format`."""
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def striped(*columns: Any, mode: str = "RGB") -> Image.Image:
    """Return an image one pixel high with the given pixel values."""
    image = Image.new(mode, (len(columns), 1))
    for x, value in enumerate(columns):
        image.putpixel((x, 0), value)
    return image


def png(width: int, height: int, bits: int, colour_type: int, rows: bytes, transparency: bytes = b"") -> bytes:
    """Return a PNG from its raw fields; `rows` holds a filter byte before each row's samples."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"tRNS", transparency), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in chunks if body or kind == b"IEND")


def jpeg_with_broken_exif() -> bytes:
    """Return a sound JPEG whose EXIF block promises more than it holds: Pillow warns about it."""
    truncated = b"Exif\0\0" + b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 9, 0x010E, 2, 5000, 200)
    return encode(Image.new("RGB", (16, 16), (200, 100, 50)), "JPEG", quality=95, exif=truncated)


def png_with(kind: bytes, body: bytes) -> bytes:
    """Return a sound PNG of one pixel, (9, 8, 7), with another chunk before its pixels."""
    plain = png(1, 1, 8, 2, bytes([0, 9, 8, 7]))
    return plain[:33] + _chunk(kind, body) + plain[33:]


def tiff(
    image: tuple[int, int],
    bits: tuple[int, ...],
    photometric: int,
    pixels: bytes,
    *,
    sample_format: int = 1,
    alpha: int | None = None,
    extra: tuple[int, int, int, bytes] | None = None,
    order: str = "<",
) -> bytes:
    """Return an uncompressed TIFF from its raw fields, with one entry of `extra` (tag, type, count, four bytes)."""
    n = len(bits)
    shorts = {258: bits, 259: (1,), 262: (photometric,), 277: (n,), 339: (sample_format,) * n}
    if alpha is not None:
        shorts[338] = (alpha,)
    longs = {256: image[0], 257: image[1], 273: 0, 278: image[1], 279: len(pixels)}
    entries = {tag: (3, len(values), struct.pack(f"{order}{len(values)}H", *values)) for tag, values in shorts.items()}
    entries |= {tag: (4, 1, struct.pack(order + "I", value)) for tag, value in longs.items()}
    if extra is not None:
        entries[extra[0]] = extra[1:]
    start = 8 + 2 + 12 * len(entries) + 4
    long_values = b"".join(body for _, _, body in entries.values() if len(body) > 4)
    entries[273] = (4, 1, struct.pack(order + "I", start + len(long_values)))
    directory = b""
    for tag, (kind, count, body) in sorted(entries.items()):
        field = body.ljust(4, b"\0") if len(body) <= 4 else struct.pack(order + "I", start + long_values.index(body))
        directory += struct.pack(order + "HHI", tag, kind, count) + field
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(order + "IH", 8, len(entries)) + directory + bytes(4) + long_values + pixels


def exif_block(tag_type: int, count: int, value: bytes, behind: bytes = b"") -> bytes:
    """Return an EXIF block whose only entry is an orientation of any type; `value` has four bytes."""
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHI", 1, 0x0112, tag_type, count) + value + bytes(4) + behind


def bombs(width: int, height: int) -> dict[str, bytes]:
    """Return one file for each simple header that claims `width` x `height` pixels and holds next to none."""
    jpeg = bytearray(encode(Image.new("RGB", (8, 8)), "JPEG"))
    start_of_frame = jpeg.index(b"\xff\xc0")
    jpeg[start_of_frame + 5 : start_of_frame + 9] = struct.pack(">HH", height, width)
    gif = bytearray(encode(Image.new("P", (8, 8)), "GIF"))
    gif[6:10] = struct.pack("<HH", width, height)
    bmp = bytearray(encode(Image.new("RGB", (8, 8)), "BMP"))
    bmp[18:26] = struct.pack("<ii", width, height)
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, height), (279, 64)]
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags))
    tiff += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags) + bytes(4)
    webp = b"VP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + _three_bytes(width - 1) + _three_bytes(height - 1)
    still = bytes(6) + _three_bytes(7) * 2 + bytes(4) + encode(Image.new("RGB", (8, 8)), "WEBP", lossless=True)[12:]
    webp += b"ANIM" + struct.pack("<I", 6) + bytes(6) + b"ANMF" + struct.pack("<I", len(still)) + still
    jpeg2000 = bytearray(encode(Image.new("RGB", (8, 8)), "JPEG2000"))
    header, codestream = jpeg2000.index(b"ihdr"), jpeg2000.index(b"\xff\x51")
    jpeg2000[header + 4 : header + 12] = jpeg2000[codestream + 6 : codestream + 14] = struct.pack(">II", height, width)
    return {
        "WEBP": b"RIFF" + struct.pack("<I", len(webp) + 4) + b"WEBP" + webp,
        "JPEG2000": bytes(jpeg2000),
        "PNG": png(width, height, 8, 2, bytes(64)),
        "JPEG": bytes(jpeg),
        "GIF": bytes(gif),
        "BMP": bytes(bmp),
        "TIFF": tiff,
        "PPM": b"P6 %d %d 255 " % (width, height) + bytes(64),
    }


def _three_bytes(number: int) -> bytes:
    return struct.pack("<I", number)[:3]


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
