"""Turns images whose squeezed form is known into checks of the thumbnails."""

from __future__ import annotations

import json

import numpy as np
import PIL
import pytest
from PIL import Image

from fusion_pipeline.images.thumbnails import THUMBNAIL_SIZES, thumbnail, thumbnail_identity, thumbnails


def test_the_whole_image_is_squeezed() -> None:
    pixels = np.zeros((100, 300, 3), dtype=np.uint8)
    pixels[:, :150, 0] = 200
    pixels[50:, :, 2] = 100
    square = thumbnail(Image.fromarray(pixels), 32)
    assert square.shape == (32, 32, 3)
    assert square.dtype == np.uint8
    corners = square[[0, 0, -1, -1], [0, -1, 0, -1]].tolist()
    assert corners == [[200, 0, 0], [0, 0, 0], [200, 0, 100], [0, 0, 100]]


def test_halving_is_the_triangle_filter() -> None:
    # Halving weighs four neighbours by 1, 3, 3 and 1 eighths. Column 10 is the second neighbour of output column 5
    # and the last one of column 4: 255 x 3/8 = 95.6 and 255 / 8 = 31.9.
    pixels = np.zeros((64, 64, 3), dtype=np.uint8)
    pixels[:, 10] = 255
    row = thumbnail(Image.fromarray(pixels), 32)[7, :, 0]
    assert row[4:6].tolist() == [32, 96]
    assert np.count_nonzero(row) == 2


def test_fine_patterns_become_grey_rather_than_alias() -> None:
    pixels = np.zeros((512, 512, 3), dtype=np.uint8)
    pixels[::2] = 255
    # Beyond the border there is nothing to weigh, so the outermost rows may lean a little to either side.
    np.testing.assert_allclose(thumbnail(Image.fromarray(pixels), 64).astype(float), 127.5, atol=8)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (32, 32)])
def test_any_size_keeps_a_single_colour(size: tuple[int, int]) -> None:
    for side, square in thumbnails(Image.new("RGB", size, (9, 99, 199))).items():
        np.testing.assert_array_equal(square, np.full((side, side, 3), (9, 99, 199)))


def test_each_size_is_made_from_the_full_image() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    squares = thumbnails(image)
    assert tuple(squares) == THUMBNAIL_SIZES == (32, 64)
    for size, square in squares.items():
        np.testing.assert_array_equal(square, thumbnail(image, size))
    np.testing.assert_array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_only_rgb_is_taken(mode: str) -> None:
    with pytest.raises(ValueError, match=f"not mode {mode}"):
        thumbnail(Image.new(mode, (8, 8)), 32)


def test_identity_is_plain_json() -> None:
    identity = thumbnail_identity()
    assert json.loads(json.dumps(identity)) == identity
    assert identity["major"] == int(PIL.__version__.split(".")[0])
