"""Row 7: damage to any file of a finished cache is found and named, never used, and mended to the very bytes."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fusion_pipeline.errors import IncompleteError, IntegrityError
from fusion_pipeline.extract.options import Options
from fusion_pipeline.extract.repair import repair
from fusion_pipeline.images.index import list_image_folder
from fusion_pipeline.images.listing import ImageListing
from fusion_pipeline.store import Cache
from fusion_pipeline.store.care.verify import verify_dataset
from tests.builders import Tiny, write_pictures
from tests.extract.made import OPTIONS, run
from tests.faults.damage import Harm, delete, file_classes, flip, swap, truncate
from tests.faults.tally import Tally


class Finished:
    """A cache with an index and two backbones, and copies of it to be damaged."""

    def __init__(self, folder: Path, *tinies: Tiny) -> None:
        self.images: ImageListing = list_image_folder(write_pictures(folder / "flowers", per_class=5))
        self.backbones = {tiny.name: tiny.backbone for tiny in tinies}
        self._whole = folder / "whole"
        run(folder / "flowers", self._whole, *tinies)
        self.arrays = {
            (store.name, name): store.read(name)
            for store in Cache(self._whole)["flowers"].stores()
            for name in {file.partition("/")[0] for file in store.manifest.files if "/" in file}
        }

    def copy(self, place: Path) -> Path:
        """Return a fresh copy of the data set in the cache."""
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self._whole, place)
        return place / "flowers"

    def check_damage_is_named(self, cache: Path, damaged: list[Path]) -> None:
        """Check that verifying names these files, and no others."""
        named = {
            cache / report.where(item) for report in verify_dataset(Cache(cache)["flowers"]) for item in report.damage
        }
        assert named == set(damaged)

    def check_nothing_wrong_is_read(self, cache: Path) -> None:
        """Check that every array is what it was, or refused."""
        for (store, name), values in self.arrays.items():
            with suppress(IntegrityError, IncompleteError):
                found = Cache(cache)["flowers"]
                opened = found.index() if store == "index" else found[store]
                assert opened.read(name).tobytes() == values.tobytes()

    def check_repair(self, cache: Path) -> None:
        """Check that a repair leaves a cache without damage, with the very features."""
        result = repair(self.images, Cache(cache), self.backbones.get, Options(**OPTIONS))  # type: ignore[arg-type]
        assert result.failures == ()
        assert all(item.is_identical for item in result.stores)
        self.check_damage_is_named(cache, [])
        for store in Cache(cache)["flowers"].stores():
            assert store.read("status").tobytes() == self.arrays[store.name, "status"].tobytes()
            if store.is_backbone:
                assert store.read("features").tobytes() == self.arrays[store.name, "features"].tobytes()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_resnet: Tiny, tiny_efficientnet: Tiny) -> Finished:
    return Finished(tmp_path_factory.mktemp("finished"), tiny_resnet, tiny_efficientnet)


def harmed(finished: Finished, cache: Path, harm: Harm, times: int, seed: int) -> Iterator[list[Path]]:
    """Yield the damaged files of one copy of the cache after the other: each class in turn, at random within it."""
    generator = random.Random(seed)
    classes = sorted(file_classes(finished.copy(cache)))
    generator.shuffle(classes)
    done = 0
    while done < times:
        for name in classes:
            files = file_classes(finished.copy(cache))
            others = [path for other, paths in files.items() if other[1] == name[1] for path in paths]
            damaged = harm(generator.choice(files[name]), others, generator)
            if damaged and not is_hint_gone(damaged[0]) and done < times:
                done += 1
                yield damaged


def is_hint_gone(path: Path) -> bool:
    """Return whether it is the list of current stores that is not there: it may be missing, and nothing is wrong."""
    return path.name == "current.json" and not path.exists()


@pytest.mark.parametrize(
    ("harm", "times"),
    [
        (flip, 4),
        (truncate, 4),
        (swap, 2),
        (delete, 2),
        pytest.param(flip, 200, marks=pytest.mark.soak),
        pytest.param(truncate, 200, marks=pytest.mark.soak),
        pytest.param(swap, 50, marks=pytest.mark.soak),
        pytest.param(delete, 50, marks=pytest.mark.soak),
    ],
)
def test_damage(finished: Finished, tally: Tally, tmp_path: Path, harm: Harm, times: int) -> None:
    cache = tmp_path / "cache"
    for damaged in harmed(finished, cache, harm, times, seed=times):
        with tally.fault():
            finished.check_damage_is_named(cache, damaged)
            finished.check_nothing_wrong_is_read(cache)
            finished.check_repair(cache)


def test_every_class_of_file_is_damaged(finished: Finished, tmp_path: Path) -> None:
    kinds = {kind for _, kind in file_classes(finished.copy(tmp_path / "cache"))}
    assert {"manifest.json", "current.json", "copy of the manifest", "metadata of the group"} < kinds
    assert {"metadata of an array", "chunk of features", "chunk of status", "chunk of head_weight"} < kinds
    assert {"chunk of label", "chunk of sha256", "chunk of thumbnails_64", "chunk of sample_path_bytes"} < kinds
