"""The demo's images and configuration: every scan once, a few held out, nobody's files touched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fusion_pipeline.config import load_settings
from fusion_pipeline.demo import BACKBONES, HELD_OUT, Digits, write_configuration, write_digits
from fusion_pipeline.errors import UsageError
from fusion_pipeline.extract.networks.backbones import find_backbone
from fusion_pipeline.images.index import list_image_folder
from tests.builders import tree_bytes


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    return write_digits(tmp_path_factory.mktemp("demo") / "deep" / "home")


def test_every_scan_is_written_once(digits: Digits) -> None:
    folder = list_image_folder(digits.folder)
    assert len(folder) == digits.images == 1797 - HELD_OUT
    assert folder.class_names == tuple("0123456789")
    assert folder.samples_per_class().min() > 170
    numbers = [path.stem for path in digits.folder.rglob("*.png")] + [path.stem[2:] for path in digits.held_out]
    assert sorted(numbers) == [f"{number:04}" for number in range(1797)]


def test_three_scans_are_held_out(digits: Digits) -> None:
    assert len(digits.held_out) == 3
    assert [path.is_relative_to(digits.folder) for path in digits.held_out] == [False] * 3
    trained_on = set(tree_bytes(digits.folder).values())
    assert trained_on.isdisjoint(tree_bytes(digits.held_out[0].parent).values())


def test_scans_keep_their_pixels(digits: Digits) -> None:
    from sklearn.datasets import load_digits  # noqa: PLC0415 - takes a second

    pixels = np.asarray(Image.open(digits.held_out[-1]))
    np.testing.assert_array_equal(np.round(pixels / (255 / 16)), load_digits().images[-1])
    assert digits.held_out[-1].name.startswith(f"{load_digits().target[-1]}-")


def test_writing_again_changes_nothing(digits: Digits) -> None:
    before = tree_bytes(digits.folder)
    assert write_digits(digits.folder.parent) == digits
    assert tree_bytes(digits.folder) == before


def test_somebody_elses_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"is not empty\. Choose a new folder with --folder"):
        write_digits(tmp_path)
    with pytest.raises(UsageError, match="is not empty"):
        write_digits(tmp_path / "thesis.txt")
    assert list(tmp_path.iterdir()) == [tmp_path / "thesis.txt"]


def test_the_configuration_is_one(tmp_path: Path) -> None:
    path = write_configuration(tmp_path)
    settings = load_settings({}, {}, tmp_path)
    assert settings.source == path
    assert settings.data == str(tmp_path / "digits")
    assert settings.cache == str(tmp_path / "cache")
    assert settings.backbones == tuple(BACKBONES)
    for name in settings.backbones:
        record = find_backbone(name, settings.backbone)
        assert str(record.weights).startswith("package:")
        assert {key: record.preprocessing[key] for key in BACKBONES[name]} == BACKBONES[name]
