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
    return {
        "PNG": png(width, height, 8, 2, bytes(64)),
        "JPEG": bytes(jpeg),
        "GIF": bytes(gif),
        "BMP": bytes(bmp),
        "TIFF": tiff,
        "PPM": b"P6 %d %d 255 " % (width, height) + bytes(64),
    }


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
