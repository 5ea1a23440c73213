"""Rows 8, 10 and 17 to 20: what somebody hands to the commands is refused with its code, and stays as it was."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import random
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest

from fusion_pipeline.store.identity import canonical_json, digest
from fusion_pipeline.store.manifest import FileEntry
from tests.builders import Tiny, tree_bytes, write_picture, write_pictures, write_settings
from tests.commands.made import failure, fusion
from tests.faults.tally import Tally

TRAIN = ("train", "--gate", "average", "--executor", "loop")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_resnet: Tiny) -> Path:
    """A configured folder with pictures, and a cache with an index and a backbone of them."""
    folder = tmp_path_factory.mktemp("finished")
    write_settings(folder, write_pictures(folder / "flowers", per_class=4), [tiny_resnet])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert fusion("extract").code == 0
    return folder


@pytest.fixture
def here(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_resnet: Tiny) -> Path:
    """A copy of it, with the settings of its own."""
    for name in ("flowers", "cache"):
        shutil.copytree(finished / name, tmp_path / name)
    write_settings(tmp_path, tmp_path / "flowers", [tiny_resnet])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def manifest_of(here: Path, name: str = "small_resnet") -> Path:
    (path,) = (here / "cache" / "flowers").glob(f"{name}-*/manifest.json")
    return path


def forge(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a manifest as somebody who knows how to sign it."""
    fields = json.loads(path.read_bytes())
    del fields["digest"]
    change(fields)
    fields["content"] = digest(
        {name: {key: entry[key] for key in ("length", "sha256")} for name, entry in fields["files"].items()}
    )
    path.write_bytes(canonical_json({**fields, "digest": digest(fields)}))


def zarr_v2(place: Path) -> None:
    (place / "features").mkdir(parents=True)
    (place / ".zgroup").write_text('{"zarr_format": 2}')
    (place / "features" / ".zarray").write_text("{}")


def hdf5(place: Path) -> None:
    place.write_bytes(b"\x89HDF\r\n\x1a\n")


def photographs(place: Path) -> None:
    write_pictures(place, per_class=1)


@pytest.mark.parametrize("make", [zarr_v2, hdf5, photographs])
def test_what_is_no_cache(here: Path, tally: Tally, make: Callable[[Path], None]) -> None:
    make(here / "other")
    before = tree_bytes(here)
    for command in (("extract",), TRAIN, ("cache", "ls"), ("cache", "verify"), ("cache", "repair"), ("cache", "gc")):
        with tally.fault():
            failure(13, *command, "--cache", "other")
            assert tree_bytes(here) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields["format"].update(version="2.0"),
        lambda fields: fields["format"].update(required_features=["sparse"]),
    ],
)
def test_what_a_later_version_wrote(here: Path, tally: Tally, change: Callable[[dict[str, Any]], object]) -> None:
    forge(manifest_of(here), change)
    before = tree_bytes(here)
    for command in (("extract",), TRAIN, ("cache", "verify"), ("cache", "gc"), ("cache", "repair")):
        with tally.fault():
            outcome = fusion(*command)
            assert outcome.code == 13, (command, outcome)
            assert "Upgrade fusion-pipeline" in outcome.output + outcome.errors
            assert tree_bytes(here) == before


def edit(data: Path) -> None:
    """Replace an image by another one of the same size and time."""
    path = data / "rose" / "001.png"
    status = path.stat()
    for seed in itertools.count(77):
        if len(content := write_picture(path, seed).read_bytes()) <= status.st_size:
            break
    path.write_bytes(content.ljust(status.st_size, b"\0"))  # behind its end an image may hold anything
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def add(data: Path) -> None:
    write_picture(data / "rose" / "new.png", seed=78)


def delete(data: Path) -> None:
    (data / "rose" / "001.png").unlink()


def rename(data: Path) -> None:
    (data / "rose" / "001.png").rename(data / "tulip" / "moved.png")


