"""Near-duplicates: what people do to photographs does not hide them, and other photographs are not taken for them."""

from __future__ import annotations

import io
import tracemalloc

import numpy as np
import pytest
from PIL import Image, ImageFilter

from fusion_pipeline.errors import UsageError
from fusion_pipeline.images.thumbnails import thumbnail
from fusion_pipeline.train.duplicates import LEAST_CORRELATION, connected, find_duplicates, joined

N = 60


def photograph(seed: int, size: tuple[int, int] = (240, 200)) -> Image.Image:
    """Return a picture with the frequencies of a photograph: much of what is coarse, little of what is fine."""
    generator = np.random.default_rng(seed)
    layers = np.zeros((size[1], size[0], 3))
    for cells, strength in ((3, 60), (6, 40), (14, 25), (40, 12)):
        noise = generator.uniform(-1, 1, (cells, cells, 3)) * strength
        layer = [
            Image.fromarray(noise[..., c].astype(np.float32)).resize(size, Image.Resampling.BICUBIC) for c in range(3)
        ]
        layers += np.stack([np.asarray(channel) for channel in layer], axis=-1)
    return Image.fromarray(np.clip(layers + generator.uniform(80, 170, 3), 0, 255).astype(np.uint8))


def recompressed(picture: Image.Image) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=25)
    return Image.open(file).convert("RGB")


def cropped(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    return picture.crop((round(0.02 * width), round(0.01 * height), width, round(0.98 * height)))


CHANGES = {
    "nothing": lambda picture: picture,
    "compressed": recompressed,
    "cropped": cropped,
    "brighter": lambda picture: picture.point(lambda value: min(255, round(1.15 * value + 8))),
    "smaller": lambda picture: picture.resize((90, 75), Image.Resampling.LANCZOS),
    "squeezed": lambda picture: picture.resize((200, 200), Image.Resampling.BILINEAR),
    "softer": lambda picture: picture.filter(ImageFilter.GaussianBlur(1.5)),
    "mirrored": lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


def thumbnails(pictures: list[Image.Image], size: int) -> np.ndarray:
    return np.stack([thumbnail(picture, size) for picture in pictures])


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    return [photograph(seed) for seed in range(N)]


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_and_nothing_else(pictures: list[Image.Image], change: str, size: int) -> None:
    copies = [CHANGES[change](picture) for picture in pictures[:20]]
    found = find_duplicates(thumbnails([*pictures, *copies], size))
    assert found.pairs.tolist() == [[row, N + row] for row in range(20)]
    assert (found.mirrored == (change == "mirrored")).all()
    assert (found.correlation > LEAST_CORRELATION).all()
    assert found.groups.tolist() == [*range(N), *range(20)]


def test_mirrored_copies_only_where_wanted(pictures: list[Image.Image]) -> None:
    pair = thumbnails([pictures[0], CHANGES["mirrored"](pictures[0])], 32)
    assert len(find_duplicates(pair, mirrored=False).pairs) == 0
    both_ways = np.concatenate([pair, pair[:, :, ::-1]])
    assert find_duplicates(both_ways).pairs.tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    assert find_duplicates(both_ways).mirrored.tolist() == [True, True, False, False, True, True]


def test_pictures_without_anything_on_them_are_duplicates_only_if_they_are_equal() -> None:
    white, light = np.full((2, 32, 32, 3), 255, np.uint8), np.full((1, 32, 32, 3), 250, np.uint8)
    assert find_duplicates(np.concatenate([white, light])).pairs.tolist() == [[0, 1]]


def test_the_order_of_the_pictures_changes_nothing(pictures: list[Image.Image]) -> None:
    whole = thumbnails([*pictures[:10], *(cropped(picture) for picture in pictures[:4])], 32)
    order = np.random.default_rng(0).permutation(len(whole))
    expected = {frozenset(pair) for pair in find_duplicates(whole).pairs.tolist()}
    assert {frozenset(order[pair].tolist()) for pair in find_duplicates(whole[order]).pairs} == expected


def test_groups_are_what_pairs_lead_to() -> None:
    assert connected(4, np.empty((0, 2), np.int64)).tolist() == [0, 1, 2, 3]
    assert connected(6, np.array([[4, 5], [0, 4], [1, 2]])).tolist() == [0, 1, 1, 2, 0, 0]
    assert joined(np.array([3, 1, 1, 2])).tolist() == [0, 1, 1, 2]
    assert joined(np.array([0, 0, 1, 2, 3]), np.array([9, 8, 7, 7, 6])).tolist() == [0, 0, 1, 1, 2]


def test_memory_is_bounded() -> None:
    """4,000 pictures have 16 million pairs: 64 MB as float32, of which only blocks are ever held."""
    many = np.random.default_rng(0).integers(0, 256, (4000, 32, 32, 3), dtype=np.uint8)
    tracemalloc.start()
    try:
        assert len(find_duplicates(many).pairs) == 0
        assert tracemalloc.get_traced_memory()[1] < 80e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shape", [(2, 32, 32), (2, 40, 40, 3), (2, 32, 64, 3), (2, 32, 32, 4)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="square thumbnails of 32 or 64 pixels"):
        find_duplicates(np.zeros(shape, np.uint8))


def test_no_picture_is_no_duplicate() -> None:
    assert find_duplicates(np.zeros((0, 32, 32, 3), np.uint8)).groups.tolist() == []
