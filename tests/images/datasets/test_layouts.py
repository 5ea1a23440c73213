"""Each official layout into rows with classes and splits; what is missing or wrong is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusion_pipeline.errors import FormatError, IncompleteError, RefusedError
from fusion_pipeline.images.datasets.check import check_copy
from fusion_pipeline.images.datasets.registry import DATASETS, find_layout
from fusion_pipeline.images.index import list_image_folder
from fusion_pipeline.images.inputs import list_images
from tests.images.datasets.made import WRITE, flowers17, flowers102
from tests.images.trees import plant

EXPECTED = {
    "actions40": [
        ("JPEGImages/cooking_001.jpg", "cooking", ""),
        ("JPEGImages/riding_a_bike_001.jpg", "riding_a_bike", "train"),
        ("JPEGImages/riding_a_bike_002.jpg", "riding_a_bike", "test"),
    ],
    "cub200": [
        ("images/001.Albatross/b_0002.jpg", "001.Albatross", "train"),
        ("images/001.Albatross/c_0003.jpg", "001.Albatross", "test"),
        ("images/002.Finch/a_0001.jpg", "002.Finch", "test"),
    ],
    "caltech101": [
        ("BACKGROUND_Google/image_0001.jpg", "BACKGROUND_Google", ""),
        ("accordion/image_0001.jpg", "accordion", ""),
        ("accordion/image_0002.jpg", "accordion", ""),
        ("yin_yang/image_0001.jpg", "yin_yang", ""),
    ],
    "caltech256": [
        ("001.ak47/001_0001.jpg", "001.ak47", ""),
        ("001.ak47/001_0002.jpg", "001.ak47", ""),
        ("056.dog/056_0001.jpg", "056.dog", ""),
        ("257.clutter/257_0001.jpg", "257.clutter", ""),
    ],
    "flowers102": [
        ("jpg/image_00001.jpg", "077", "train"),
        ("jpg/image_00002.jpg", "001", "train"),
        ("jpg/image_00003.jpg", "077", "validation"),
        ("jpg/image_00004.jpg", "002", "test"),
    ],
    "pets": [
        ("images/Abyssinian_1.jpg", "Abyssinian", "trainval"),
        ("images/great_pyrenees_1.jpg", "great_pyrenees", "test"),
        ("images/great_pyrenees_2.jpg", "great_pyrenees", ""),
    ],
}


def rows(place: Path) -> list[tuple[str, str, str]]:
    listing = list_images(place)
    labels = [listing.class_names[label] for label in listing.labels]
    return list(zip(listing.sample_ids, labels, listing.columns.get("split", [""] * len(listing)), strict=True))


@pytest.mark.parametrize("name", EXPECTED)
def test_rows_of_a_layout(tmp_path: Path, name: str) -> None:
    assert rows(WRITE[name](tmp_path / name)) == EXPECTED[name]


def test_rows_of_flowers17(tmp_path: Path) -> None:
    found = rows(flowers17(tmp_path / "flowers17"))
    assert len(found) == 1360
    assert found[:3] == [
        ("jpg/image_0001.jpg", "01_daffodil", "train"),
        ("jpg/image_0002.jpg", "01_daffodil", "validation"),
        ("jpg/image_0003.jpg", "01_daffodil", "test"),
    ]
    assert found[79:81] == [("jpg/image_0080.jpg", "01_daffodil", ""), ("jpg/image_0081.jpg", "02_snowdrop", "train")]
    assert len({label for _, label, _ in found}) == 17


@pytest.mark.parametrize("name", WRITE)
def test_each_is_taken_for_itself(tmp_path: Path, name: str) -> None:
    found = find_layout(WRITE[name](tmp_path))
    assert found is not None
    assert found[0].name == name
    if name != "flowers17":
        assert not check_copy(DATASETS[name], tmp_path).is_complete


def test_class_folders_of_caltech_keep_their_digest(tmp_path: Path) -> None:
    """Who gives the inner folder gives class folders; the same images either way."""
    inner = WRITE["caltech101"](tmp_path) / "caltech-101" / "101_ObjectCategories"
    assert find_layout(inner) is None
    assert list_images(inner).listing == list_image_folder(inner).listing == list_images(tmp_path).listing


def test_a_complete_copy(tmp_path: Path) -> None:
    check = check_copy(DATASETS["flowers17"], flowers17(tmp_path))
    assert (check.is_complete, check.text, check.images, check.classes) == (True, "complete", 1360, 17)
    for name in ("0005", "0085"):
        (tmp_path / "jpg" / f"image_{name}.jpg").unlink()
    check = check_copy(DATASETS["flowers17"], tmp_path)
    assert (check.is_complete, check.text) == (False, "incomplete: 1,358 images, 17 classes")
    assert check.absent == (b"jpg/image_0005.jpg", b"jpg/image_0085.jpg")
    with pytest.raises(IncompleteError, match="lacks 2 images of Oxford Flowers 17, 'jpg/image_0005"):
        list_images(tmp_path)


def test_class_folders_are_a_copy_too(tmp_path: Path) -> None:
    plant(tmp_path, *(f"{c:02}/{i}.jpg" for c in range(17) for i in range(80)))
    assert check_copy(DATASETS["flowers17"], tmp_path).is_complete


@pytest.mark.parametrize("file", ["images.txt", "classes.txt", "image_class_labels.txt", "train_test_split.txt"])
def test_damaged_lists(tmp_path: Path, file: str) -> None:
    damaged = WRITE["cub200"](tmp_path) / "CUB_200_2011" / file
    damaged.write_text("x y z\n")
    with pytest.raises(FormatError, match=rf"{file}' has the line 'x y z', but 'NUMBER TEXT' is expected"):
        list_images(tmp_path)
    assert "not usable: '" in check_copy(DATASETS["cub200"], tmp_path).text
    damaged.write_text("1 7\n")
    kind, message = (
        (IncompleteError, "lacks 1 images of .*, 'images/7' for one")
        if file == "images.txt"
        else (FormatError, "The lists in .* do not agree on image [12]")
    )
    with pytest.raises(kind, match=message):
        list_images(tmp_path)
    found = "incomplete: 0 images" if file == "images.txt" else "not usable: The lists"
    assert found in check_copy(DATASETS["cub200"], tmp_path).text


@pytest.mark.parametrize("name", ["image_abc.jpg", "image_1.jpg", "image_0001.png", "image_00\u0661\u0662.jpg"])
def test_a_list_that_names_no_image(tmp_path: Path, name: str) -> None:
    listed = flowers17(tmp_path) / "jpg" / "files.txt"
    listed.write_text(f"{name}\n", encoding="utf-8")
    with pytest.raises(FormatError, match=r"files.txt' names 'image_.*', which is no image of the data set"):
        list_images(tmp_path)
    listed.write_text("image_01361.jpg\n")
    with pytest.raises(FormatError, match="is not one of the 1,360 images"):
        list_images(tmp_path)


@pytest.mark.parametrize("name", ["../../../flow/000.jpg", "{outside}/000.jpg", "x/../b.jpg", "./b.jpg", "a\0.jpg"])
def test_a_list_that_leads_out_of_the_layout(tmp_path: Path, name: str) -> None:
    outside = plant(tmp_path / "flow", "000.jpg")
    images = WRITE["cub200"](tmp_path / "cub") / "CUB_200_2011" / "images.txt"
    images.write_text(images.read_text().replace("002.Finch/a_0001.jpg", name.format(outside=outside)))
    for follow_symlinks in (False, True):
        with pytest.raises(RefusedError, match=r"A list in .* names 'images/.*', which is no plain path below it"):
            list_images(tmp_path / "cub", follow_symlinks=follow_symlinks)
    assert "not usable: A list in" in check_copy(DATASETS["cub200"], tmp_path / "cub").text


@pytest.mark.parametrize("linked", ["CUB_200_2011/images", "CUB_200_2011/images/002.Finch", "CUB_200_2011"])
def test_links_on_the_way_to_an_image(tmp_path: Path, linked: str) -> None:
    link = WRITE["cub200"](tmp_path / "cub") / linked
    link.rename(tmp_path / "elsewhere")
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RefusedError, match=r"002.Finch/a_0001.jpg' lies behind a symbolic link|_0002.jpg' lies behind"):
        list_images(tmp_path / "cub")
    assert len(list_images(tmp_path / "cub", follow_symlinks=True)) == 3


def test_images_that_are_gone_can_be_kept(tmp_path: Path) -> None:
    whole = list_images(WRITE["cub200"](tmp_path))
    (tmp_path / "CUB_200_2011" / whole.sample_ids[1]).unlink()
    assert list_images(tmp_path, keep_absent=True) == whole


def test_damaged_matrices(tmp_path: Path) -> None:
    labels = flowers102(tmp_path) / "imagelabels.mat"
    whole = labels.read_bytes()
    for content in (b"", b"no", whole[:150], b"MATLAB 5.0" + bytes(200)):
        labels.write_bytes(content)
        with pytest.raises(FormatError, match=r"imagelabels.mat"):
            list_images(tmp_path)


def test_links_in_an_archive(tmp_path: Path) -> None:
    image = flowers102(tmp_path) / "jpg" / "image_00002.jpg"
    image.unlink()
    image.symlink_to("image_00001.jpg")
    with pytest.raises(RefusedError, match=r"image_00002.jpg' is a symbolic link. Give --follow-symlinks"):
        list_images(tmp_path)
    assert len(list_images(tmp_path, follow_symlinks=True)) == 4


def test_the_counts_of_table_1() -> None:
    assert [(record.images, record.classes) for record in DATASETS.values()] == [
        (9_532, 40), (11_788, 200), (9_146, 101), (30_607, 256), (8_189, 102), (1_360, 17), (7_390, 37),
    ]  # fmt: skip
    assert DATASETS["caltech256"].is_complete(30_607, 257)
    assert not DATASETS["caltech256"].is_complete(29_780, 256)
    assert DATASETS["caltech101"].is_complete(9_144, 102)