@pytest.mark.parametrize(
    ("change", "kind", "computed"),
    [(edit, "edited", 1), (add, "added", 1), (delete, "deleted", 0), (rename, "renamed", 0)],
)
def test_other_images(here: Path, tally: Tally, change: Callable[[Path], None], kind: str, computed: int) -> None:
    """Verifying against the images names the difference, and extracting computes no more than it must."""
    with tally.fault():
        change(here / "flowers")
        outcome = fusion("cache", "verify", "--source", "--json")
        assert outcome.code == 14
        assert [item["kind"] for item in outcome.document["source"]] == [kind]
        again = fusion("extract", "--json")
        assert again.code == 0, again
        assert again.document["stores"][0]["computed"] == computed
        assert fusion("cache", "verify", "--source").code == 0


def test_features_that_are_no_numbers(here: Path, tally: Tally, tiny_resnet: Tiny) -> None:
    """NaN in the network, and what overflows float16, are refused with the image's name."""
    from safetensors.torch import load_file, save  # noqa: PLC0415 - imports torch

    tensors = load_file(tiny_resnet.weights)
    last = max(name for name in tensors if name.startswith("layer4") and name.endswith(("bn3.weight", "bn2.weight")))
    for factor, reason in ((float("nan"), "are not finite numbers"), (1e8, "overflow float16")):
        with tally.fault():
            (here / "bad.safetensors").write_bytes(save({**tensors, last: tensors[last] * factor + factor}))
            line = failure(17, "extract", "--weights", "bad.safetensors")
            assert reason in line
            assert "flowers/iris/000.png" in line


