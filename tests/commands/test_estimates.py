"""`fusion extract --dry-run` says what a run would do, writes nothing, and fails where the run would."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from fusion_pipeline.extract.engines.choice import COMPILED_GAIN
from fusion_pipeline.store import Cache
from fusion_pipeline.store.storage.local import LocalBackend
from tests.builders import Tiny, write_pictures, write_settings
from tests.commands.made import failure, fusion


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_resnet: Tiny) -> Path:
    data = write_pictures(tmp_path / "images" / "flowers", per_class=2)
    home = write_settings(tmp_path / "work", data, [tiny_resnet], extra='local_copy = "copies"\n')
    monkeypatch.chdir(home)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    return home


def everything(root: Path) -> list[tuple[str, list[str], list[str]]]:
    """Return every folder below a folder, with what it holds."""
    return sorted((folder, sorted(folders), sorted(files)) for folder, folders, files in os.walk(root))


def foretold(*arguments: str) -> Any:
    """Return the JSON document of a dry run."""
    outcome = fusion("extract", "--dry-run", "--json", *arguments)
    assert outcome.code == 0, outcome
    return outcome.document


def test_lines(here: Path, tiny_resnet: Tiny) -> None:
    before = everything(here.parent)
    outcome = fusion("extract", "--dry-run")
    assert outcome.code == 0, outcome
    lines = outcome.output.splitlines()
    assert lines[0] == "flowers: 6 images, 3 classes"
    assert "index: 6 rows to compute" in lines
    assert "small_resnet: 6 rows to compute" in lines
    assert f"  weights: {tiny_resnet.weights}, at hand" in lines
    assert any(line.startswith("  engine: eager (too little work ") for line in lines)
    (features,) = (line for line in lines if line.startswith("  features "))
    assert features.split() == ["features", "(6,", "96)", "float16", "1,152", "bytes"]
    (space,) = (line for line in lines if line.startswith("New arrays: 0.1 MB, not compressed; "))
    assert space.endswith(f" MB are free at '{here / 'cache'}'")
    (duration,) = (line for line in lines if line.startswith("About "))
    assert "forward " in duration
    assert f"on {os.cpu_count()} processors" in duration
    assert duration.endswith("from 6 images")
    assert everything(here.parent) == before


def test_the_document_foretells_the_run(here: Path) -> None:
    found = foretold()
    assert found["dry_run"] is True
    assert found["dataset"]["rows"] == 6
    assert found["dataset"]["classes"] == ["iris", "rose", "tulip"]
    assert (found["cache"]["writable"], found["cache"]["enough"]) == (True, True)
    assert found["slowest"] in ("forward", "decode")
    assert found["seconds"] > 0
    ran = fusion("extract", "--json").document
    stores = Cache(here / "cache")["flowers"]
    for plan, did in zip([found["index"], *found["stores"]], [ran["index"], *ran["stores"]], strict=True):
        store = stores.open(did["folder"])
        assert (plan["backbone"], plan["state"], plan["to_compute"]) == (
            did["backbone"],
            "to be computed",
            did["computed"],
        )
        for array in plan["arrays"]:
            values = store.array(array["name"])[:]
            assert (tuple(array["shape"]), array["dtype"]) == (values.shape, str(values.dtype))
            assert array["bytes"] == values.nbytes
        assert plan["bytes"] == sum(array["bytes"] for array in plan["arrays"])


def test_what_is_published_costs_nothing(here: Path) -> None:
    ran = fusion("extract", "--json").document
    before = everything(here.parent)
    found = foretold()
    assert [plan["state"] for plan in (found["index"], *found["stores"])] == ["published", "published"]
    assert found["stores"][0]["path"] == ran["stores"][0]["path"]
    assert (found["bytes"], found["cache"]["needed_bytes"], found["slowest"]) == (0, 0, "read")
    lines = fusion("extract", "--dry-run").output.splitlines()
    assert f"small_resnet: published at {ran['stores'][0]['path']}" in lines
    assert "Nothing to write: all of it is published." in lines
    assert any(line.startswith("About a second: read ") and "nothing is computed" in line for line in lines)
    assert everything(here.parent) == before  # nor copies of what was read, for which fusion.toml has a place


def test_a_cache_that_is_full_and_read_only(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalBackend, "free_bytes", lambda _self: 1000)
    monkeypatch.setattr(LocalBackend, "may_write", lambda _self, _path: False)

    def refuse(*_: object) -> None:
        raise PermissionError

    for verb in ("write", "create", "swap", "write_all", "write_recorded", "remove", "remove_file", "check_writable"):
        monkeypatch.setattr(LocalBackend, verb, refuse)
    outcome = fusion("extract", "--dry-run")
    assert outcome.code == 0, outcome
    assert "That is not enough: make room, or give another --cache." in outcome.output
    assert f"'{here / 'cache'}' cannot be written: the run would stop." in outcome.output
    assert foretold()["cache"]["enough"] is False


def test_weights_to_be_downloaded(here: Path) -> None:
    (line,) = (
        line
        for line in fusion("extract", "--dry-run", "--backbone", "timm:test_vit").output.splitlines()
        if line.startswith("  weights: ")
    )
    assert line.startswith("  weights: to be downloaded, about ")
    assert line.endswith(": https://huggingface.co/timm/test_vit.r160_in1k/resolve/main/model.safetensors")


def test_a_bad_image(here: Path) -> None:
    (here.parent / "images" / "flowers" / "rose" / "001.png").write_bytes(b"no image")
    lines = fusion("extract", "--dry-run").output.splitlines()
    assert "1 of these 6 images cannot be decoded: the run would stop." in lines
    assert "skipped rose/001.png: not an image in a format that is read" in lines
    found = foretold("--on-bad", "skip")
    assert found["bad"] == [{"sample": "rose/001.png", "reason": "not an image in a format that is read"}]


def test_compiling_is_counted(here: Path) -> None:
    (line,) = (
        line
        for line in fusion("extract", "--dry-run", "--engine", "compiled").output.splitlines()
        if line.startswith("  engine: ")
    )
    assert line.startswith("  engine: compiled (asked for); eager it is ")
    assert f"{COMPILED_GAIN} times that" in line


def test_work_for_a_cluster(here: Path) -> None:
    address = "tcp://127.0.0.1:9"  # nobody answers, and nobody is asked
    assert f"The work is for the cluster at {address}. One worker" in (
        fusion("extract", "--dry-run", "--scheduler", address).output
    )
    assert foretold("--scheduler", address)["scheduler"] == address


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (10, ("--data", "nowhere")),
        (10, ("--data", "flowers17", "--download")),
        (2, ("--backbone", "exception")),
        (2, ("--device", "cuda:99")),
        (10, ("--weights", "nowhere.pth")),
        (2, ("--scheduler", "nowhere")),
        (2, ("--scheduler", "tls://127.0.0.1:9")),
        (16, ("--scheduler", "tcp://10.0.0.7:9")),
        (2, ("--scheduler", "tcp://127.0.0.1:9", "--resources", "GPU=many")),
        (10, ("--scheduler", "tls://127.0.0.1:9", "--tls-ca", "a", "--tls-cert", "b", "--tls-key", "c")),
        (2, ("--cache", "../images/flowers/cache")),
    ],
)
def test_what_fails_fails_as_the_run_would(here: Path, code: int, arguments: tuple[str, ...]) -> None:
    before = everything(here.parent)
    line = failure(code, "extract", "--dry-run", "--data-home", "homes", *arguments)
    assert everything(here.parent) == before
    if "--download" not in arguments:  # that would try
        assert failure(code, "extract", "--data-home", "homes", *arguments) == line
