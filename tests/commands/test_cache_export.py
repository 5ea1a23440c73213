"""`fusion cache export`: what was written where, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from fusion_pipeline.store import Store
from tests.commands.made import failure, fusion
from tests.store.made import DATASET, FEATURES, publish, publish_index


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store ``alpha``, with an index, in the cache of the working folder."""
    monkeypatch.chdir(tmp_path)
    publish_index(tmp_path / "cache")
    return publish(tmp_path / "cache")


@pytest.mark.parametrize("file_format", ["npy", "parquet"])
def test_it_says_what_it_wrote(store: Store, tmp_path: Path, file_format: str) -> None:
    path = tmp_path / "out" / {"npy": "alpha", "parquet": "alpha.parquet"}[file_format]
    outcome = fusion("cache", "export", store.folder, "--to", "out", "--format", file_format, "--json")
    assert outcome.code == 0, outcome
    assert outcome.document == {
        "format": file_format,
        "stores": [
            {
                "backbone": "alpha",
                "dataset": DATASET,
                "folder": store.folder,
                "key": store.manifest.key,
                "rows": 5,
                "manifest": store.manifest_digest,
                "path": str(path),
            }
        ],
    }
    if file_format == "npy":
        assert np.array_equal(np.load(path / "features.npy"), FEATURES)
    else:
        assert parquet.read_table(path).num_rows == 5
    plain = fusion("cache", "export", "alpha", "--to", "again", "--format", file_format)
    assert plain.output == f"alpha                        5 rows  {tmp_path / 'again' / path.name}\n"


def test_npy_is_the_default(store: Store) -> None:
    assert fusion("cache", "export", "alpha", "--to", "out").code == 0
    assert np.array_equal(np.load("out/alpha/features.npy"), FEATURES)


def test_what_is_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    assert "something at" in failure(2, "cache", "export", "alpha", "--to", "there")
    assert "Name a backbone" in failure(2, "cache", "export", "index", "--to", "out")
    assert "'alpha'. Export each" in failure(2, "cache", "export", "alpha", store.folder, "--to", "out")
    assert "backbone 'beta'" in failure(10, "cache", "export", "beta", "--to", "out")
    assert fusion("cache", "export", "--to", "out").code == 2
    assert fusion("cache", "export", "alpha").code == 2
    assert not (tmp_path / "out").exists()


def test_stores_of_one_name_in_two_data_sets(store: Store, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "cache" / DATASET, tmp_path / "cache" / "other")
    line = failure(2, "cache", "export", "alpha", "--to", "out")
    assert f"The data sets '{DATASET}', 'other' have a store 'alpha' each." in line
    assert "--dataset, or name it as DATASET/FOLDER" in line
    assert fusion("cache", "export", f"other/{store.folder}", "--to", "out").code == 0
    assert fusion("cache", "export", "alpha", "--dataset", "other", "--to", "again").code == 0


def test_names_may_be_separated_by_commas(store: Store) -> None:
    publish(Path(store.backend.location), "beta", recipe={"kind": "backbone", "made": "otherwise"})
    document = fusion("cache", "export", "alpha,beta", "--to", "out", "--json").document
    assert [item["backbone"] for item in document["stores"]] == ["alpha", "beta"]