def test_weights_cut_anywhere(here: Path, tally: Tally, tiny_resnet: Tiny) -> None:
    content = tiny_resnet.weights.read_bytes()
    before = tree_bytes(here / "cache")
    generator = random.Random(0)
    anywhere = [generator.randrange(len(content)) for _ in range(5)]
    for length in (0, 3, 8, len(content) // 2, len(content) - 1, *anywhere):
        with tally.fault():
            (here / "cut.safetensors").write_bytes(content[:length])
            failure(16, "extract", "--weights", "cut.safetensors")
            assert tree_bytes(here / "cache") == before


class Canary:
    """A pickle payload that makes a folder when it is loaded."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("canary",)


DEEP = b'{"a":' * 100_000
"""JSON deeper than any parser follows."""

HOSTILE_HEADER = (2**62).to_bytes(8, "little") + b"{}"
"""A safetensors file that says it has a header of exabytes."""


@pytest.mark.parametrize("content", [pickle.dumps(Canary()), HOSTILE_HEADER, DEEP], ids=["pickle", "header", "deep"])
def test_payloads(here: Path, tally: Tally, content: bytes) -> None:
    for name in ("weights.pth", "weights.pt", "weights.safetensors"):
        with tally.fault():
            (here / name).write_bytes(content)
            failure(16, "extract", "--weights", name)
            assert not (here / "canary").exists()
    assert fusion(*TRAIN, "--runs", "runs").code == 0
    (model,) = (path.parent for path in (here / "runs").rglob("model.json"))
    for path in sorted(model.iterdir()):
        with tally.fault():
            good = path.read_bytes()
            path.write_bytes(content)
            assert fusion("predict", str(model), "flowers/iris/000.png").code in (12, 13, 16)
            path.write_bytes(good)
            assert not (here / "canary").exists()
    for path in (manifest_of(here), manifest_of(here).parents[1] / "current.json"):
        with tally.fault():
            good = path.read_bytes()
            path.write_bytes(content)
            assert fusion("cache", "verify").code == 12
            assert fusion(*TRAIN).code in ((0,) if path.name == "current.json" else (12, 16))
            path.write_bytes(good)
            assert not (here / "canary").exists()


def forged_metadata(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Return what forges the metadata of the features, and signs it."""

    def attack(here: Path) -> None:
        manifest = manifest_of(here)
        stated = json.loads(manifest.read_bytes())
        path = manifest.parent / "attempts" / stated["attempt"] / "features" / "zarr.json"
        fields = json.loads(path.read_bytes())
        change(fields)
        content = json.dumps(fields).encode()
        path.write_bytes(content)
        forge(manifest, lambda it: it["files"].update({"features/zarr.json": FileEntry.of(content).to_json()}))

    return attack


def stray_key(here: Path) -> None:
    manifest = manifest_of(here)
    (here / "secret").write_bytes(b"secret")
    forge(manifest, lambda it: it["files"].update({"../../../../secret": FileEntry.of(b"secret").to_json()}))


def stray_attempt(here: Path) -> None:
    forge(manifest_of(here), lambda it: it.update(attempt="../../../.."))


def linked_chunk(here: Path) -> None:
    manifest = manifest_of(here)
    stated = json.loads(manifest.read_bytes())
    chunk = manifest.parent / "attempts" / stated["attempt"] / "features" / "c" / "0" / "0"
    chunk.rename(here / "elsewhere")
    chunk.symlink_to(here / "elsewhere")


ZSTD = {"name": "zstd", "configuration": {"level": 22, "checksum": False}}
BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
ATTACKS: dict[str, Callable[[Path], None]] = {
    "a shape of a trillion rows": forged_metadata(lambda it: it.update(shape=[10**12, *it["shape"][1:]])),
    "rows of a trillion numbers": forged_metadata(
        lambda it: (
            it.update(shape=[it["shape"][0], 10**12]),
            it["chunk_grid"]["configuration"].update(chunk_shape=[it["shape"][0], 10**12]),
        )
    ),
    "a compression bomb": forged_metadata(lambda it: it.update(codecs=[BYTES, ZSTD])),
    "an unknown codec": forged_metadata(lambda it: it.update(codecs=[BYTES, {"name": "numcodecs.pickle"}])),
    "objects": forged_metadata(lambda it: it.update(data_type="object")),
    "texts of any length": forged_metadata(lambda it: it.update(data_type="string")),
    "a key that leaves the store": stray_key,
    "an attempt that leaves the store": stray_attempt,
    "a chunk that is a link": linked_chunk,
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_cache(here: Path, tally: Tally, attack: str) -> None:
    """Nothing is allocated for it, and nothing outside of the cache is read."""
    with tally.fault():
        ATTACKS[attack](here)
        before = tree_bytes(here / "cache")
        tracemalloc.start()
        try:
            failure(16, *TRAIN)
            assert fusion("cache", "verify").code in (12, 16)
            assert tracemalloc.get_traced_memory()[1] < 100e6
        finally:
            tracemalloc.stop()
        assert tree_bytes(here / "cache") == before


def test_features_changed_by_who_can_sign(here: Path, tally: Tally) -> None:
    """Digests do not catch it; the rows no longer agree with each other, and with what was noted of the manifest."""
    noted = fusion("cache", "info", "--json").document["stores"]
    with tally.fault():
        manifest = manifest_of(here)
        stated = json.loads(manifest.read_bytes())
        chunk = manifest.parent / "attempts" / stated["attempt"] / "features" / "c" / "0" / "0"
        rows = np.frombuffer(chunk.read_bytes()[:-4], np.float16).reshape(stated["partition_rows"], -1)
        body = np.roll(rows, 1, axis=0).tobytes()
        content = body + google_crc32c.value(body).to_bytes(4, "little")
        chunk.write_bytes(content)
        forge(manifest, lambda it: it["files"].update({"features/c/0/0": FileEntry.of(content).to_json()}))
        (manifest.parent / "attempts" / f"{stated['attempt']}.json").write_bytes(manifest.read_bytes())
        assert fusion("cache", "verify").code == 0
        assert fusion("cache", "verify", "--semantic").code == 12
        options = [part for store in noted for part in ("--expect-manifest", store["manifest"])]
        failure(16, *TRAIN, *options)
