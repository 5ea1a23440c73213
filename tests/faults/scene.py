"""A small extraction whose undisturbed result is known, on a storage where things go wrong."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
from obstore.store import MemoryStore

from fusion_pipeline.errors import FusionError, IntegrityError
from fusion_pipeline.extract.options import Options
from fusion_pipeline.extract.producers import BackboneProducer, ThumbnailProducer
from fusion_pipeline.extract.repair import repair
from fusion_pipeline.extract.run import Extraction, extract
from fusion_pipeline.images.index import list_image_folder
from fusion_pipeline.store import Cache
from fusion_pipeline.store import cache as cache_module
from fusion_pipeline.store.care.verify import Damage, Report, verify_dataset
from fusion_pipeline.store.making import attempt as attempt_module
from fusion_pipeline.store.making.presence import Process, Watch
from fusion_pipeline.store.paths import MANIFEST
from fusion_pipeline.store.storage.backend import Backend
from fusion_pipeline.store.storage.local import LocalBackend
from fusion_pipeline.store.storage.objects import ObjectBackend
from tests.builders import Tiny, write_pictures
from tests.faults.harness import Killed

DATASET, NEIGHBOUR = "flowers", "garden"
ROWS, PARTITION_ROWS = 9, 4
OPTIONS = Options(device="cpu", workers=2, partition_rows=PARTITION_ROWS, batch_size=4)


@dataclass
class Ending:
    """How a run ended.

    Parameters
    ----------
    extraction : Extraction or None
        What it did, if it came to its end.
    error : FusionError or None
        What ended it, if it was neither done nor killed.
    rows : Counter
        Rows that were computed, by producer.
    """

    extraction: Extraction | None = None
    error: FusionError | None = None
    rows: Counter[str] = field(default_factory=Counter)


class Scene:
    """Nine pictures and a tiny backbone, and what an undisturbed extraction makes of them.

    Parameters
    ----------
    root : Path
        An empty folder.
    tiny : Tiny
        The backbone.

    Attributes
    ----------
    undisturbed : dict of str to str
        Content digest of each store, by name.
    neighbour : dict of str to bytes
        The files of a cache that holds another data set of the same backbone: nobody may touch them.
    """

    def __init__(self, root: Path, tiny: Tiny) -> None:
        self.backbone = tiny.backbone
        self.images = list_image_folder(write_pictures(root / DATASET))
        others = list_image_folder(write_pictures(root / NEIGHBOUR, per_class=2, seed=7))
        home = LocalBackend(root / "neighbour")
        extract(others, [self.backbone], self.cache(home), OPTIONS)
        self.neighbour = _files(home, "")
        undisturbed = self.run(LocalBackend(root / "undisturbed")).extraction
        assert undisturbed is not None
        stores = [undisturbed.index.store, *(result.store for result in undisturbed.backbones)]
        self.undisturbed = {store.name: store.manifest.content for store in stores}

    def storage(self, kind: str, place: Path) -> Backend:
        """Return a new storage, a folder or an object store, that holds the neighbour."""
        shutil.rmtree(place, ignore_errors=True)
        backend = LocalBackend(place) if kind == "folder" else ObjectBackend("s3://team/cache", store=MemoryStore())
        backend.write_all(self.neighbour)
        return backend

    def run(self, backend: Backend, *, alive: bool = False) -> Ending:
        """Extract as a process of its own would, whose traces are those of a dead one to all others.

        On a folder it was a process of this machine; on an object store, one of another machine, and nobody can tell
        but by its silence. With `alive` it is this very process.
        """
        ending = Ending()
        machine = "" if backend.is_local else "of another"
        with _counting(ending.rows), nullcontext() if alive else _as_another_process(machine):
            try:
                ending.extraction = extract(self.images, [self.backbone], self.cache(backend), OPTIONS)
            except FusionError as error:
                ending.error = error
            except Killed:
                pass
        return ending

    def cache(self, backend: Backend) -> Cache:
        """Return the cache in a storage."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cache_module, "open_backend", lambda *_, **__: backend)
            return Cache(backend.location)

    def reports(self, backend: Backend) -> list[Report]:
        """Verify the stores of the data set; check that the neighbour is what it was."""
        assert _files(backend, NEIGHBOUR) == self.neighbour
        cache = self.cache(backend)
        return list(verify_dataset(cache[DATASET])) if DATASET in cache else []

    def check_sound(self, backend: Backend) -> None:
        """Check that every published store is whole and what it must be, or only lacks the manifest that ends it."""
        for report in self.reports(backend):
            if report.damage == [Damage(MANIFEST, "missing")]:
                continue
            assert report.damage == [], report
            assert report.store is not None
            assert report.store.manifest.content == self.undisturbed[report.store.name]

    def check_damage_is_named(self, backend: Backend) -> None:
        """Check that every published store is what it must be, or named as damaged."""
        for report in self.reports(backend):
            if not report.damage and report.store is not None:
                assert report.store.manifest.content == self.undisturbed[report.store.name]

    def finish(self, backend: Backend) -> Ending:
        """Run again, and check that the stores end with the bytes of an undisturbed run."""
        ending = self.run(backend)
        assert ending.error is None, ending.error
        self.check_finished(backend)
        return ending

    def repair_and_finish(self, backend: Backend) -> None:
        """Run again, repair what that refuses or what verifying names, and check the bytes."""
        ending = self.run(backend)
        assert ending.error is None or isinstance(ending.error, IntegrityError), ending.error
        self.check_damage_is_named(backend)
        if DATASET in self.cache(backend):
            repaired = repair(self.images, self.cache(backend), lambda _name: self.backbone, OPTIONS)
            assert repaired.failures == ()
        self.finish(backend)

    def check_finished(self, backend: Backend) -> None:
        """Check that both stores are published, whole, and what they must be; and that nothing is to be done."""
        self.check_sound(backend)
        stores = self.cache(backend)[DATASET].stores()
        assert {store.name: store.manifest.content for store in stores} == self.undisturbed
        assert len(stores) == len(self.undisturbed)
        assert self.run(backend).rows == Counter()


def _files(backend: Backend, folder: str) -> dict[str, bytes]:
    return {file.path: backend.read(file.path) or b"" for file in backend.walk(folder)}


@contextmanager
def _as_another_process(machine: str) -> Iterator[None]:
    dead = Process("elsewhere", 1, machine or Process.this().machine, "0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Process, "this", lambda: dead)
        patch.setattr(Watch, "__init__", partialmethod(Watch.__init__, silent=0.03))
        patch.setattr(attempt_module, "POLL_SECONDS", 0.01)
        yield


@contextmanager
def _counting(rows: Counter[str]) -> Iterator[None]:
    def counted(true: Any) -> Any:
        def compute(self: Any, batch: Any) -> Any:
            rows[self.name] += len(batch[0])
            return true(self, batch)

        return compute

    with pytest.MonkeyPatch.context() as patch:
        for producer in (BackboneProducer, ThumbnailProducer):
            patch.setattr(producer, "launch", counted(producer.launch))
        yield
