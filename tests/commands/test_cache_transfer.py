"""`fusion cache pull` and `push` between folders and S3, and training from S3 with a local copy."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fusion_pipeline.errors import RefusedError
from fusion_pipeline.executors import Handle, LoopExecutor, Progress
from fusion_pipeline.store import Cache
from fusion_pipeline.store.storage.objects import ObjectBackend
from fusion_pipeline.train.aligned import Aligned
from fusion_pipeline.train.crossval import cross_validate
from fusion_pipeline.train.folds import Split
from fusion_pipeline.train.fusion import Fusion
from tests.builders import tree_bytes
from tests.commands.made import failure, fusion
from tests.servers import BUCKET, moto, variables
from tests.train.made import DATASET, make_features, make_labels, publish

LABELS = make_labels(6, 2)
FEATURES = {"alpha": make_features(LABELS, 3, 1, 9.0), "beta": make_features(LABELS, 4, 2, 9.0)}


class Server:
    """An S3 server, and what it was asked."""

    def __init__(self, endpoint: str, log: Path) -> None:
        self.endpoint = endpoint
        self._log = log
        self._seen = 0

    def gets(self) -> list[str]:
        """Return the files of Zarr groups that were asked for since the last call."""
        lines = self._log.read_text().splitlines()
        fresh, self._seen = lines[self._seen :], len(lines)
        found = (re.search(r'"GET /(\S*/attempts/[0-9a-f]{32}/\S*) HTTP', line) for line in fresh)
        return [match[1] for match in found if match]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with moto(folder) as endpoint:
        yield Server(endpoint, folder / "moto.log")


@pytest.fixture
def s3(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Location of an empty cache on the server."""
    for name, value in variables(server.endpoint).items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{tmp_path.name}"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with two backbones in ``cache``."""
    monkeypatch.chdir(tmp_path)
    stores = publish(tmp_path / "cache", FEATURES, LABELS)
    Cache(tmp_path / "cache")[DATASET].mark_current(stores[0].index, stores)
    return tmp_path


def of_stores(folder: Path) -> dict[str, str]:
    return {path: content for path, content in tree_bytes(folder).items() if "/attempts/" in path}


def stated(document: Any, *keys: str) -> list[tuple[Any, ...]]:
    return [tuple(store[key] for key in keys) for store in document["stores"]]


def test_there_and_back_again(here: Path, s3: str) -> None:
    pushed = fusion("cache", "push", s3, "--json")
    assert pushed.code == 0
    stores = Cache(here / "cache")[DATASET].current()
    assert pushed.document["bytes"] == sum(store.n_bytes for store in stores)
    assert pushed.document["found_bytes"] == 0
    assert stated(pushed.document, "dataset", "folder", "backbone", "key", "manifest", "rows", "state", "bytes") == [
        (DATASET, store.folder, store.name, store.manifest.key, store.manifest_digest, 12, "copied", store.n_bytes)
        for store in stores
    ]
    pulled = fusion("cache", "pull", s3, "--cache", "home")
    assert pulled.code == 0
    lines = pulled.output.splitlines()
    assert [line.split()[:2] for line in lines[:3]] == [["copied", f"{DATASET}/{store.folder}"] for store in stores]
    assert lines[3] == f"{pushed.document['bytes'] / 1e6:.1f} MB copied from {s3} to {here / 'home'}"
    assert tree_bytes(here / "home") == tree_bytes(here / "cache")
    assert fusion("cache", "verify", "--cache", "home").code == 0


def test_what_is_there_already(here: Path) -> None:
    assert fusion("cache", "push", "home").code == 0
    again = fusion("cache", "push", "home")
    assert [line[:13] for line in again.output.splitlines()] == ["there already"] * 3 + ["0.0 MB copied"]
    document = fusion("cache", "pull", "home", "--json").document
    assert stated(document, "state", "bytes") == [("there already", 0)] * 3


def test_what_others_made_is_shown_with_its_own_manifest(here: Path) -> None:
    theirs = publish(here / "home", {"alpha": FEATURES["alpha"]}, LABELS)[0]
    outcome = fusion("cache", "push", "home", "--backbone", "alpha")
    assert f"made by others: manifest {theirs.manifest_digest}" in outcome.output
    (_, alpha) = fusion("cache", "push", "home", "--backbone", "alpha", "--json").document["stores"]
    own = Cache(here / "cache")[DATASET]["alpha"]
    assert (alpha["manifest"], alpha["source_manifest"]) == (theirs.manifest_digest, own.manifest_digest)


def test_a_broken_copy_is_gone_on_with(here: Path) -> None:
    store = Cache(here / "cache")[DATASET]["alpha"]
    shutil.copytree(store.path, here / "home" / store.file(""))
    (here / "home" / store.file("features/c/0/0")).write_bytes(b"half")
    (here / "home" / DATASET / "attempts").mkdir()
    outcome = fusion("cache", "pull", "cache", "--cache", "home", "--backbone", "alpha")
    assert outcome.output.splitlines()[1].startswith(f"resumed       {DATASET}/{store.folder}")
    assert "had arrived before" in outcome.output
    assert of_stores(here / "home").items() <= of_stores(here / "cache").items()


def test_one_backbone_of_one_data_set(here: Path) -> None:
    assert fusion("cache", "push", "home", "--dataset", DATASET, "--backbone", "beta").code == 0
    assert [store.name for store in Cache(here / "home")[DATASET].current()] == ["index", "beta"]


