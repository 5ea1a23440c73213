"""Every option, variable and key arrives where the library uses it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fusion_pipeline.commands import inputs, shelf
from fusion_pipeline.commands.options import _OPTIONS
from fusion_pipeline.config import Settings
from fusion_pipeline.errors import UsageError
from fusion_pipeline.executors import LoopExecutor
from fusion_pipeline.extract.networks.backbones import find_backbone
from fusion_pipeline.extract.options import Options
from fusion_pipeline.images.decode import DecodeBudget
from fusion_pipeline.train.folds import Split
from fusion_pipeline.train.fusion import Fusion
from tests.commands.made import failure, fusion

OPTIONS = Options(
    dtype="float32",
    device="cuda:1",
    engine="eager",
    precision="bfloat16",
    batch_size=3,
    workers=5,
    decode_in="processes",
    partition_rows=7,
    on_bad="skip",
    budget=DecodeBudget(max_pixels=1_500_000),
)
EXTRACT = {
    "data": "flowers",
    "data_home": "homes",
    "dataset": "garden",
    "cache": "stores",
    "single_writer": True,
    "weights": "files",
    "device": "cuda:1",
    "dtype": "float32",
    "engine": "eager",
    "precision": "bfloat16",
    "batch_size": 3,
    "workers": 5,
    "decode_in": "processes",
    "partition_rows": 7,
    "on_bad": "skip",
    "max_megapixels": 1.5,
    "follow_symlinks": True,
}
ON_CLUSTER = {
    "scheduler": "tls://here:8786",
    "tls_ca": "ca.pem",
    "tls_cert": "cert.pem",
    "tls_key": "key.pem",
    "insecure": True,
    "resources": "GPU=1",
}
TRAIN = {
    "gate": "stacking",
    "dataset": "garden",
    "cache": "stores",
    "local_copy": "copies",
    "folds": 4,
    "seed": 9,
    "executor": "loop",
    "workers": 5,
    "runs": "models",
    "expect_manifest": "sha256:12",
}


CACHE = object()
"""Stands for the cache that the settings name."""


class ReachedError(Exception):
    """The library was called."""


class Calls(dict[str, tuple[tuple[Any, ...], dict[str, Any]]]):
    """The arguments that patched functions were called with, by name."""

    def patch(
        self, monkeypatch: pytest.MonkeyPatch, module: str, name: str, *, result: object = None, called: str = ""
    ) -> None:
        def record(*arguments: Any, **named: Any) -> object:
            self[called or name] = arguments, named
            if result is None:
                raise ReachedError(name)
            return result

        monkeypatch.setattr(f"fusion_pipeline.{module}.{name}", record)


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "files").mkdir()
    return Calls()


def command_line(values: dict[str, Any]) -> list[str]:
    words: list[str] = []
    for key, value in values.items():
        words += [f"--{key.replace('_', '-')}"] + ([] if value is True else [str(value)])
    return words


def give_options(command: str, values: dict[str, Any], _: pytest.MonkeyPatch) -> None:
    assert fusion(command, *command_line(values)).code == 1


def give_variables(command: str, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in values.items():
        monkeypatch.setenv(f"FUSION_{key.upper()}", str(value))
    assert fusion(command).code == 1


WAYS = pytest.mark.parametrize("give", [give_options, give_variables])
Give = Callable[[str, dict[str, Any], pytest.MonkeyPatch], None]


def test_every_option_is_tested_here() -> None:
    assert {*EXTRACT, *TRAIN, *ON_CLUSTER} == set(_OPTIONS)


def test_how_stage_one_runs() -> None:
    settings = Settings(**{key: value for key, value in EXTRACT.items() if key != "follow_symlinks"})
    assert inputs.extraction_options(settings) == OPTIONS
    assert inputs.extraction_options(Settings()) == Options()


@WAYS
def test_extract_hands_everything_on(calls: Calls, monkeypatch: pytest.MonkeyPatch, give: Give) -> None:
    class Folder:
        ignored = ()

    calls.patch(monkeypatch, "images.inputs", "list_images", result=Folder())
    calls.patch(monkeypatch, "extract.run", "extract")
    calls.patch(monkeypatch, "store", "Cache", result=CACHE, called="opened")
    Path("files/xception.pth").write_bytes(b"")
    give("extract", {**EXTRACT, "backbone" if give is give_options else "backbones": "xception"}, monkeypatch)
    assert calls["list_images"] == (("flowers",), {"name": "garden", "follow_symlinks": True, "keep_absent": False})
    assert calls["opened"] == (("stores",), {"copy": None, "single_writer": True})
    folder, backbones, cache, options, _progress, _tell = calls["extract"][0]
    assert isinstance(folder, Folder)
    assert [backbone.name for backbone in backbones] == ["xception"]
    assert cache is CACHE
    assert options == OPTIONS


@WAYS
def test_a_cluster_is_opened_for_extract(calls: Calls, monkeypatch: pytest.MonkeyPatch, give: Give) -> None:
    calls.patch(monkeypatch, "images.inputs", "list_images", result=SimpleNamespace(ignored=()))
    calls.patch(monkeypatch, "extract.run", "extract")
    calls.patch(monkeypatch, "store", "Cache", result=CACHE)
    calls.patch(monkeypatch, "cluster", "Cluster", result=nullcontext("the cluster"))
    for name in ("ca", "cert", "key"):
        Path(f"{name}.pem").touch()
    values = {"data": "flowers", "backbone" if give is give_options else "backbones": "xception", **ON_CLUSTER}
    give("extract", values, monkeypatch)
    files = [Path(calls["Cluster"][1]["tls"].__dict__[name]).name for name in ("ca", "cert", "key")]
    assert files == ["ca.pem", "cert.pem", "key.pem"]
    calls["Cluster"][1].pop("tls")
    assert calls["Cluster"] == (("tls://here:8786",), {"insecure": True, "resources": {"GPU": 1.0}})
    assert calls["extract"][0][-1] == "the cluster"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--resources", "GPU"), 2, "'GPU' is none. Give NAME=N"),
        (("--tls-ca", "ca.pem"), 2, "go together"),
        (("--tls-ca", "ca", "--tls-cert", "cert", "--tls-key", "key"), 10, "There is no file 'ca'"),
    ],
)
def test_what_is_no_cluster(
    calls: Calls, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int, message: str
) -> None:
    calls.patch(monkeypatch, "images.inputs", "list_images", result=SimpleNamespace(ignored=()))
    calls.patch(monkeypatch, "store", "Cache", result=CACHE)
    found = failure(code, "extract", "--data", "x", "--backbone", "xception", "--scheduler", "tcp://[::1]:1", *words)
    assert message in found


@pytest.mark.parametrize("key", [key for key in ON_CLUSTER if key != "scheduler"])
def test_an_option_of_a_cluster_needs_one(calls: Calls, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    calls.patch(monkeypatch, "images.inputs", "list_images", result=SimpleNamespace(ignored=()))
    calls.patch(monkeypatch, "extract.run", "extract")
    calls.patch(monkeypatch, "store", "Cache", result=CACHE)
    words = command_line({"data": "x", "backbone": "xception", key: ON_CLUSTER[key]})
    assert f"Without --scheduler there is nothing that --{key.replace('_', '-')} could" in failure(2, "extract", *words)
    monkeypatch.setenv(f"FUSION_{key.upper()}", str(ON_CLUSTER[key]))
    assert fusion("extract", "--data", "x", "--backbone", "xception").code == 1
    assert "extract" in calls


@WAYS
def test_train_hands_everything_on(calls: Calls, monkeypatch: pytest.MonkeyPatch, give: Give) -> None:
    stored = SimpleNamespace(index="the index")
    calls.patch(monkeypatch, "train.run", "choose_stores", result=[stored])
    calls.patch(monkeypatch, "train.run", "train")
    calls.patch(monkeypatch, "store.care.trust", "expect_manifests", result=True)
    calls.patch(monkeypatch, "store", "Cache", result=CACHE, called="opened")
    give("train", TRAIN, monkeypatch)
    (cache, dataset, backbones, index), _ = calls["choose_stores"]
    assert cache is CACHE
    assert calls["opened"] == (("stores",), {"copy": "copies", "single_writer": False})
    assert (dataset, backbones, index) == ("garden", (), None)
    stores, named = calls["train"]
    assert stores == ([stored],)
    assert calls["expect_manifests"] == ((["the index", stored], ("sha256:12",)), {})
    assert isinstance(named.pop("executor"), LoopExecutor)
    named.pop("progress")
    assert named == {"fusion": Fusion("stacking"), "split": Split(folds=4, seed=9), "runs": "models", "seed": 9}


def test_train_hands_on_which_experts(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    calls.patch(monkeypatch, "train.run", "choose_stores", result=[SimpleNamespace(index="the index")])
    calls.patch(monkeypatch, "train.run", "train")
    calls.patch(monkeypatch, "store.care.trust", "expect_manifests", result=True)
    assert fusion("train", "--experts", "singles,concat").code == 1
    assert calls["train"][1]["fusion"] == Fusion("embedding", "singles,concat")
    assert "'concat' is not one of 'singles', 'singles,concat'" in fusion("train", "--experts", "concat").errors


def test_what_to_train_on(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    """Backbones by name or by configuration, a version of the images, the data set by the images' folder."""
    calls.patch(monkeypatch, "train.run", "choose_stores")
    Path("fusion.toml").write_text('data = "my flowers"\nbackbones = ["a", "b"]\n')
    assert fusion("train", "--index", "0123abcd").code == 1
    assert calls["choose_stores"][0][1:] == ("my-flowers", ("a", "b"), "0123abcd")
    assert fusion("train", "--backbone", "c,a", "--backbone", "d").code == 1
    assert calls["choose_stores"][0][1:] == ("my-flowers", ("c", "a", "d"), None)


