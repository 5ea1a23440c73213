"""What several test folders share: tiny backbones with random weights, and processes that are quick to start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.builders import N_CLASSES, Tiny, write_weights

# Before torch is loaded, and handed on to the processes that tests start: on networks this small the threads of
# parallel test runs only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The caller's FUSION_CACHE or FUSION_RUNS would be written to, by fixtures of any scope and by processes that tests
# start. Only the variable that names the real photographs is for the tests.
for _variable in [name for name in os.environ if name.startswith("FUSION_") and name != "FUSION_TEST_DATA"]:
    del os.environ[_variable]


@pytest.fixture(scope="session")
def tiny_resnet(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A convolutional network with batch normalisation, 96 features."""
    return _tiny(tmp_path_factory.mktemp("weights"), "small_resnet", "test_resnet")


@pytest.fixture(scope="session")
def tiny_efficientnet(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A second one, 256 features."""
    return _tiny(tmp_path_factory.mktemp("weights"), "small_efficientnet", "test_efficientnet")


def _tiny(folder: Path, name: str, architecture: str) -> Tiny:
    weights = write_weights(folder / f"{name}.safetensors", architecture, num_classes=N_CLASSES)
    return Tiny(name, architecture, weights)


@pytest.fixture(autouse=True)
def _no_syncing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out syncing: it takes most of the time, and changes nothing that a live machine can see."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