def test_names_of_several_data_sets_stand_in_a_column(here: Path) -> None:
    shutil.copytree(here / "cache" / DATASET, here / "cache" / "a-data-set-of-another-length")
    for words in (("ls",), ("push", "home"), ("migrate", "--to", "new")):
        lines = [line for line in fusion("cache", *words).output.splitlines() if " rows " in line]
        assert len(lines) == 6
        assert len({line.index(" rows ") for line in lines}) == 1


def test_all_backbones_are_all_that_are_there(here: Path) -> None:
    """Whatever the configuration names."""
    (here / "fusion.toml").write_text('backbones = ["gamma"]')
    for names in ("all", "alpha,all"):
        document = fusion("cache", "pull", "cache", "--cache", "home", "--backbone", names, "--json").document
        assert stated(document, "backbone") == [("index",), ("alpha",), ("beta",)]


def test_all_versions(here: Path) -> None:
    publish(here / "cache", FEATURES, LABELS, version="sha256:" + "9" * 64)
    current = fusion("cache", "push", "home", "--json").document
    assert len(current["stores"]) == 3
    everything = fusion("cache", "push", "home", "--all-versions", "--json").document
    assert sorted(stated(everything, "state")) == [("copied",)] * 3 + [("there already",)] * 3


def test_expected_manifests(here: Path) -> None:
    noted = [store.manifest_digest for store in Cache(here / "cache")[DATASET].current()]
    given = [word for digest in noted[:2] for word in ("--expect-manifest", digest)]
    line = failure(16, "cache", "pull", "cache", "--cache", "home", *given)
    assert "beta-" in line
    assert not (here / "home").exists()
    assert fusion("cache", "pull", "cache", "--cache", "home", "--backbone", "alpha", *given).code == 0


def test_a_damaged_source(here: Path) -> None:
    store = Cache(here / "cache")[DATASET]["alpha"]
    damaged = here / "cache" / store.file("features/c/0/0")
    damaged.write_bytes(damaged.read_bytes()[:-1])
    line = failure(12, "cache", "push", "home")
    assert str(damaged) in line
    assert "fusion cache repair" in line
    assert [store.name for store in Cache(here / "home")[DATASET].stores()] == ["index"]


@pytest.mark.parametrize("verb", ["pull", "push"])
def test_a_place_that_is_none(here: Path, verb: str) -> None:
    (here / "photos").mkdir()
    (here / "photos" / "1.jpg").write_bytes(b"mine")
    before = tree_bytes(here)
    assert "is not a fusion cache" in failure(13, "cache", verb, "photos")
    assert "is neither a folder nor one of" in failure(2, "cache", verb, "ftp://team")
    assert tree_bytes(here) == before


@pytest.mark.parametrize(
    ("words", "end"),
    [(("pull",), "as FROM."), (("push",), "as TO."), (("migrate", "--to"), "with --to.")],
)
def test_a_place_below_or_above_a_cache(here: Path, words: tuple[str, ...], end: str) -> None:
    fusion("cache", "push", "home")
    for place in (f"home/{DATASET}", "home/" + Cache("home")[DATASET].index().folder.join((f"{DATASET}/", ""))):
        line = failure(13, "cache", *words, place)
        assert "inside a cache" in line
        assert line.endswith(end)


def test_nothing_to_copy(here: Path) -> None:
    assert "There is no store in" in failure(10, "cache", "pull", "nowhere")
    assert "no store of backbone 'gamma' (it has 'alpha', 'beta')" in failure(
        10, "cache", "push", "x", "--backbone", "gamma"
    )
    assert "no data set 'garden'" in failure(10, "cache", "push", "x", "--dataset", "garden")
    assert not (here / "x").exists()


def test_a_store_that_ignores_conditions(here: Path, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def ignored(_: ObjectBackend) -> bool:
        raise RefusedError("ignores If-None-Match")

    monkeypatch.setattr(ObjectBackend, "_keeps_conditions", property(ignored))
    assert "ignores If-None-Match" in failure(16, "cache", "push", s3)
    assert fusion("cache", "push", s3, "--single-writer").code == 0


def test_training_from_s3_fetches_every_file_once(here: Path, s3: str, server: Server) -> None:
    """The workers are processes of their own; in the second run one of them finds a damaged copy."""
    assert fusion("cache", "push", s3).code == 0
    server.gets()
    words = ("train", "--cache", s3, "--local-copy", "copy", "--backbone", "alpha", "--executor", "processes")
    assert fusion(*words, "--gate", "cnn32", "--workers", "2").code == 0
    fetched = server.gets()
    assert len(set(fetched)) == len(fetched)
    chunk = Cache(s3)[DATASET]["alpha"].file("features/c/0/0")
    assert {f"{BUCKET}/{here.name}/{chunk}"} < set(fetched)
    kept = here / "copy" / chunk
    whole = kept.read_bytes()
    kept.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    assert fusion(*words, "--gate", "average", "--workers", "1").code == 0
    assert server.gets() == [f"{BUCKET}/{here.name}/{chunk}"]
    assert kept.read_bytes() == whole


@pytest.mark.parametrize("gate", ["embedding", "cnn32"])
def test_all_that_tasks_read_is_fetched_before_they_start(here: Path, s3: str, server: Server, gate: str) -> None:
    """Or each of several workers would fetch it."""

    class Watching(LoopExecutor):
        def gather(self, handles: Sequence[Handle], progress: Progress | None = None) -> list[Any]:
            assert any("features/c/" in path for path in server.gets())
            return super().gather(handles, progress)

    assert fusion("cache", "push", s3).code == 0
    stores = Cache(s3, copy=here / "copy")[DATASET].current()[1:]
    cross_validate(Aligned.of(stores), Fusion(gate), Split(2, 0), Watching())
    assert server.gets() == []