@pytest.mark.parametrize(("workers", "expected"), [(0, None), (3, 3)])
def test_training_processes(calls: Calls, monkeypatch: pytest.MonkeyPatch, workers: int, expected: int | None) -> None:
    calls.patch(monkeypatch, "train.run", "choose_stores", result=["the stores"])
    calls.patch(monkeypatch, "executors", "make_executor")
    assert fusion("train", "--workers", str(workers), "--executor", "threads").code == 1
    assert calls["make_executor"][0] == ("threads", expected)


def test_predict_hands_everything_on(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    calls.patch(monkeypatch, "predict", "Predictor")
    keys = ("device", "batch_size", "workers", "on_bad", "max_megapixels")
    assert fusion("predict", "model", "1.jpg", *command_line({key: EXTRACT[key] for key in keys})).code == 1
    model, find, options = calls["Predictor"][0]
    assert model == "model"
    expected = Options(device="cuda:1", batch_size=3, workers=5, on_bad="skip", budget=OPTIONS.budget)
    assert options == expected
    assert find("xception").name == "xception"


def test_weights_of_ones_own_are_not_in_order(tmp_path: Path) -> None:
    """The packaged file names its tensors otherwise; a file that --weights gives has the library's names."""
    assert find_backbone("efficientnet_lite0", {}).in_order
    file = tmp_path / "efficientnet_lite0.pth"
    file.touch()
    for weights in (file, tmp_path):
        (record,) = shelf.chosen_backbones(Settings(weights=str(weights)), ["efficientnet_lite0"])
        assert (record.weights, record.in_order) == (str(file), False)
    (other,) = shelf.chosen_backbones(Settings(weights=str(tmp_path)), ["efficientnet_lite1"])
    assert other == find_backbone("efficientnet_lite1", {})


def test_backbones_that_a_model_names() -> None:
    """A known one, one with a table, any of a library; only what nobody knows is left to the model's memory."""
    tables = {"mine": {"model": "timm:resnet18"}}
    for name, model in (("xception", "timm:legacy_xception.tf_in1k"), ("mine", "timm:resnet18"), ("timm:a", "timm:a")):
        record = shelf.configured_backbone(Settings(backbone=tables), name)
        assert record is not None
        assert record.model == model
    assert shelf.configured_backbone(Settings(backbone=tables), "theirs") is None


@pytest.mark.parametrize("table", [{"model": "resnet18"}, {"weights": "x.pth"}, {"model": "tim:resnet18"}])
def test_broken_tables_are_not_passed_over(table: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="mine"):
        shelf.configured_backbone(Settings(backbone={"mine": table}), "mine")


def test_numbers_that_are_too_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FUSION_SEED", "-1")
    assert failure(2, "train") == "Error: FUSION_SEED is -1, but must be at least 0."
    monkeypatch.delenv("FUSION_SEED")
    Path("fusion.toml").write_text("folds = 1\n")
    assert "folds in " in failure(2, "train")
    assert "at least 2" in failure(2, "train")
    assert fusion("train", "--folds", "1").code == 2
