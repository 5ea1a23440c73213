"""Writes small made-up archives in the official layouts of the paper's seven data sets, a few images in each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from scipy.io import savemat

from tests.images.trees import plant

Write = Callable[[Path], Path]


def texts(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def actions40(root: Path) -> Path:
    plant(root, *(f"JPEGImages/{name}.jpg" for name in ("riding_a_bike_001", "riding_a_bike_002", "cooking_001")))
    texts(root, {
        "ImageSplits/train.txt": "riding_a_bike_001.jpg\n",
        "ImageSplits/riding_a_bike_test.txt": "riding_a_bike_002.jpg\r\n",
        "ImageSplits/actions.txt": "action_name\tnumber\ncooking\t1\n",
    })  # fmt: skip
    return root


def cub200(root: Path) -> Path:
    names = ["001.Albatross/b_0002.jpg", "002.Finch/a_0001.jpg", "001.Albatross/c_0003.jpg"]
    plant(root / "CUB_200_2011", *(f"images/{name}" for name in names))
    texts(root / "CUB_200_2011", {
        "images.txt": "".join(f"{i} {name}\n" for i, name in enumerate(names, 1)),
        "image_class_labels.txt": "1 1\n2 2\n3 1\n",
        "train_test_split.txt": "1 1\n2 0\n3 0\n",
        "classes.txt": "1 001.Albatross\n2 002.Finch\n",
    })  # fmt: skip
    return root


def caltech101(root: Path) -> Path:
    folders = {"accordion": 2, "yin_yang": 1, "BACKGROUND_Google": 1}
    names = [f"{folder}/image_{i + 1:04}.jpg" for folder, number in folders.items() for i in range(number)]
    plant(root / "caltech-101" / "101_ObjectCategories", *names, "BACKGROUND_Google/tmp", ".DS_Store")
    return root


def caltech256(root: Path) -> Path:
    names = ["001.ak47/001_0001.jpg", "001.ak47/001_0002.jpg", "257.clutter/257_0001.jpg"]
    plant(root / "256_ObjectCategories", *names, "056.dog/greg/x.jpg", "056.dog/056_0001.jpg", "198.spider/RENAME2")
    return root


def flowers102(root: Path) -> Path:
    plant(root, *(f"jpg/image_{i:05}.jpg" for i in range(1, 5)))
    savemat(root / "imagelabels.mat", {"labels": [[77, 1, 77, 2]]})
    savemat(root / "setid.mat", {"trnid": [[1, 2]], "valid": [[3]], "tstid": [[4]]})
    return root


def flowers17(root: Path) -> Path:
    names = [f"image_{i:04}.jpg" for i in range(1, 1361)]
    plant(root, *(f"jpg/{name}" for name in names), "jpg/files.txt~")
    texts(root, {"jpg/files.txt": "\n".join(names) + "\n"})
    splits = {"trn1": [[1, 81]], "val1": [[2]], "tst1": [[3]], "trn2": [[3]], "val2": [[1]], "tst2": [[2]]}
    savemat(root / "datasplits.mat", splits)
    return root


def pets(root: Path) -> Path:
    plant(root, *(f"images/{name}.jpg" for name in ("Abyssinian_1", "great_pyrenees_1", "great_pyrenees_2")))
    plant(root, "images/Abyssinian_100.mat")
    texts(root, {
        "annotations/trainval.txt": "Abyssinian_1 1 1 1\n",
        "annotations/test.txt": "great_pyrenees_1 2 2 1\n",
        "annotations/list.txt": "#Image CLASS-ID\nAbyssinian_1 1 1 1\n",
    })  # fmt: skip
    return root


WRITE: dict[str, Write] = {
    write.__name__: write for write in (actions40, cub200, caltech101, caltech256, flowers102, flowers17, pets)
}
