"""Only stores whose manifests somebody noted."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusion_pipeline.errors import RefusedError
from fusion_pipeline.store import Store
from fusion_pipeline.store.care.trust import expect_manifests
from tests.store.made import publish


@pytest.fixture
def stores(tmp_path: Path) -> list[Store]:
    return [publish(tmp_path, "alpha"), publish(tmp_path, "beta")]


def test_nothing_noted_asks_for_nothing(stores: list[Store]) -> None:
    expect_manifests(stores, [])


def test_digests_however_they_are_written(stores: list[Store]) -> None:
    alpha, beta = (store.manifest_digest for store in stores)
    expect_manifests(stores, [beta.removeprefix("sha256:").upper(), alpha, "sha256:00"])


def test_the_store_that_is_another_one_is_named(stores: list[Store]) -> None:
    with pytest.raises(RefusedError, match=f"{stores[1].folder}' has the manifest {stores[1].manifest_digest}"):
        expect_manifests(stores, [stores[0].manifest_digest])
