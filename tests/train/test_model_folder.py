"""Folders of named bytes: what fails leaves the earlier one, and a manifest is strict JSON."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusion_pipeline.errors import FormatError, StorageError
from fusion_pipeline.train.model_folder import read_folder, write_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_folder(tmp_path / "model", {"a": b"first"})
    return tmp_path / "model"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_not_json_are_refused_wherever_they_stand(folder: Path, number: str) -> None:
    manifest = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(manifest.replace("{", f'{{"x": {number},', 1))
    with pytest.raises(FormatError, match="strict JSON"):
        read_folder(folder, ("a",))


def test_a_replacement_that_fails_half_way_leaves_the_earlier_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The earlier folder has made way when the rename of the new one fails."""
    failed: list[Path] = []
    true_rename = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if target == folder and not failed:
            failed.append(target)
            raise OSError("stopped by the test")
        return true_rename(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(StorageError, match="stopped by the test"):
        write_folder(folder, {"a": b"second"})
    assert failed == [folder]
    assert read_folder(folder, ("a",)) == {"a": b"first"}
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
